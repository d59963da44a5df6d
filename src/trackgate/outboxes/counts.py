"""What was counted, as of one commit: copied on the writer's thread, made a ledger where somebody asks for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from trackgate.backlog import BacklogPolicy
from trackgate.outbox import DestinationTally, Ledger, SourceTally, Standing
from trackgate.outboxes.times import moment

REJECTED = "rejected:"
"""A source's counters of calls turned away are this and the reason."""

Tallies = Mapping[tuple[str, str, str], int]
"""Kind (source, destination or log), name and counter -> number."""


class Place(Struct, frozen=True):
    """How a destination stands, beside its counters. ``oldest`` is in microseconds."""

    name: str
    standing: Standing
    held: int
    oldest: int | None


class Counts(Struct, frozen=True, dict=True):
    """A copy that nothing changes any more: the loop never sees half a transaction.

    ``limit`` is ``server.max_backlog``, ``policies`` what the destinations have of their own.
    """

    tallies: Tallies
    places: tuple[Place, ...]
    backlog: int
    limit: int
    policies: Mapping[str, BacklogPolicy]

    @cached_property
    def ledger(self) -> Ledger:
        """Dear with many destinations, and few commits are asked for it."""
        sources: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (kind, name, counter), number in self.tallies.items():
            if kind == "source":
                sources[name][counter] = number
        places = sorted(self.places, key=lambda place: place.name)
        return Ledger(
            sources={name: _source(counters) for name, counters in sorted(sources.items())},
            destinations={place.name: self._destination(place) for place in places},
            backlog_bytes=self.backlog,
            backlog_limit=int(self.limit),
        )

    def _destination(self, place: Place) -> DestinationTally:
        def count(counter: str) -> int:
            return self.tallies.get(("destination", place.name, counter), 0)

        policy = self.policies.get(place.name, BacklogPolicy())
        tally = DestinationTally(
            owed=count("owed"),
            delivered=count("delivered"),
            dead=count("dead"),
            dropped=count("dropped"),
            filtered=count("filtered"),
            retried=count("retried"),
            held=place.held,
            backlog_bytes=count("waiting_bytes"),
            backlog_limit=None if policy.max is None else int(policy.max),
            backlog_full=policy.full,
            shed=count("shed"),
            standing=place.standing,
        )
        if tally.waiting > 0 and place.oldest is not None:
            return replace(tally, oldest=moment(place.oldest))
        return tally


def _source(counters: dict[str, int]) -> SourceTally:
    return SourceTally(
        accepted=counters.get("accepted", 0),
        duplicate=counters.get("duplicate", 0),
        conflict=counters.get("conflict", 0),
        unrouted=counters.get("unrouted", 0),
        rejected={
            counter.removeprefix(REJECTED): number
            for counter, number in sorted(counters.items())
            if counter.startswith(REJECTED)
        },
    )


def with_rejected(ledger: Ledger, rejected: Mapping[tuple[str, str], int]) -> Ledger:
    """The ledger with calls turned away, by source and reason, that are not in it yet."""
    sources = dict(ledger.sources)
    for (source, reason), number in rejected.items():
        tally = sources.get(source, SourceTally())
        counts = {**tally.rejected, reason: tally.rejected.get(reason, 0) + number}
        sources[source] = replace(tally, rejected=counts)
    return replace(ledger, sources=sources)
