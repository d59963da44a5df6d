"""The ledger as operators read it, and whether it adds up. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from trackgate.operate.answers import DestinationStatus, SourceStatus, WorkersStatus
from trackgate.outbox import DestinationTally, SourceTally, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from trackgate.archive import Miscount
    from trackgate.config import Destination
    from trackgate.outbox import Ledger
    from trackgate.workers import Workers

GONE = "not in routes.toml"
"""Why a destination is parked that has a queue and is configured no more."""


def complete(ledger: Ledger, sources: Iterable[str], destinations: Mapping[str, Destination]) -> Ledger:
    """The ledger with all that is configured, in the order of the file, and then the rest.

    Of what is configured the outbox knows only what an event was for already, and nothing of limits where it is read
    without a gateway.
    """
    limited = {
        name: replace(
            ledger.destinations.get(name, DestinationTally()),
            backlog_limit=None if one.backlog.max is None else int(one.backlog.max),
            backlog_full=one.backlog.full,
        )
        for name, one in destinations.items()
    }
    return replace(
        ledger,
        sources={**dict.fromkeys(sources, SourceTally()), **ledger.sources},
        destinations={**limited, **{name: each for name, each in ledger.destinations.items() if name not in limited}},
    )


def of_source(tally: SourceTally) -> SourceStatus:
    """A source's row."""
    return SourceStatus(
        received=tally.received,
        accepted=tally.accepted,
        duplicate=tally.duplicate,
        rejected=sum(tally.rejected.values()),
        rejected_by=tally.rejected,
        unrouted=tally.unrouted,
    )


def standing_of(tally: DestinationTally, *, gone: bool) -> Standing:
    """How a destination stands; one that is ``gone`` from the configuration is parked for that, and for no pause."""
    if not gone:
        return tally.standing
    since = tally.standing.since if tally.standing.reason == GONE else None
    return Standing(state="parked", reason=GONE, since=since, up_seconds=tally.standing.up_seconds)


def of_destination(tally: DestinationTally, now: datetime, *, gone: bool, rate: float | None) -> DestinationStatus:
    """A destination's row; one that is ``gone`` from the configuration is parked for that."""
    standing = standing_of(tally, gone=gone)
    parked = standing.state == "parked"
    return DestinationStatus(
        state=standing.state,
        reason=standing.reason,
        since=standing.since,
        paused_until=standing.pause_end(now),
        owed=tally.owed,
        delivered=tally.delivered,
        due=0 if parked else tally.waiting,
        parked=tally.waiting if parked else 0,
        dead=tally.dead,
        dropped=tally.dropped,
        filtered=tally.filtered,
        shed=tally.shed,
        backlog_bytes=tally.backlog_bytes,
        backlog_limit_bytes=tally.backlog_limit,
        backlog_full=tally.backlog_full,
        oldest_age=None if tally.oldest is None else max((now - tally.oldest).total_seconds(), 0.0),
        rate=rate,
    )


def of_workers(workers: Workers, destinations: Iterable[str]) -> WorkersStatus:
    """The workers' row; ``destinations`` are all that are configured, in their order."""
    return WorkersStatus(
        configured=workers.configured,
        serving=len(workers.serving),
        ended=workers.ended,
        unserved=tuple(workers.unserved(destinations)),
    )


def faults(ledger: Ledger) -> tuple[str, ...]:
    """Where the counts contradict each other: what is counted on its own must fit what follows from the others."""
    return (*_of_sources(ledger), *_of_destinations(ledger))


def in_rows(miscount: Miscount) -> str:
    """What the rows contradict, and what to do about it."""
    return f"{miscount}; restart the gateway: it salvages its outbox as it starts, and logs what is lost"


def _of_sources(ledger: Ledger) -> Iterator[str]:
    for name, tally in ledger.sources.items():
        for what, number in (("unrouted", tally.unrouted), ("in conflict", tally.conflict)):
            if not 0 <= number <= tally.accepted:
                yield f"source {name}: {number} {what} of {tally.accepted} accepted"


def _of_destinations(ledger: Ledger) -> Iterator[str]:
    for name, tally in ledger.destinations.items():
        if min(tally.owed, tally.delivered, tally.dead, tally.dropped) < 0 or tally.waiting < 0:
            settled = tally.delivered + tally.dead + tally.dropped
            yield f"destination {name}: {settled} settled of {tally.owed} owed"
        elif tally.held > tally.waiting:
            yield f"destination {name}: {tally.held} held of {tally.waiting} that wait"
        elif bool(tally.waiting) != bool(tally.backlog_bytes):
            yield f"destination {name}: {tally.waiting} wait, with {tally.backlog_bytes} bytes"
