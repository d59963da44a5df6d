"""What a transaction does for operators: the dead are tried again or given up, what waits is moved or given up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from trackgate.outboxes.jobs import DropDead, DropWaiting, Move, RetryDead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite.accounts import Account
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database

DROPPED = "dropped"
"""Why a delivery is not made that an operator gave up while it waited."""


class _Dead(Struct, array_like=True):
    """A row of ``still_dead``."""

    destination: int
    seq: int
    lane: int
    size: int


class _Owed(Struct, array_like=True):
    """A row of ``waiting_there`` or ``dead_there``.

    ``fresh`` is one that the cursor has yet to come to. The last two say how it is at the other destination: whether
    that one's cursor will pass it over, and whether it was dropped there.
    """

    seq: int
    lane: int
    size: int
    offset: int
    held: int
    fresh: int
    owed: int
    ahead: int
    dropped: int


def operate(database: Database, books: Books, job: RetryDead | DropDead | Move | DropWaiting, now: int) -> int:
    """Do it; to how many deliveries it was done.

    Args:
        database: inside a transaction.
        books: change with it.
        job: any of them.
        now: microseconds.

    """
    match job:
        case RetryDead():
            return _retry(database, books, _still_dead(database, books, job.deliveries), now)
        case DropDead():
            return _give_up(database, books, _still_dead(database, books, job.deliveries), now)
        case DropWaiting():
            return _drop_waiting(database, books, job, now)
        case Move():
            return _move(database, books, job, now)
        case _:
            assert_never(job)


# --- the dead -----------------------------------------------------------------------------------------------------


def _still_dead(database: Database, books: Books, deliveries: Sequence[tuple[str, int]]) -> list[_Dead]:
    keys = [(books.accounts[name].id, seq) for name, seq in deliveries]
    return database.rows("still_dead", _Dead, rows=keys)


def _retry(database: Database, books: Books, dead: Sequence[_Dead], now: int) -> int:
    """Hold them, as if never tried: in their lanes they go before what came later."""
    names = {account.id: account.name for account in books.accounts.values()}
    for one in dead:
        account = books.accounts[names[one.destination]]
        books.count("destination", account.name, "dead", -1)
        books.wait(account, one.size)
        account.held += 1
    if dead:
        database.run("dig_up", rows=[(one.destination, one.seq) for one in dead])
        database.put("hand_out", [(one.destination, one.seq, one.lane, one.size, 0, 1, 0) for one in dead])
        database.run("order_lanes", rows=sorted({(one.destination, one.lane) for one in dead}), now=now)
    return len(dead)


def _give_up(database: Database, books: Books, dead: Sequence[_Dead], now: int) -> int:
    names = {account.id: account.name for account in books.accounts.values()}
    for destination, number in Counter(one.destination for one in dead).items():
        books.drop_dead(names[destination], number)
    if dead:
        database.run("give_up", rows=[(one.destination, one.seq) for one in dead], at=now)
    return len(dead)


# --- what waits ---------------------------------------------------------------------------------------------------


def _drop_waiting(database: Database, books: Books, job: DropWaiting, now: int) -> int:
    account = books.accounts.get(job.destination)
    if account is None:
        return 0
    waiting = _waiting(database, account, account, job.limit)
    _leave(database, books, account, waiting, now)
    _drop(database, books, account, waiting, now)
    books.see_whether_fresh(account)
    return len(waiting)


def _move(database: Database, books: Books, job: Move, now: int) -> int:
    """What waits goes first, then the dead."""
    old = books.accounts.get(job.old)
    if old is None or job.old == job.new:
        return 0
    books.enter(database, [job.new])
    new = books.accounts[job.new]
    names = {number: destinations for destinations, number in books.sets.items()}
    waiting = _waiting(database, old, new, job.limit)
    dead = database.rows("dead_there", _Owed, destination=old.id, other=new.id, limit=job.limit - len(waiting))
    _leave(database, books, old, waiting, now)
    stay = {one.seq for one in (*waiting, *dead) if new.name in names[one.owed] and not one.dropped}
    _drop(database, books, old, [one for one in waiting if one.seq in stay], now)
    if given_up := [(old.id, one.seq) for one in dead if one.seq in stay]:
        database.run("give_up", rows=given_up, at=now)
        books.drop_dead(old.name, len(given_up))
    waiting = [one for one in waiting if one.seq not in stay]
    dead = [one for one in dead if one.seq not in stay]
    _owe(database, books, old, new, [*waiting, *dead])
    _arrive(database, books, new, waiting)
    _lie(database, books, old, new, dead)
    books.see_whether_fresh(old)
    return len(stay) + len(waiting) + len(dead)


def _waiting(database: Database, account: Account, other: Account, limit: int) -> list[_Owed]:
    return database.rows(
        "waiting_there", _Owed, destination=account.id, cursor=account.cursor, other=other.id, limit=limit
    )


def _leave(database: Database, books: Books, account: Account, waiting: Sequence[_Owed], now: int) -> None:
    """They wait here no more: the cursor has passed them, and nothing of them is unsettled."""
    fresh = [one for one in waiting if one.fresh]
    passed = [one for one in waiting if not one.fresh]
    for one in waiting:
        books.count("destination", account.name, "waiting_bytes", -one.size)
    account.unsettled -= len(passed)
    account.bytes -= sum(one.size for one in passed)
    account.held -= sum(one.held for one in passed)
    account.returned -= sum(not one.held for one in passed)
    books.stale_oldest = True
    if passed:
        database.put("settle", [(account.id, one.seq) for one in passed])
    if lanes := {(account.id, one.lane) for one in passed if one.held}:
        database.run("order_lanes", rows=sorted(lanes), now=now)
    if fresh:
        account.cursor = fresh[-1].seq
        database.run("move_cursors", rows=[(account.id, account.cursor)])
        account.fresh_from = fresh[-1].offset + fresh[-1].size


def _drop(database: Database, books: Books, account: Account, waiting: Sequence[_Owed], now: int) -> None:
    if waiting:
        database.run("bury", rows=[(account.id, one.seq, DROPPED, "", None, now) for one in waiting], at=now)
        books.count("destination", account.name, "dropped", len(waiting))


def _owe(database: Database, books: Books, old: Account, new: Account, moved: Sequence[_Owed]) -> None:
    """Owe events to the new destination in the place of the old one."""
    names = {number: destinations for destinations, number in books.sets.items()}
    changed = {one: tuple(sorted({*names[one]} - {old.name} | {new.name})) for one in {one.owed for one in moved}}
    books.enter_sets(database, changed.values())
    if moved:
        database.run("owe", rows=[(one.seq, books.sets[changed[one.owed]]) for one in moved])
        database.run("unmark", rows=[(old.id, one.seq) for one in moved])
    books.count("destination", old.name, "owed", -len(moved))
    # What was dropped there is owed there already, and is not dropped any more.
    if back := [(new.id, one.seq) for one in moved if one.dropped]:
        database.run("dig_up", rows=back)
        books.count("destination", new.name, "dropped", -len(back))
    books.count("destination", new.name, "owed", len(moved) - len(back))


def _arrive(database: Database, books: Books, account: Account, waiting: Sequence[_Owed]) -> None:
    """They wait here: behind the cursor as returned, before it as every other event of the log."""
    account.tail = None  # it knows nothing of the lanes that come
    rows = []
    for one in waiting:
        if one.seq > account.cursor and not one.ahead:
            books.count("destination", account.name, "waiting_bytes", one.size)
            account.fresh_from = min(one.offset, one.offset if account.fresh_from is None else account.fresh_from)
        else:
            books.wait(account, one.size)
            account.returned += 1
            rows.append((account.id, one.seq, one.lane, one.size, 0, 0, 0))
    if rows:
        database.put("hand_out", rows)


def _lie(database: Database, books: Books, old: Account, new: Account, dead: Sequence[_Owed]) -> None:
    """They are dead here: a cursor that is yet to come passes them over."""
    if dead:
        database.run("move_dead", rows=[one.seq for one in dead], old=old.id, new=new.id)
        database.run("pass_over", rows=[(new.id, one.seq) for one in dead if one.seq > new.cursor])
    books.count("destination", old.name, "dead", -len(dead))
    books.count("destination", new.name, "dead", len(dead))
