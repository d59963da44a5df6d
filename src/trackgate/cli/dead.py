"""``trackgate dead``: look through what will not be delivered, try it again, or give it up."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec
from msgspec import Struct

from trackgate.cli.chunks import PIECE, in_pieces
from trackgate.cli.control import Failed, Operators, Where, operate, operated, show
from trackgate.cli.find import an_id
from trackgate.cli.tables import count, stamp, table, terminal, tried
from trackgate.operate.answers import DeadPage, Difference, Dropped, Letter, Retried
from trackgate.operate.rehearsal import written
from trackgate.operate.requests import FILTERS, MAX_PAGE
from trackgate.units import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from trackgate.archive import Cause, DeadLetter


class Letters(Struct, frozen=True):
    """The dead deliveries of one event."""

    letters: tuple[Letter, ...]


@click.group(short_help="Inspect, retry or drop dead deliveries.")
def dead() -> None:
    """The dead-letter queue: what vendors refused or cannot represent, kept until you retry or drop it."""


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """The filters that choose among the dead."""
    for name, metavar, words in reversed(
        (
            ("--destination", "NAME", "Only at this destination."),
            ("--reason", "REASON", "Only for this reason, as shown by `dead list`."),
            ("--name", "GLOB", "Only events whose name matches, e.g. 'purchase_*'."),
            ("--since", "WHEN", "Only what died at this time or later: ISO 8601, or an age such as 2h."),
            ("--until", "WHEN", "Only what died before this time."),
            ("--id", "ID", "Only this event, by Trackgate's id."),
        )
    ):
        command = click.option(name, metavar=metavar, help=words)(command)
    return command


@dead.command("list", short_help="Show which deliveries are dead, and why.")
@operated
@filtered
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, MAX_PAGE), help="Maximum rows.")
def list_dead(where: Where, limit: int, **filters: str | None) -> None:
    """Show why deliveries are dead, with counts, then the latest ones."""

    async def ask(operators: Operators) -> DeadPage:
        return await operators.get("/-/dead", DeadPage, limit=limit, **filters)

    answer = operate(where, ask)
    show(where, answer, lambda: "\n".join(_page(answer)))


@dead.command("show", short_help="Show everything known about one dead event.")
@operated
@click.option("--destination", metavar="NAME", help="Only this destination; default: all where it is dead.")
@click.argument("event_id", type=an_id)
def show_dead(where: Where, event_id: str, destination: str | None) -> None:
    """Show a dead event, the request as it was sent, the replies, and what would be sent today instead."""

    async def ask(operators: Operators) -> Letters:
        page = await operators.get("/-/dead", DeadPage, id=event_id, destination=destination, limit=MAX_PAGE)
        if not page.letters:
            raise Failed(
                f"{event_id} is not dead{f' at {destination}' if destination else ''}: trackgate find {event_id}"
            )
        paths = [f"/-/dead/{quote(each.destination)}/{quote(event_id, safe='')}" for each in page.letters]
        return Letters(tuple([await operators.get(path, Letter) for path in paths]))

    answer = operate(where, ask)
    show(where, answer, lambda: "\n\n".join("\n".join(_letter(each)) for each in answer.letters))


@dead.command("retry", short_help="Make dead deliveries due again.")
@operated
@filtered
@click.option("--all", "everything", is_flag=True, help="All dead deliveries; required if no filter is given.")
@click.option("--dry-run", is_flag=True, help="Only show how many there are, and how the request would differ.")
@click.option("--rate", metavar="N/UNIT", help="Maximum pace, e.g. 100/min; needs a running gateway.")
def retry_dead(where: Where, *, everything: bool, dry_run: bool, rate: str | None, **filters: str | None) -> None:
    """Make dead deliveries due again, as if never tried. What has been delivered since then is not sent twice.

    Ctrl-C loses nothing: run the same command again to continue.
    """
    selection = _selection(filters, everything=everything)
    piece, pause = _pace(rate)

    async def order(operators: Operators) -> Retried:
        if dry_run:
            return await operators.post("/-/dead/retry", Retried, selection=selection, dry_run=True)
        if rate is not None and not operators.live:
            raise Failed(
                "no gateway runs on this data directory, so nothing would be delivered at any --rate: start it"
            )

        async def step(limit: int) -> int:
            return (await operators.post("/-/dead/retry", Retried, selection=selection, limit=limit)).retried

        selected = await _count(operators, selection)
        retried = await in_pieces(step, "due again", most=selected, piece=piece, pause=pause)
        watch = "" if operators.live else "they are sent as soon as the gateway runs (trackgate serve); "
        click.echo(
            f"{count(retried)} due again; {watch}watch: trackgate status, trackgate dead list", err=where.as_json
        )
        return Retried(retried=retried, selected=selected)

    answer = operate(where, order, changes=not dry_run)
    if dry_run or where.as_json:
        show(where, answer, lambda: "\n".join(_rehearsed(answer)))


@dead.command("drop", short_help="Give dead deliveries up for good.")
@operated
@filtered
@click.option("--all", "everything", is_flag=True, help="All dead deliveries; required if no filter is given.")
@click.option("--yes", is_flag=True, help="Confirm: what is dropped is never sent.")
def drop_dead(where: Where, *, everything: bool, yes: bool, **filters: str | None) -> None:
    """Give dead deliveries up for good. They count as dropped."""
    selection = _selection(filters, everything=everything)

    async def order(operators: Operators) -> Dropped:
        async def step(limit: int) -> int:
            return (await operators.post("/-/dead/drop", Dropped, selection=selection, yes=True, limit=limit)).dropped

        selected = await _count(operators, selection)
        if not yes:
            raise Failed(f"{count(selected, 'event')} would be given up, for good: add --yes to do it")
        return Dropped(dropped=await in_pieces(step, "dropped", most=selected), selected=selected)

    answer = operate(where, order, changes=yes)
    show(where, answer, lambda: f"{count(answer.dropped)} dropped")


# --- what is chosen -----------------------------------------------------------------------------------------------


def _selection(filters: Mapping[str, str | None], *, everything: bool) -> dict[str, str]:
    given = {name: value for name, value in filters.items() if value is not None}
    if bool(given) == everything:
        known = ", ".join(f"--{name}" for name in FILTERS)
        raise click.UsageError(f"say which of the dead: give any of {known}, or else --all")
    # What dies again while this runs is not taken up again.
    return {"until": datetime.now(UTC).isoformat(), **given}


async def _count(operators: Operators, selection: Mapping[str, str]) -> int:
    page = await operators.get("/-/dead", DeadPage, limit=1, **selection)
    if not page.total:
        raise Failed("none of the dead is like that: trackgate dead list")
    return page.total


def _pace(rate: str | None) -> tuple[int, float]:
    """How many at a time, and the seconds between."""
    if rate is None:
        return PIECE, 0.0
    try:
        a_second = Rate.read(rate)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from None
    if not a_second:
        raise click.BadParameter("must be more than zero", param_hint="--rate")
    piece = min(max(int(a_second), 1), PIECE)
    return piece, piece / a_second


# --- what is read -------------------------------------------------------------------------------------------------


def _page(answer: DeadPage) -> Iterator[str]:
    if not answer.total:
        yield "none"
        return
    yield from _causes(answer.causes)
    yield ""
    rows = [_row(each) for each in answer.letters]
    head = ("died", "event id", "destination", "name", "tries", "reason")
    yield table(head, rows, right=("tries",), text="name", room=terminal())
    if more := answer.total - len(answer.letters):
        yield f"and {count(more)} more: --limit, or a filter, shows them"


def _causes(causes: tuple[Cause, ...]) -> Iterator[str]:
    rows = [(count(each.count), each.destination, each.reason, stamp(each.last), each.detail) for each in causes]
    head = ("count", "destination", "reason", "latest", "detail")
    yield table(head, rows, right=("count",), text="detail", room=terminal())


def _row(letter: DeadLetter) -> tuple[str, ...]:
    died = stamp(letter.died_at)
    return died, letter.event_id, letter.destination, letter.name or "-", str(letter.attempts), letter.reason


def _letter(each: Letter) -> Iterator[str]:
    letter = each.letter
    yield f"{letter.event_id} is dead at {letter.destination} since {stamp(letter.died_at)}: {letter.reason}"
    if letter.detail:
        yield f"  {letter.detail}"
    if each.event is not None:
        yield ""
        yield "event"
        yield from _indented(msgspec.json.format(msgspec.json.encode(each.event)).decode().splitlines())
    for attempt in each.attempts:
        yield ""
        yield f"tried ({attempt.step})  {tried(attempt)}"
        if attempt.reply:
            yield from _indented(_spread(attempt.reply))
    if each.difference.as_sent is not None:
        yield ""
        yield "request, as it was sent"
        yield from _indented(written(each.difference.as_sent))
    yield ""
    yield from _today(each.difference)


def _today(difference: Difference) -> Iterator[str]:
    if difference.obstacle is not None:
        yield f"today nothing would be sent: {difference.obstacle}"
    elif difference.diff:
        yield "today this would be sent instead"
        yield from _indented(difference.diff.splitlines())
    else:
        yield "today the same would be sent"


def _rehearsed(answer: Retried) -> Iterator[str]:
    if not answer.selected:
        yield "none of the dead is like that"
        return
    yield f"{count(answer.selected)} would be due again"
    for sample in answer.samples:
        cause = sample.cause
        yield ""
        yield f"{count(cause.count)} at {cause.destination}, {cause.reason}; for example {sample.event_id}"
        yield from _indented(_today(sample.difference))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    """As part of something; what a terminal would obey is shown as what it is."""
    return (f"  {''.join(map(_shown, line))}".rstrip() for line in lines)


def _shown(char: str) -> str:
    return char if char.isprintable() else f"\\x{ord(char):02x}"


def _spread(text: str) -> list[str]:
    """A reply, its JSON spread out."""
    with suppress(ValueError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return text.splitlines()
