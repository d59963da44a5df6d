"""Which table a row of a damaged file is of, told by its shape alone: the pages that would say so may be gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from trackgate.outboxes.sqlite.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Mapping

    import apsw

    from trackgate.outboxes.sqlite.pages import Record

BATCH = 1_000
"""Rows."""

State = Literal["up", "down", "parked"]

TABLES: Mapping[tuple[bool, int], tuple[tuple[str, Any], ...]] = {
    (True, 2): (("destination_set", tuple[None, str]),),
    (True, 7): (("destination", tuple[None, str, int, State, str | None, int | None, float]),),
    (True, 9): (
        ("destination", tuple[None, str, int, State, str | None, int | None, float, int | None, int | None]),
    ),
    (False, 4): (("tally", tuple[Literal["source", "destination", "log"], str, str, int]),),
    (False, 5): (
        ("seen", tuple[str, str, bytes, str, int]),
        ("dead", tuple[int, int, int, str, str]),
    ),
    (False, 7): (("dead", tuple[int, int, int, str, str, str | None, int | None]),),
    (False, 10): (
        ("attempt", tuple[int, int, int, int, float, str, str, str | None, int | None, str | None]),
    ),
    (False, 13): (
        (
            "unsettled",
            tuple[int, int, int, int, int, int, int, int, int | None, int, float | None, str | None, str],
        ),
    ),
}  # fmt: skip
"""Whether it has a rowid, and how many columns -> the tables that it may be of, and the columns.

Of a table that has grown, both forms are here: adding a column rewrites no row. What can be made anew from the rest
(`member`, `ahead`) is not.
"""


class _Event(Struct, array_like=True):
    """A row of the log; one of form 1 has no checksum."""

    seq: None
    id: str
    source: str
    lane: int
    received_at: int
    name: str
    size: int
    log_offset: int
    hops: int
    owed: int
    filtered: int
    body: str
    crc: int | None = None


class _Named(Struct):
    """What of an event is looked at here."""

    id: str


class Finds:
    """What was found, on its way into the new file: each row once, the first that was found of it.

    ``ours`` says that something was found that only an outbox holds.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rows: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
        self.ours = False
        connection.execute("create temp table known (seq integer, id text, primary key (seq, id)) without rowid")

    def add(self, table: str, row: tuple[Any, ...]) -> None:
        """Have a row stored."""
        rows = self._rows.setdefault((table, len(row)), [])
        rows.append(row)
        self.ours |= table in {"event", "tally"}
        if len(rows) >= BATCH:
            self._insert(table, rows)

    def store(self) -> None:
        """Store what is left."""
        for (table, _), rows in self._rows.items():
            self._insert(table, rows)

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            columns = [str(column[1]) for column in self._connection.execute(f"pragma table_info({table})")]
            width = len(rows[0])
            marks = ", ".join("?" * width)
            self._connection.executemany(
                f"insert or ignore into {table} ({', '.join(columns[:width])}) values ({marks})",  # noqa: S608 - ours
                rows,
            )
            rows.clear()


def sort(record: Record, finds: Finds) -> None:
    """Put a row where it belongs, if it is whole; the number of an event that is not is kept."""
    values = record.values
    if record.rowid is not None and len(values) in {12, 13}:
        _sort_event(record.rowid, values, finds)
    elif record.rowid is None and len(values) == 2 and isinstance(values[0], str) and isinstance(values[1], int):
        # From the indexes by name: of a set, of a destination or of an event.
        if values[0].startswith("["):
            _add_set(values[1], values[0], finds)
        else:
            finds.add("known", (values[1], values[0]))
    for table, shape in TABLES.get((record.rowid is not None, len(values)), ()):
        try:
            row = msgspec.convert(values, shape)
        except msgspec.ValidationError:
            continue
        if table == "destination_set":
            _add_set(record.rowid or 0, row[1], finds)
        elif record.rowid is not None:
            finds.add(table, (record.rowid, *row[1:]))
        else:
            finds.add(table, row)
        if table in {"unsettled", "dead"}:
            finds.add("known", (row[1], ""))


def _sort_event(seq: int, values: tuple[Any, ...], finds: Finds) -> None:
    try:
        row = msgspec.convert(values, _Event)
        body = row.body.encode()
        # Its own id is in what the checksum covers; the row's is not.
        named = msgspec.json.decode(body, type=_Named)
    except msgspec.DecodeError:  # ValidationError is one
        finds.add("known", (seq, ""))
        return
    whole = named.id == row.id and row.size == len(body) if row.crc is None else (
        row.crc == checksum(seq, row.lane, row.hops, row.size, body)
    )  # fmt: skip
    if not whole:
        finds.add("known", (seq, ""))
        return
    finds.add("event", (
        seq, named.id, row.source, row.lane, row.received_at, row.name, row.size, row.log_offset, row.hops, row.owed,
        row.filtered, row.body, row.crc,
    ))  # fmt: skip


def _add_set(id_: int, names: str, finds: Finds) -> None:
    try:
        msgspec.json.decode(names, type=list[str])
    except msgspec.DecodeError:
        return
    finds.add("destination_set", (id_, names))
