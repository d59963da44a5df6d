"""What a transaction does to find live deliveries: events beyond a backlog whose lanes owe nothing older.

The lanes of the backlog are read a chunk a transaction, from an index alone, so that no commit waits long for it. Once
they are known, each event of the tail goes ahead or, where its lane waits for the cursor, waits too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trackgate.outboxes.sqlite.tail import Tail

if TYPE_CHECKING:
    from trackgate.outboxes.sqlite.accounts import Account
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database

CATCHING_UP = 128
"""Events that a destination was never handed; with more of them it has a backlog to get through."""

CHUNK = 5_000
"""Events of the backlog whose lanes are read in one transaction."""

LOOK = 1_024
"""Events of the tail that are looked at in one transaction."""


def find_live(database: Database, books: Books, account: Account, limit: int) -> list[int]:
    """The events that may go ahead now, at most ``limit``; empty also where more of the backlog must be read first."""
    if not is_backlog(books, account):
        return []
    if account.tail is None or (account.tail.worn and account.tail.reached >= account.last_owed):
        account.tail = _begin(database, books, account)
    if not account.tail.known:
        _read_on(database, account, account.tail)
        return []
    if account.tail.returned:
        returned = _returned(database, account, account.tail)[:limit]
        account.tail.returned = bool(returned)  # another of a lane can be behind the one that is found
        if returned:
            return returned
    return _look(database, books, account, account.tail, limit)


def is_backlog(books: Books, account: Account) -> bool:
    """Whether a destination has so much to be handed that live events should not wait for it."""
    return books.fresh(account) > CATCHING_UP


def might_be_live(books: Books, account: Account) -> bool:
    """Whether ``find_live`` might find something, or has something to read."""
    if not is_backlog(books, account):
        return False
    tail = account.tail
    return tail is None or tail.worn or tail.returned or not tail.known or account.last_owed > tail.reached


def _begin(database: Database, books: Books, account: Account) -> Tail:
    tail = Tail(account.cursor, books.last_seq, books.fresh(account))
    for lane in database.rows("returned_lanes", int, destination=account.id) if account.returned else ():
        tail.given_back.add(lane)
    return tail


def _returned(database: Database, account: Account, tail: Tail) -> list[int]:
    """What may go ahead again. A move can have brought something older to its lane that was never handed out here."""
    rows = database.rows("returned_ahead", tuple[int, int], destination=account.id, cursor=account.cursor, limit=LOOK)
    return [seq for seq, lane in rows if lane not in tail.fresh]


def _read_on(database: Database, account: Account, tail: Tail) -> None:
    after = max(tail.read, account.cursor)
    rows = _lanes(database, account, after, tail.mark, CHUNK)
    for _, lane in rows:
        tail.fresh.add(lane)
    tail.read = rows[-1][0] if len(rows) == CHUNK else tail.mark


def _look(database: Database, books: Books, account: Account, tail: Tail, limit: int) -> list[int]:
    chosen: list[int] = []
    rows = _lanes(database, account, max(tail.reached, account.cursor), books.last_seq, LOOK)
    for seq, lane in rows:
        if len(chosen) == limit:
            return chosen
        tail.reached = seq
        if lane not in tail.fresh and lane not in tail.given_back:
            chosen.append(seq)
    if len(rows) < LOOK:
        tail.reached = books.last_seq
    return chosen


def _lanes(database: Database, account: Account, after: int, upto: int, limit: int) -> list[tuple[int, int]]:
    return database.rows("fresh_lanes", tuple[int, int], destination=account.id, after=after, upto=upto, limit=limit)
