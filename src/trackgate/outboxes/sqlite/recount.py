"""After a salvage: the rows that were found are made to fit together, and the counters to fit the rows."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import apsw


LOST_EVENTS = """
select count(distinct seq) from known where seq between 1 and ? and seq not in (select seq from event)
"""


class Salvage(Struct, frozen=True, kw_only=True):
    """What a salvage came to. The destinations are those with a number other than 0.

    ``lost_events`` are those that something still names and whose own row is unreadable, or not as it was stored.
    """

    saved_events: int
    lost_events: int
    lost_deliveries: dict[str, int]
    """By destination: what the counters say was owed and is neither settled nor readable; at least so many."""
    uncounted: list[str]
    """The destinations whose counters are not to be believed: what they lost is not known."""
    unclear: dict[str, int]
    """By destination: what waits because nothing says whether it was delivered. As many more may be lost."""


class _Counted(Struct, array_like=True):
    """What the rows say of a destination. ``readable`` are the events that it was owed, settled or not."""

    name: str
    waiting: int
    bytes: int
    dead: int
    readable: int
    unclear: int


def recount(connection: apsw.Connection, now: int) -> Salvage:
    """Make the rows whole and count them.

    Args:
        connection: to the new file, with all that was found, in a transaction.
        now: microseconds.

    """
    tallies: dict[tuple[str, str, str], int] = {
        (kind, name, counter): n for kind, name, counter, n in connection.execute("select * from tally")
    }
    highest = connection.execute("select coalesce(max(seq), 0) from event").get
    last = max(highest, tallies.get(("log", "", "events"), 0))
    script = files("trackgate.outboxes.sqlite").joinpath("salvage.sql").read_text("utf-8")
    connection.execute(script, {"last": last, "now": now})
    lost: dict[str, int] = {}
    unclear: dict[str, int] = {}
    uncounted: list[str] = []
    for row in connection.execute("select * from counted order by name").fetchall():
        one = msgspec.convert(row, _Counted)
        counters = {
            counter: tallies.get(("destination", one.name, counter), 0) for counter in ("owed", "delivered", "dropped")
        }
        counters, missing = _balance(counters, one, last, counted=("log", "", "events") in tallies)
        if missing is None:
            uncounted.append(one.name)
        elif missing > 0:
            lost[one.name] = missing
        if one.unclear:
            unclear[one.name] = one.unclear
        counters |= {"dead": one.dead, "waiting_bytes": one.bytes}
        _write(connection, [("destination", one.name, counter, n) for counter, n in counters.items()])
    saved, stored = connection.execute("select count(*), coalesce(sum(size), 0) from event").get
    _write(connection, [("log", "", "events", last), ("log", "", "bytes", stored), ("log", "", "stored", stored)])
    return Salvage(
        saved_events=saved,
        lost_events=connection.execute(LOST_EVENTS, (last,)).get,
        lost_deliveries=lost,
        uncounted=uncounted,
        unclear=unclear,
    )


def _balance(
    counters: dict[str, int], rows: _Counted, last: int, *, counted: bool
) -> tuple[dict[str, int], int | None]:
    """Counters with which owed = delivered + waiting + dead + dropped, and how much of what was owed is missing.

    What is missing counts as dropped; a negative number says how many wait that were taken to be delivered; ``None``
    that the counters cannot be believed. A destination was never owed anything only if the log is ``counted``.
    """
    owed, delivered, dropped = counters["owed"], counters["delivered"], counters["dropped"]
    believed = 0 <= delivered + dropped <= owed <= last and min(delivered, dropped) >= 0
    gone = not owed and (rows.readable > 0 or not counted)
    if not believed or gone:
        settled = rows.readable - rows.waiting - rows.dead
        return {"owed": rows.readable, "delivered": settled, "dropped": 0}, None
    missing = owed - delivered - dropped - rows.dead - rows.waiting
    if missing >= 0:
        return {"owed": owed, "delivered": delivered, "dropped": dropped + missing}, missing
    taken = min(delivered, -missing)
    return {"owed": owed - missing - taken, "delivered": delivered - taken, "dropped": dropped}, missing


def _write(connection: apsw.Connection, rows: list[tuple[str, str, str, int]]) -> None:
    connection.executemany("insert or replace into tally (kind, name, counter, n) values (?, ?, ?, ?)", rows)
