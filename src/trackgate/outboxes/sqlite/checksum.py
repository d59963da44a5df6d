"""A checksum with every stored event, so that a damaged one is known before it is handed out.

It covers the body and what decides whose turn it is: the number in the log, the lane, the hops and the size. It leaves
out which destinations are owed, because `move` rewrites that; the index by destination says it a second time, and the
check at the start compares the two. The row's id, source, name and time are in the body as well.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from trackgate.outboxes.jobs import DAMAGED, Handed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite.accounts import Account
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database


def checksum(seq: int, lane: int, hops: int, size: int, body: bytes) -> int:
    """The checksum of an event's row."""
    return zlib.crc32(body, zlib.crc32(b"%d %d %d %d " % (seq, lane, hops, size)))


def sound(database: Database, books: Books, account: Account, handed: Sequence[Handed], now: int) -> list[Handed]:
    """Those of the deliveries whose events are as they were stored; the others die on the spot, with a reason.

    Args:
        database: inside the transaction that hands them out.
        books: change with it, and remember what was found.
        account: of the destination.
        handed: marked as handed out.
        now: microseconds.

    """
    deliveries: list[Handed] = []
    damaged: list[tuple[Handed, str]] = []
    for one in handed:
        try:
            if one.crc is None:
                one.delivery(account.name)  # only what has no checksum has to be looked at
            elif one.crc != checksum(one.seq, one.lane, one.hops, one.size, one.body.encode()):
                damaged.append((one, "the stored event does not match its checksum"))
                continue
            deliveries.append(one)
        except msgspec.DecodeError as error:
            damaged.append((one, f"the stored event cannot be read: {error}"))
    if damaged:
        _bury(database, books, account, damaged, now)
    return deliveries


def _bury(database: Database, books: Books, account: Account, damaged: Sequence[tuple[Handed, str]], now: int) -> None:
    keys = sorted((account.id, one.seq) for one, _ in damaged)
    waited = dict(database.rows("sizes_counted", tuple[int, int], rows=keys))
    for key in keys:
        del books.in_hand[key]
    database.put("settle", keys)
    database.run("bury", rows=[(account.id, one.seq, DAMAGED, detail) for one, detail in damaged], at=now)
    for one, _ in damaged:
        books.count("destination", account.name, "dead")
        books.count("destination", account.name, "waiting_bytes", -_appended(one, waited[one.seq]))
        books.damaged.append((account.name, one.seq))
        books.stale_oldest = True
        account.unsettled -= 1
        account.bytes -= waited[one.seq]
        account.held -= one.held
    if lanes := {(account.id, one.lane) for one, _ in damaged if one.held}:
        database.run("order_lanes", rows=sorted(lanes), now=now)


def _appended(one: Handed, waited: int) -> int:
    """The size of an event when it was appended, by which it was counted.

    Args:
        one: the event as it is stored now.
        waited: its size when it was first handed out, which may have been the damaged one.

    """
    length = len(one.body.encode())
    return length if one.crc == checksum(one.seq, one.lane, one.hops, length, one.body.encode()) else waited
