"""Retention: deletes what is settled and old, a little at a time. What is owed or held stays.

The dead stay until an operator drops them, or for a long time of their own: then they are given up. Where the disk runs
short, what is settled goes before its time: to be found later is worth less than to be accepted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database
    from trackgate.outboxes.sqlite.limits import Limits

EVERY = 60.0
"""Seconds between two passes."""

CHUNK = 500
"""Events, dead ones, or callers' keys, looked at in one transaction."""

SPARE = 1_024
"""Free pages that stay in the file for the events to come."""

PAGES = 128
"""Pages given back to the file system at a time."""


class Sweep:
    """A pass over the log, from its start, in chunks.

    Args:
        limits: how long what is kept.
        say: logs a line (event, fields).

    """

    def __init__(self, limits: Limits, say: Callable[..., None]) -> None:
        self._limits = limits
        self._say = say
        self._reached = 0
        self._expired = 0
        self._shrunk = False

    def chunk(self, database: Database, books: Books, now: int, shortage: int) -> bool:
        """Do a little, in transactions of their own where there is anything to do; whether the pass goes on.

        Args:
            database: outside a transaction.
            books: change with it.
            now: microseconds.
            shortage: bytes that the disk is short of.

        """
        expired = self._expire(database, books, now)
        old, keys = self._forget_old(database, books, now, shortage)
        given_back = database.shrink(spare=0 if shortage else SPARE, pages=PAGES)
        self._shrunk |= given_back > 0
        if given_back == PAGES or CHUNK in {expired, old, keys}:
            return True
        self._end(database)
        return False

    def _expire(self, database: Database, books: Books, now: int) -> int:
        """Give up what is dead for too long; how many."""
        before = now - int(self._limits.dead_retention * 1e6)
        rows = database.rows("old_dead", tuple[int, int], before=before, limit=CHUNK)
        if rows:
            names = {account.id: account.name for account in books.accounts.values()}
            database.begin()
            database.run("give_up", rows=rows, at=now)
            for destination, number in Counter(destination for destination, _ in rows).items():
                books.drop_dead(names[destination], number)
            books.write(database)
            database.commit()
            self._expired += len(rows)
        return len(rows)

    def _forget_old(self, database: Database, books: Books, now: int, shortage: int) -> tuple[int, int]:
        """Delete settled events and callers' keys; how many events and keys were old enough."""
        excess = max(books.stored_bytes - self._limits.max_backlog, shortage - database.free_bytes() if shortage else 0)
        old, reached, settled = database.read(
            "settled_events",
            tuple[int, int, list[tuple[int, int]]],
            after=self._reached,
            before=now - int(self._limits.retention * 1e6),
            excess=max(excess, 0),
            limit=CHUNK,
        ) or (0, 0, [])
        seen_before = now - int(self._limits.dedupe_window * 1e6)
        keys = database.read("old_seen", int, before=seen_before, limit=CHUNK) or 0
        if settled or keys:
            database.begin()
            if settled:
                _forget_events(database, books, settled)
            database.run("forget_seen", before=seen_before, limit=CHUNK)
            books.write(database)
            database.commit()
        # The log is in the order of time: one that is not old ends the pass.
        self._reached = reached if old == CHUNK else 0
        return old, keys

    def _end(self, database: Database) -> None:
        if self._expired:
            self._say("dead.expired", number=self._expired, advice="they are counted as dropped, and not sent any more")
        if self._shrunk:
            # Only a checkpoint cuts the file. Where somebody reads it, what cannot be cut now is cut later.
            database.checkpoint(wait=False)
        self._expired, self._shrunk = 0, False


def _forget_events(database: Database, books: Books, settled: list[tuple[int, int]]) -> None:
    seqs = [seq for seq, _ in settled]
    for name, number in database.rows("count_dead", tuple[str, int], rows=seqs):
        books.drop_dead(name, number)  # those that were shed: they do not keep their event
    for statement in ("forget_attempts", "forget_dead", "forget_ahead", "forget_events"):
        database.run(statement, rows=seqs)
    books.count("log", "", "stored", -sum(size for _, size in settled))
