"""What a transaction does for new events: recognise repeats, number the rest, store them all together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.outbox import Appended, OutboxFull
from trackgate.outboxes.jobs import Row
from trackgate.outboxes.sqlite.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.jobs import Append
    from trackgate.outboxes.sqlite.accounts import Account
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database

SHED = "shed"
FULL = "the backlog had reached `backlog.max`"
"""Why an event is dead at once at a destination, and the words for it."""

NOBODY: frozenset[str] = frozenset()

WhyFull = Callable[[int], OutboxFull | None]
"""Given the backlog in bytes: why nothing more is taken, or ``None``."""


def append(
    database: Database,
    books: Books,
    jobs: Sequence[Append],
    why_full: WhyFull,
    now: int,
    seen_since: int,
    *,
    anew: bool,
) -> list[list[Appended] | OutboxFull]:
    """Store the events of all jobs, each job whole or not at all.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        why_full: asked before each job, unless there is room for all of them.
        now: microseconds.
        seen_since: microseconds; a caller's key from before is forgotten.
        anew: whether some of the events may be stored already, by their ids, which is dear to look up.

    Raises:
        apsw.ConstraintError: an event is stored already, and it was not ``anew``.

    """
    rows = [row for job in jobs for row in job.rows]
    batch = _Batch(database, books, rows, _Repeats(database, rows, seen_since, stored=anew))
    size = sum(job.size for job in jobs)
    roomy = why_full(books.backlog() + size) is None and not books.nearly_full(size)
    answers: list[list[Appended] | OutboxFull] = []
    for job in jobs:
        if roomy:
            answers.append([batch.add(row, NOBODY) for row in job.rows])
            continue
        full = why_full(books.backlog()) or _full_for(books, job)
        answers.append([_add_counted(batch, books, row) for row in job.rows] if full is None else full)
    batch.tally()
    batch.store(now)
    return answers


def _add_counted(batch: _Batch, books: Books, row: Row) -> Appended:
    """With little room left each event is counted before the next is looked at."""
    appended = batch.add(row, frozenset(name for name in row.owed if books.full(name) == "shed"))
    batch.tally()
    return appended


def _full_for(books: Books, job: Append) -> OutboxFull | None:
    """Why a destination refuses a job, if one does."""
    owed = (name for row in job.rows for name in row.owed)
    full = next((name for name in owed if books.full(name) == "refuse"), None)
    return None if full is None else OutboxFull("destination_backlog", full)


class _Sum(Struct):
    """Of events that are owed alike: how many, their bytes, and the first and the last of them."""

    first: Row
    offset: int
    number: int = 0
    size: int = 0
    last_seq: int = 0


class _Batch:
    """The events of one transaction, on their way. What is added is counted by ``tally``."""

    def __init__(self, database: Database, books: Books, rows: Sequence[Row], repeats: _Repeats) -> None:
        self._database = database
        self._books = books
        self._repeats = repeats
        self._seq = books.last_seq
        self._offset = books.log_bytes
        self._events: list[tuple[object, ...]] = []
        self._keys: list[tuple[str, str, str, str]] = []
        self._shed: list[tuple[int, int]] = []
        self._sums: dict[tuple[str, tuple[str, ...], tuple[str, ...], frozenset[str]], _Sum] = {}
        books.enter_sets(database, {row.owed for row in rows} | {row.filtered for row in rows})

    def add(self, row: Row, shed: frozenset[str]) -> Appended:
        """Number one event, unless it is a repeat; at those it is shed by, it is dead at once."""
        first, conflict = self._repeats.meet(row)
        if first is not None:
            self._books.count("source", row.source, "duplicate")
            return Appended(first, duplicate=True)
        if row.key is not None:
            self._keys.append((row.source, row.key, row.digest, row.id))
        if conflict:
            self._books.count("source", row.source, "conflict")
        self._place(row, shed)
        return Appended(row.id, conflict=conflict)

    def _place(self, row: Row, shed: frozenset[str]) -> None:
        self._seq = seq = self._seq + 1
        sets = self._books.sets
        crc = checksum(seq, row.lane, row.hops, row.size, row.body.encode())
        self._events.append((
            seq, row.id, row.source, row.lane, row.received_at, row.name, row.size, self._offset, row.hops,
            sets[row.owed], sets[row.filtered], row.body, crc,
        ))  # fmt: skip
        alike = row.source, row.owed, row.filtered, shed
        total = self._sums.get(alike)
        if total is None:
            total = self._sums[alike] = _Sum(row, self._offset)
        total.number += 1
        total.size += row.size
        total.last_seq = seq
        self._offset += row.size
        self._shed += [(self._books.accounts[name].id, seq) for name in shed]

    def tally(self) -> None:
        """Count what was added since the last time."""
        for (source, owed, filtered, shed), total in self._sums.items():
            self._books.count_log(total.number, total.size)
            self._books.count("source", source, "accepted", total.number)
            if not owed:
                self._books.count("source", source, "unrouted", total.number)
            for name in owed:
                self._books.count("destination", name, "owed", total.number)
                if name in shed:
                    self._books.count("destination", name, "dead", total.number)
                    self._books.count("destination", name, "shed", total.number)
                else:
                    self._owe(self._books.accounts[name], total)
            for name in filtered:
                self._books.count("destination", name, "filtered", total.number)
        self._sums.clear()

    def _owe(self, account: Account, total: _Sum) -> None:
        self._books.count("destination", account.name, "waiting_bytes", total.size)
        account.last_owed = max(account.last_owed, total.last_seq)
        if account.fresh_from is None:
            account.fresh_from = total.offset
            if not account.unsettled:
                account.oldest = total.first.received_at

    def store(self, now: int) -> None:
        """Write what was added."""
        database = self._database
        database.put("append_events", self._events)
        if self._keys:
            database.run("append_seen", rows=self._keys, at=now)
        if self._shed:
            database.run("pass_over", rows=self._shed)
            database.run("bury", rows=[(*shed, SHED, FULL, None, None) for shed in self._shed], at=now)


class _Repeats:
    """What tells a repeat: the ids of events, and what the callers' keys stand for (digest -> event id)."""

    def __init__(self, database: Database, rows: Sequence[Row], since: int, *, stored: bool) -> None:
        self._ids = set(database.rows("find_stored", str, ids=[row.id for row in rows])) if stored else set[str]()
        self._seen: dict[tuple[str, str], dict[str, str]] = {}
        if keys := sorted({(row.source, row.key) for row in rows if row.key is not None}):
            found = database.rows("find_seen", tuple[str, str, str, str], rows=keys, since=since)
            for source, key, digest, event_id in found:
                self._seen.setdefault((source, key), {})[digest] = event_id

    def meet(self, row: Row) -> tuple[str | None, bool]:
        """The event that this one repeats, or ``None``, and whether its key stood for other content."""
        seen = self._seen.setdefault((row.source, row.key), {}) if row.key is not None else None
        first = row.id if row.id in self._ids else seen.get(row.digest) if seen else None
        conflict = first is None and bool(seen)
        if first is None:
            self._ids.add(row.id)
            if seen is not None:
                seen[row.digest] = row.id
        return first, conflict
