"""``trackgate status``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from trackgate.cli.control import FAILED, Operators, Where, operate, operated, show
from trackgate.cli.tables import age, count, pause, size, stamp, table
from trackgate.operate.answers import DestinationStatus, Status
from trackgate.outbox import NO_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackgate.operate.answers import WorkersStatus

SOURCES = ("source", "received", "accepted", "duplicate", "rejected", "unrouted")
DESTINATIONS = ("destination", "state", "owed", "delivered", "due", "parked", "dead", "dropped", "filtered")
TAIL = ("oldest", "rate")


@click.command(short_help="Show what came in, what was delivered, and what waits.")
@operated
def status(where: Where) -> None:
    """Show what came in, what was delivered and what waits, and whether it adds up.

    It adds up if the outbox holds as many waiting and dead deliveries as were counted, and no count contradicts
    another. Exits 1 if it does not.
    """

    async def ask(operators: Operators) -> Status:
        return await operators.get("/-/status", Status)

    answer = operate(where, ask)
    show(where, answer, lambda: "\n".join(_readable(answer)))
    sys.exit(FAILED if answer.faults else 0)


def _readable(answer: Status) -> Iterator[str]:
    running = "not running" if answer.gateway == "none" else answer.gateway
    yield f"gateway  {running}, at {stamp(answer.at)}"
    if answer.reason is not None:
        yield f"  new events are refused: {answer.reason}"
    if answer.workers is not None and answer.workers.configured > 1:
        yield from _workers(answer.workers)
    of = "" if answer.backlog_limit_bytes is None else f" of {size(answer.backlog_limit_bytes)}"
    yield f"backlog  {size(answer.backlog_bytes)}{of}"
    yield ""
    yield table(
        SOURCES,
        [_row(name or NO_SOURCE, source, SOURCES[1:]) for name, source in answer.sources.items()],
        right=SOURCES[1:],
    )
    for name, source in answer.sources.items():
        if source.rejected:
            reasons = ", ".join(f"{reason} {count(number)}" for reason, number in source.rejected_by.items() if number)
            yield f"  {name or NO_SOURCE}: rejected for {reasons}"
    yield ""
    rows = [
        [*_row(name, each, DESTINATIONS[1:]), age(each.oldest_age), "-" if each.rate is None else f"{each.rate:.1f}/s"]
        for name, each in answer.destinations.items()
    ]
    yield table((*DESTINATIONS, *TAIL), rows, right=(*DESTINATIONS[2:], *TAIL))
    for name, each in answer.destinations.items():
        if each.state != "up":
            since = "" if each.since is None else f", since {stamp(each.since)}"
            yield f"  {name} is {each.state}: {each.reason or 'no reason is known'}{since}"
        if each.paused_until is not None:
            yield f"  {pause(name, each.paused_until)}"
        yield from _backlog(name, each)
    yield ""
    yield "received = accepted + duplicate + rejected; owed = delivered + due + parked + dead + dropped"
    yield from (f"it does not add up: {fault}" for fault in answer.faults)
    if answer.unchecked is not None:
        yield f"not compared with what is in the outbox: {answer.unchecked}"
    elif not answer.faults:
        yield "it adds up: as many wait, and are dead, in the outbox as were counted"


def _workers(workers: WorkersStatus) -> Iterator[str]:
    ended = f", {count(workers.ended)} ended since the start" if workers.ended else ""
    why = "; why: worker.ended, worker.missing in the log" if ended or workers.serving < workers.configured else ""
    yield f"workers  {workers.serving} of {workers.configured} serve{ended}{why}"
    if workers.unserved:
        yield f"  nothing goes to {', '.join(workers.unserved)} until their worker serves again"


def _backlog(name: str, each: DestinationStatus) -> Iterator[str]:
    limit = each.backlog_limit_bytes
    if limit is not None and each.backlog_bytes >= limit:
        becomes = "refused with a 503" if each.backlog_full == "refuse" else "shed"
        yield f"  {name}'s backlog is full ({size(each.backlog_bytes)} of {size(limit)}): new events are {becomes}"
    if each.shed:
        look = " (trackgate dead list)" if each.dead else ""
        yield f"  {name}: {count(each.shed)} shed in all, because its backlog was full{look}"


def _row(name: str, counted: object, columns: tuple[str, ...]) -> list[str]:
    values = [getattr(counted, column) for column in columns]
    return [name, *(count(value) if isinstance(value, int) else str(value) for value in values)]
