"""When to warn that the backlog fills: at 50 % and 80 % of its limit, naming the destination that fills it."""

from __future__ import annotations

from msgspec import Struct

from trackgate.outbox import Ledger

MARKS = (0.8, 0.5)
"""Shares of ``server.max_backlog`` at which to warn, the highest first."""


class Filling(Struct, frozen=True):
    """The backlog passed a mark. ``share`` is how full it is, ``destination`` the one with the most bytes waiting."""

    share: float
    destination: str
    limit_bytes: int


class BacklogWatch:
    """Says each mark once as the backlog passes it, and again only after it went below."""

    def __init__(self) -> None:
        self._reached = 0.0

    def look(self, ledger: Ledger) -> Filling | None:
        """What there is to warn of, if anything."""
        share = ledger.backlog_bytes / ledger.backlog_limit if ledger.backlog_limit else 0.0
        before, self._reached = self._reached, next((mark for mark in MARKS if share >= mark), 0.0)
        if self._reached <= before:
            return None
        fullest = max(ledger.destinations, key=lambda name: ledger.destinations[name].backlog_bytes)
        return Filling(round(share, 2), fullest, ledger.backlog_limit)
