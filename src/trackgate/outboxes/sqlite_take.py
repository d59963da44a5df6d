"""What a transaction does to hand deliveries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
from msgspec import Struct

from trackgate.outboxes.sqlite_checksum import sound
from trackgate.outboxes.sqlite_jobs import Handed, Take, TakeHeld

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outbox import Delivery
    from trackgate.outboxes.sqlite_books import Account, Books
    from trackgate.outboxes.sqlite_database import Database

MAX_BYTES = 4 * 2**20
"""Bytes of events handed out at once; one event more where that is larger."""

CANDIDATES = 2_048
"""How many of the longest due are looked at to find the oldest."""

NEVER = 2**62
"""Microseconds; later than any due time."""


class _Next(Struct, array_like=True):
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


class _Waiting(Struct, array_like=True):
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
    body: str
    crc: int | None


def hand_out(
    database: Database, books: Books, jobs: Sequence[Take | TakeHeld], hand: int, now: int
) -> list[list[Delivery]]:
    """Hand deliveries out: they count as started once the transaction is committed.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        hand: the transaction's number.
        now: microseconds.

    """
    answers: list[list[Delivery]] = []
    cursors = {account.id: account.cursor for account in books.accounts.values()}
    for job in jobs:
        account = books.accounts.get(job.destination)
        if account is None:
            answers.append([])
        elif isinstance(job, Take):
            taken = _take(database, books, account, job.limit, hand, now)
            answers.append(sound(database, books, account, taken, now))
        else:
            answers.append(sound(database, books, account, _take_held(database, account, job, hand), now))
    moved = [(one.id, one.cursor) for one in books.accounts.values() if one.cursor != cursors[one.id]]
    if moved:
        database.run("move_cursors", rows=moved)
    return answers


def _take(database: Database, books: Books, account: Account, limit: int, hand: int, now: int) -> list[Handed]:
    if account.fresh_from is None and not account.returned:
        return []
    rows = database.rows(
        "next_deliveries", _Next, destination=account.id, cursor=account.cursor, limit=limit, bytes=MAX_BYTES
    )
    if not rows:
        raise apsw.CorruptError(f"{account.name} is owed events that the log does not hold")
    marks = [
        (account.id, row.seq, row.lane, row.size, 0 if row.behind else hand, row.behind, row.attempts + 1 - row.behind)
        for row in rows
    ]
    database.run("hand_out", rows=marks)
    # One that was given back can be older than what its lane holds: then it leads the lane.
    if lanes := {(account.id, row.lane) for row in rows if row.behind and row.returned}:
        database.run("order_lanes", rows=sorted(lanes), now=now)
    _advance(books, account, rows)
    return [
        Handed(row.seq, row.lane, row.hops, row.attempts, False, 0, None, None, False, row.size, row.body, row.crc)  # noqa: FBT003
        for row in rows
        if not row.behind
    ]


def _advance(books: Books, account: Account, rows: Sequence[_Next]) -> None:
    fresh = [row for row in rows if not row.returned]
    account.returned -= len(rows) - len(fresh)
    account.held += sum(row.behind for row in rows)
    account.unsettled += len(fresh)
    account.bytes += sum(row.size for row in fresh)
    if fresh:
        account.cursor = fresh[-1].seq
        account.fresh_from = fresh[-1].end if books.fresh(account) else None


def _take_held(database: Database, account: Account, job: TakeHeld, hand: int) -> list[Handed]:
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
        database.run("hand_out", rows=marks)
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
            row.size,
            row.body,
            row.crc,
        )
        for row in rows
    ]
