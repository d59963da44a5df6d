"""``trackgate find``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from trackgate.cli.control import Operators, Where, operate, operated, show
from trackgate.cli.tables import cut, stamp, table
from trackgate.operate.answers import FoundEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackgate.operate.answers import Fate, FoundEvent
    from trackgate.outbox import Attempt


@click.command(short_help="Find an event by its id.")
@operated
@click.argument("event_id")
def find(where: Where, event_id: str) -> None:
    """Find an event by Trackgate's id or the caller's own, and show what became of it at each destination.

    Exits 1 if no such event is known.
    """

    async def ask(operators: Operators) -> FoundEvents:
        return await operators.get(f"/-/events/{quote(event_id, safe='')}", FoundEvents)

    answer = operate(where, ask)
    show(where, answer, lambda: "\n\n".join("\n".join(_readable(each)) for each in answer.events))


def _readable(found: FoundEvent) -> Iterator[str]:
    event = found.event
    yield f"event     {event.id}"
    yield f"  what    {cut(event.name, 60) if event.kind == 'track' else event.kind}"
    yield f"  from    {event.source}, received {stamp(event.received_at)}"
    if event.event_id is not None:
        yield f"  id      {cut(event.event_id, 60)} (the caller's)"
    rows = [
        (name, fate.fate, str(len(fate.attempts)), cut(_last(fate), 67)) for name, fate in found.destinations.items()
    ]
    rows += [(name, "filtered", "0", "no route lets it through") for name in found.filtered]
    if rows:
        yield table(("destination", "fate", "tries", "last"), rows, right=("tries",), indent="  ")
    else:
        yield "  owed to nobody: no route sends it anywhere"


def _last(fate: Fate) -> str:
    said = [tried(fate.attempts[-1])] if fate.attempts else []
    if fate.reason and not (fate.attempts and fate.attempts[-1].reason == fate.reason):
        said.append(fate.reason)
    if fate.next_due is not None:
        said.append(f"again at {stamp(fate.next_due)}")
    return "; ".join(said) or "-"


def tried(attempt: Attempt) -> str:
    """One try in a line."""
    return f"{attempt.status or attempt.reason} in {attempt.duration * 1000:.0f} ms at {stamp(attempt.at)}"
