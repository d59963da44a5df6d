"""``trackgate find``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from trackgate.cli.control import Operators, Where, operate, operated, show
from trackgate.cli.tables import LEAST, cut, pause, stamp, table, terminal, tried
from trackgate.operate.answers import FoundEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackgate.operate.answers import Fate, FoundEvent


NO_ID = (
    "give an id: Trackgate's, which stands in the reply's trackgate-event-id and in the log"
    " (01a1fde8-f0fe-7715-b446-c571e6a31c86), or the caller's own"
)


def an_id(text: str) -> str:
    """An event's id, as an argument: any text, but some."""
    if not text.strip(" /"):  # slashes alone say nothing in a path
        raise click.BadParameter(NO_ID)
    return text


@click.command(short_help="Find an event by its id.")
@operated
@click.argument("event_id", type=an_id)
def find(where: Where, event_id: str) -> None:
    """Find an event by Trackgate's id or the caller's own, and show what became of it at each destination.

    Exits 1 if no such event is known.
    """

    async def ask(operators: Operators) -> FoundEvents:
        id_in_path = quote(event_id, safe="").replace(".", "%2E")  # `.` and `..` would be steps
        return await operators.get(f"/-/events/{id_in_path}", FoundEvents)

    answer = operate(where, ask)
    show(where, answer, lambda: "\n\n".join("\n".join(_readable(each)) for each in answer.events))


def _readable(found: FoundEvent) -> Iterator[str]:
    event = found.event
    yield f"event     {event.id}"
    room = terminal()
    left = room and max(room - len("  what    "), LEAST)
    yield f"  what    {cut(event.name, left) if event.kind == 'track' else event.kind}"
    yield f"  from    {event.source}, received {stamp(event.received_at)}"
    if event.event_id is not None:
        yield f"  id      {cut(event.event_id, left)} (the caller's)"
    rows = [(name, fate.fate, str(len(fate.attempts)), _last(fate)) for name, fate in found.destinations.items()]
    rows += [(name, "filtered", "0", "no route lets it through, or its own options") for name in found.filtered]
    if rows:
        head = ("destination", "fate", "tries", "last")
        yield table(head, rows, right=("tries",), indent="  ", text="last", room=room)
    else:
        yield "  owed to nobody: no route sends it anywhere"
    for name, fate in found.destinations.items():
        if fate.paused_until is not None:
            yield f"  {pause(name, fate.paused_until)}"


def _last(fate: Fate) -> str:
    said = [tried(fate.attempts[-1])] if fate.attempts else []
    told_below = fate.paused_until is not None and fate.next_due is not None  # a pause alone is what it waits for
    if fate.reason and not told_below and not (fate.attempts and fate.attempts[-1].reason == fate.reason):
        said.append(fate.reason)
    if fate.next_due is not None:
        said.append(f"again at {stamp(fate.next_due)}")
    return "; ".join(said) or "-"
