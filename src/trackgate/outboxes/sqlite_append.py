"""What a transaction does for new events: recognise repeats, number the rest, store them all in one statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trackgate.outbox import Appended, OutboxFull
from trackgate.outboxes.sqlite_checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite_books import Books
    from trackgate.outboxes.sqlite_database import Database
    from trackgate.outboxes.sqlite_jobs import Append, Row

SHED = "shed"
FULL = "the backlog had reached `backlog.max`"
"""Why an event is dead at once at a destination, and the words for it."""

Refusal = Callable[[int], OutboxFull | None]
"""Given the backlog in bytes: why nothing more is taken, or ``None``."""


def append(
    database: Database, books: Books, jobs: Sequence[Append], refusal: Refusal, now: int, seen_since: int
) -> list[list[Appended] | OutboxFull]:
    """Store the events of all jobs, each job whole or not at all.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        refusal: asked before each job.
        now: microseconds.
        seen_since: microseconds; a caller's key from before is forgotten.

    """
    batch = _Batch(database, books, [row for job in jobs for row in job.rows], seen_since)
    answers: list[list[Appended] | OutboxFull] = []
    for job in jobs:
        full = refusal(books.backlog()) or _full_for(books, job)
        answers.append(full if full is not None else [batch.add(row) for row in job.rows])
    batch.store(now)
    return answers


def _full_for(books: Books, job: Append) -> OutboxFull | None:
    """Why a destination refuses a job, if one does."""
    for row in job.rows:
        for name in row.owed:
            if books.full(name) == "refuse":
                return OutboxFull("destination_backlog", name)
    return None


class _Batch:
    """The events of one transaction, on their way."""

    def __init__(self, database: Database, books: Books, rows: Sequence[Row], seen_since: int) -> None:
        self._database = database
        self._books = books
        self._events: list[tuple[object, ...]] = []
        self._keys: list[tuple[str, str, str, str]] = []
        self._shed: list[tuple[int, int]] = []
        self._stored, self._seen = _repeats(database, rows, seen_since)
        books.enter_sets(database, {names for row in rows for names in (row.owed, row.filtered)})

    def add(self, row: Row) -> Appended:
        """Number and count one event, unless it is a repeat."""
        seen = self._seen.setdefault((row.source, row.key), {}) if row.key is not None else {}
        first = row.id if row.id in self._stored else seen.get(row.digest)
        if first is not None:
            self._books.count("source", row.source, "duplicate")
            return Appended(first, duplicate=True)
        conflict = bool(seen)
        if row.key is not None:
            seen[row.digest] = row.id
            self._keys.append((row.source, row.key, row.digest, row.id))
        self._stored.add(row.id)
        shed = frozenset(name for name in row.owed if self._books.full(name) == "shed")
        self._place(row, shed)
        self._count(row, shed, conflict=conflict)
        return Appended(row.id, conflict=conflict)

    def store(self, now: int) -> None:
        """Write what was added."""
        if self._events:
            self._database.run("append_events", rows=self._events)
        if self._keys:
            self._database.run("append_seen", rows=self._keys, at=now)
        if self._shed:
            self._database.run("pass_over", rows=self._shed)
            self._database.run("bury", rows=[(*shed, SHED, FULL, None, None) for shed in self._shed], at=now)

    def _place(self, row: Row, shed: frozenset[str]) -> None:
        books = self._books
        offset = books.log_bytes
        sets = books.sets[row.owed], books.sets[row.filtered]
        self._events.append((
            books.last_seq + 1, row.id, row.source, row.lane, row.received_at, row.name, row.size, offset, row.hops,
            *sets, row.body, checksum(books.last_seq + 1, row.lane, row.hops, row.size, row.body.encode()),
        ))  # fmt: skip
        books.count("log", "", "events")
        books.count("log", "", "bytes", row.size)
        books.count("log", "", "stored", row.size)
        for name in row.owed:
            account = books.accounts[name]
            if name in shed:
                self._shed.append((account.id, books.last_seq))
                continue
            account.last_owed = books.last_seq
            if account.fresh_from is None:
                account.fresh_from = offset
                if not account.unsettled:
                    account.oldest = row.received_at

    def _count(self, row: Row, shed: frozenset[str], *, conflict: bool) -> None:
        books = self._books
        books.count("source", row.source, "accepted")
        if conflict:
            books.count("source", row.source, "conflict")
        if not row.owed:
            books.count("source", row.source, "unrouted")
        for name in row.owed:
            books.count("destination", name, "owed")
            if name in shed:
                books.count("destination", name, "dead")
                books.count("destination", name, "shed")
                continue
            books.count("destination", name, "waiting_bytes", row.size)
        for name in row.filtered:
            books.count("destination", name, "filtered")


def _repeats(
    database: Database, rows: Sequence[Row], since: int
) -> tuple[set[str], dict[tuple[str, str | None], dict[str, str]]]:
    """The events of these that are stored already, and what the callers' keys stood for: digest -> event id."""
    keys = sorted({(row.source, row.key) for row in rows if row.key is not None})
    ids = [row.id for row in rows]
    answer = database.read(
        "find_repeats", tuple[list[str], list[tuple[str, str, str, str]]], ids=ids, rows=keys, since=since
    )
    stored, known = answer or ([], [])
    seen: dict[tuple[str, str | None], dict[str, str]] = {}
    for source, key, digest, event_id in known:
        seen.setdefault((source, key), {})[digest] = event_id
    return set(stored), seen
