"""How much may wait for a destination, and when to warn that a backlog fills: at 50 % and 80 % of its limit."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from trackgate.outbox import DestinationTally, Ledger
from trackgate.units import Size

MARKS = (0.8, 0.5)
"""Shares of a limit at which to warn, the highest first."""

Policy = Literal["refuse", "shed"]


class BacklogPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may wait for this destination, so that one long outage cannot use up the space of all."""

    max: Size | None = None
    """Maximum size of the waiting events. Unset: only `server.max_backlog` applies."""
    full: Policy = "refuse"
    """What happens to a new event at the limit. `refuse`: its caller gets a 503, and nothing of the call is kept.
    `shed`: the event is accepted for the other destinations, and is dead at this one with the reason `shed`."""


class Filling(Struct, frozen=True):
    """A backlog passed a mark.

    ``share`` is how full it is. ``destination`` is the one whose own limit (bytes) it is, with its ``policy``; or, at
    the limit of all, the one with the most bytes waiting.
    """

    share: float
    destination: str
    limit_bytes: int
    policy: Policy = "refuse"


class SheddingBegan(Struct, frozen=True):
    """From now on what a destination is owed is dead at once."""

    destination: str
    limit_bytes: int


class SheddingEnded(Struct, frozen=True):
    """There is room again at a destination. ``shed`` is how many were dead at once meanwhile."""

    destination: str
    limit_bytes: int
    shed: int


Change = Filling | SheddingBegan | SheddingEnded


class BacklogWatch:
    """Says each mark once as a backlog passes it (again after it went below), and when shedding begins and ends."""

    def __init__(self) -> None:
        self._reached: dict[str | None, float] = {}
        self._shed: dict[str, int] = {}
        self._shedding: dict[str, int] = {}

    def look(self, ledger: Ledger) -> list[Change]:
        """What there is to tell."""
        found: list[Change] = []
        if share := self._passed(None, ledger.backlog_bytes, ledger.backlog_limit):
            fullest = max(ledger.destinations, key=lambda name: ledger.destinations[name].backlog_bytes)
            found.append(Filling(share, fullest, ledger.backlog_limit))
        for name, tally in ledger.destinations.items():
            if share := self._passed(name, tally.backlog_bytes, tally.backlog_limit or 0):
                found.append(Filling(share, name, tally.backlog_limit or 0, tally.backlog_full))
            if shedding := self._shedding_of(name, tally):
                found.append(shedding)
        return found

    def _passed(self, whose: str | None, filled: int, limit: int) -> float | None:
        """How full it is, if it passed a mark since the last look."""
        share = filled / limit if limit else 0.0
        before, now = self._reached.get(whose, 0.0), next((mark for mark in MARKS if share >= mark), 0.0)
        self._reached[whose] = now
        return round(share, 2) if now > before else None

    def _shedding_of(self, name: str, tally: DestinationTally) -> SheddingBegan | SheddingEnded | None:
        before = self._shed.get(name, tally.shed)
        self._shed[name] = tally.shed
        limit = tally.backlog_limit or 0
        if tally.shed > before and name not in self._shedding:
            self._shedding[name] = before
            return SheddingBegan(name, limit)
        if tally.shed == before and name in self._shedding and tally.backlog_bytes < limit:
            return SheddingEnded(name, limit, tally.shed - self._shedding.pop(name))
        return None
