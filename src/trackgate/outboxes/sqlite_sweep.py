"""Retention: deletes what is settled and old, a little at a time. What is owed, held or dead stays.

Where the disk runs short, what is settled goes before its time: to be found later is worth less than to be accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackgate.outboxes.sqlite_books import Books
    from trackgate.outboxes.sqlite_database import Database

EVERY = 60.0
"""Seconds between two passes."""

CHUNK = 500
"""Events, or callers' keys, looked at in one transaction."""

SPARE = 1_024
"""Free pages that stay in the file for the events to come."""

PAGES = 128
"""Pages given back to the file system at a time."""


class Sweep:
    """A pass over the log, from its start, in chunks.

    Args:
        retention: microseconds that a settled event is kept.
        dedupe_window: microseconds that a caller's key is remembered.
        max_bytes: of the log as a whole; beyond it the oldest settled events go before their time.

    """

    def __init__(self, retention: int, dedupe_window: int, max_bytes: int) -> None:
        self._retention = retention
        self._dedupe_window = dedupe_window
        self._max_bytes = max_bytes
        self._reached = 0

    def chunk(self, database: Database, books: Books, now: int, shortage: int) -> bool:
        """Do a little, in a transaction of its own if there is anything to do; whether the pass goes on.

        Args:
            database: outside a transaction.
            books: change with it.
            now: microseconds.
            shortage: bytes that the disk is short of.

        """
        old, reached, settled = database.read(
            "settled_events",
            tuple[int, int, list[tuple[int, int]]],
            after=self._reached,
            before=now - self._retention,
            excess=max(books.stored_bytes - self._max_bytes, shortage - database.free_bytes() if shortage else 0, 0),
            limit=CHUNK,
        ) or (0, 0, [])
        keys = database.read("old_seen", int, before=now - self._dedupe_window, limit=CHUNK) or 0
        if settled or keys:
            self._forget(database, books, settled, now)
        # The log is in the order of time: one that is not old ends the pass.
        self._reached = reached if old == CHUNK else 0
        more = database.shrink(spare=0 if shortage else SPARE, pages=PAGES)
        return CHUNK in {old, keys} or more

    def _forget(self, database: Database, books: Books, settled: list[tuple[int, int]], now: int) -> None:
        seqs = [seq for seq, _ in settled]
        database.begin()
        if seqs:
            database.run("forget_attempts", rows=seqs)
            database.run("forget_events", rows=seqs)
            books.count("log", "", "stored", -sum(size for _, size in settled))
        database.run("forget_seen", before=now - self._dedupe_window, limit=CHUNK)
        books.write(database)
        database.commit()
