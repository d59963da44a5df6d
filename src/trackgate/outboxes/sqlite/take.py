"""What a transaction does to hand deliveries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
from msgspec import Struct

from trackgate.outboxes.jobs import Handed, Take, TakeHeld, TakeLive
from trackgate.outboxes.sqlite.accounts import InHand
from trackgate.outboxes.sqlite.checksum import sound
from trackgate.outboxes.sqlite.live import find_live, is_backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite.accounts import Account
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database

MAX_BYTES = 4 * 2**20
"""Bytes of events handed out at once; one event more where that is larger."""

CANDIDATES = 2_048
"""How many of the longest due are looked at to find the oldest."""

MOST_PASSED = 10_000
"""Entries of what went ahead that are forgotten in one transaction, so that it does not take long."""

BEFORE = 2
"""As ``behind``: what the lane has held is all younger."""

NEVER = 2**62
"""Microseconds; later than any due time."""


class _Next(Struct, array_like=True, gc=False):
    """A row of ``next_deliveries``. ``end`` is where the event ends in the log."""

    seq: int
    lane: int
    size: int
    hops: int
    attempts: int
    returned: int
    behind: int
    end: int
    body: str
    crc: int | None


class _Waiting(Struct, array_like=True, gc=False):
    """A row of ``held_deliveries``."""

    seq: int
    lane: int
    size: int
    hops: int
    attempts: int
    parks: int
    since: float | None
    step: str | None
    aside: int
    live: int
    body: str
    crc: int | None


def hand_out(
    database: Database, books: Books, jobs: Sequence[Take | TakeLive | TakeHeld], hand: int, now: int
) -> list[list[Handed]]:
    """Hand deliveries out: they count as started once the transaction is committed.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        hand: the transaction's number.
        now: microseconds.

    """
    answers: list[list[Handed]] = []
    cursors = {account.id: account.cursor for account in books.accounts.values()}
    for job in jobs:
        account = books.accounts.get(job.destination)
        if account is None:
            answers.append([])
        else:
            answers.append(sound(database, books, account, _taken(database, books, account, job, hand, now), now))
    moved = [(one.id, one.cursor) for one in books.accounts.values() if one.cursor != cursors[one.id]]
    if moved:
        database.run("move_cursors", rows=moved)
        database.run("pass_ahead", rows=moved, limit=MOST_PASSED)
    return answers


def _taken(
    database: Database, books: Books, account: Account, job: Take | TakeLive | TakeHeld, hand: int, now: int
) -> list[Handed]:
    if isinstance(job, TakeHeld):
        return _take_held(database, books, account, job, hand)
    take = _take_live if isinstance(job, TakeLive) else _take
    return take(database, books, account, job.limit, hand, now)


def _take(database: Database, books: Books, account: Account, limit: int, hand: int, now: int) -> list[Handed]:
    if account.fresh_from is None and not account.returned:
        return []
    rows = database.rows(
        "next_deliveries", _Next, destination=account.id, cursor=account.cursor, limit=limit, bytes=MAX_BYTES
    )
    fresh = [row for row in rows if not row.returned]
    if fresh:
        account.cursor = fresh[-1].seq
        account.fresh_from = fresh[-1].end
        if account.tail is not None:
            account.tail.drained(len(fresh))
    return _hand(database, books, account, rows, hand, now)


def _take_live(database: Database, books: Books, account: Account, limit: int, hand: int, now: int) -> list[Handed]:
    found = find_live(database, books, account, limit)
    if not found:
        return []
    rows = database.rows("live_deliveries", _Next, destination=account.id, rows=found, bytes=MAX_BYTES)
    fresh = [(account.id, row.seq) for row in rows if not row.returned]
    if fresh:
        database.run("pass_over", rows=fresh)
    if rows and account.tail is not None and len(rows) < len(found):
        account.tail.stopped_at(rows[-1].seq, returned=not fresh)
    return _hand(database, books, account, rows, hand, now, live=True)


def _hand(
    database: Database,
    books: Books,
    account: Account,
    rows: Sequence[_Next],
    hand: int,
    now: int,
    *,
    live: bool = False,
) -> list[Handed]:
    """Mark what is handed out, and let what has to wait behind its lane do so."""
    if not rows:
        raise apsw.CorruptError(f"{account.name} is owed events that the log does not hold")
    marks = [
        (account.id, row.seq, row.lane, row.size, 0, 1, row.attempts)
        if row.behind
        else (account.id, row.seq, row.lane, row.size, hand, 0, row.attempts + 1)
        for row in rows
    ]
    _mark(database, books, marks)
    # One that came back, or that a move brought, can be older than what its lane holds: then it leads the lane.
    if lanes := {(account.id, row.lane) for row in rows if row.behind == BEFORE}:
        database.run("order_lanes", rows=sorted(lanes), now=now)
    fresh = [row for row in rows if not row.returned]
    account.returned -= len(rows) - len(fresh)
    account.held += sum(bool(row.behind) for row in rows)
    account.unsettled += len(fresh)
    account.bytes += sum(row.size for row in fresh)
    if not books.fresh(account):
        account.cursor, account.fresh_from = books.last_seq, None
    if not is_backlog(books, account):
        account.tail = None
    return [_untried(row, live=live) for row in rows if not row.behind]


def _mark(database: Database, books: Books, marks: Sequence[tuple[int, int, int, int, int, int, int]]) -> None:
    database.put("hand_out", marks)
    for destination, seq, lane, size, hand, held, attempts in marks:
        if hand:
            books.in_hand[destination, seq] = InHand(destination, seq, lane, size, bool(held), attempts)


def _untried(row: _Next, *, live: bool) -> Handed:
    return Handed(
        seq=row.seq,
        lane=row.lane,
        hops=row.hops,
        attempts=row.attempts,
        held=False,
        parks=0,
        since=None,
        step=None,
        aside=False,
        live=live,
        size=row.size,
        body=row.body,
        crc=row.crc,
    )


def _take_held(database: Database, books: Books, account: Account, job: TakeHeld, hand: int) -> list[Handed]:
    if not account.held:
        return []
    rows = database.rows(
        "held_deliveries",
        _Waiting,
        destination=account.id,
        now=NEVER if job.now is None else job.now,
        # For a probe the one that waited longest since it was last tried, so that all take turns; else the oldest.
        candidates=job.limit if job.now is None else max(job.limit, CANDIDATES),
        limit=job.limit,
        bytes=MAX_BYTES,
    )
    if rows:
        marks = [(account.id, row.seq, row.lane, row.size, hand, 1, row.attempts + 1) for row in rows]
        _mark(database, books, marks)
    return [
        Handed(
            row.seq,
            row.lane,
            row.hops,
            row.attempts,
            True,  # noqa: FBT003
            row.parks,
            row.since,
            row.step,
            bool(row.aside),
            bool(row.live),
            row.size,
            row.body,
            row.crc,
        )
        for row in rows
    ]
