"""Reading what a damaged file still holds, page by page and past SQLite, which gives up on a whole tree at a bad page.

The file's format is documented at https://www.sqlite.org/fileformat2.html; the numbers in brackets are its sections.
Only what our own files are is understood: pages of 4096 bytes with no reserved space, UTF-8, ``auto_vacuum``.
"""

from __future__ import annotations

import struct
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.outboxes.sqlite.log import FRAME, FRAME_HEADER, HEADER, PAGE, Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF = 0x02, 0x0A, 0x0D
"""The pages that hold rows (a table without rowid is stored as an index)."""

MAPPED = PAGE // 5
"""Pages that a page of the pointer map speaks for [1.8]."""
MAP_KINDS = range(6)
OVERFLOW = 3
NO_TREE = frozenset({2, OVERFLOW, 4})
"""Free pages and overflow pages, by the pointer map."""
LOCK_PAGE = 2**30 // PAGE + 1

SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of the numbers, by their kind [2.1]."""

LONGEST = 256 * 2**20
"""Bytes of a row; a longer one is none of ours."""

Value = int | float | str | bytes | None


class Record(Struct, frozen=True):
    """A row as it lies there. ``rowid`` is ``None`` for what comes from an index or a table without rowid."""

    rowid: int | None
    values: tuple[Value, ...]


class Pages:
    """The file at ``path`` as its write-ahead log makes it, with whatever is wrong with either."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        frames = Log(wal := path.with_name(f"{path.name}-wal")).committed()
        self._wal = wal.open("rb") if frames else None
        self._in_wal = {frame.page: frame.place for frame in frames}
        in_file = range(1, path.stat().st_size // PAGE + 1)
        self._numbers = chain(in_file, sorted(page for page in self._in_wal if page not in in_file))
        self._maps: dict[int, bytes] = {}

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        if self._wal is not None:
            self._wal.close()

    def records(self) -> Iterator[Record]:
        """Every row of every table and index, in no order, each page once."""
        for number in self._numbers:
            if number == LOCK_PAGE or self._kind(number) in NO_TREE:
                continue
            yield from self._on_page(self._page(number), 100 if number == 1 else 0)

    def _page(self, number: int) -> bytes:
        """A page; an empty one where there is none."""
        if self._wal is not None and number in self._in_wal:
            self._wal.seek(HEADER + self._in_wal[number] * FRAME + FRAME_HEADER)
            return self._wal.read(PAGE)
        self._file.seek((number - 1) * PAGE)
        return self._file.read(PAGE)

    def _kind(self, number: int) -> int:
        """What the pointer map says of a page; 0 where it is silent or beyond belief."""
        if number < 2:
            return 0
        at = (number - 2) // (MAPPED + 1) * (MAPPED + 1) + 2
        if at == number:
            return OVERFLOW  # a page of the map itself holds no rows either
        if at not in self._maps:
            page = self._page(at + (at == LOCK_PAGE))
            believed = len(page) == PAGE and all(kind in MAP_KINDS for kind in page[: MAPPED * 5 : 5])
            self._maps[at] = page if believed else bytes(PAGE)
        return self._maps[at][5 * (number - at - 1)]

    def _on_page(self, page: bytes, start: int) -> Iterator[Record]:
        if len(page) < PAGE or page[start] not in {INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF}:
            return
        kind = page[start]
        (cells,) = struct.unpack_from(">H", page, start + 3)
        pointers = start + (12 if kind == INDEX_INTERIOR else 8)
        for at in range(pointers, min(pointers + 2 * cells, PAGE - 1), 2):
            try:
                yield self._cell(page, int.from_bytes(page[at : at + 2], "big"), kind)
            except (ValueError, IndexError, struct.error):  # UnicodeDecodeError is a ValueError
                continue

    def _cell(self, page: bytes, at: int, kind: int) -> Record:
        """A row [1.6]: its length, its number where it has one, and as much of it as the page holds."""
        if kind == INDEX_INTERIOR:
            at += 4
        length, at = _varint(page, at)
        rowid: int | None = None
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
            rowid -= 2**64 * (rowid >= 2**63)
        if length > LONGEST:
            raise ValueError("longer than anything of ours")
        most = PAGE - 35 if kind == TABLE_LEAF else (PAGE - 12) * 64 // 255 - 23
        if length <= most:
            return Record(rowid, _values(page[at : at + length], length))
        least = (PAGE - 12) * 32 // 255 - 23
        local = least + (length - least) % (PAGE - 4)
        local = local if local <= most else least
        rest = self._overflow(int.from_bytes(page[at + local : at + local + 4], "big"), length - local)
        return Record(rowid, _values(page[at : at + local] + rest, length))

    def _overflow(self, number: int, length: int) -> bytes:
        parts: list[bytes] = []
        while length > 0:
            page = self._page(number) if number else b""
            if len(page) < PAGE:
                raise ValueError("cut off")
            parts.append(page[4 : 4 + length])
            length -= PAGE - 4
            number = int.from_bytes(page[:4], "big")
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes, length: int) -> tuple[Value, ...]:
    """The columns of a row [2.1]."""
    if len(payload) != length:
        raise ValueError("cut off")
    head, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    at = head
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else SIZES[kind]
        values.append(_value(payload[at : at + size], kind))
        at += size
    if at != length:
        raise ValueError("not as long as it says")
    return tuple(values)


def _value(data: bytes, kind: int) -> Value:
    if kind == 0:
        return None
    if kind == 7:
        (number,) = struct.unpack(">d", data)
        return float(number)
    if kind in {8, 9}:
        return kind - 8
    if kind < 12:
        return int.from_bytes(data, "big", signed=True)
    return data.decode() if kind % 2 else data
