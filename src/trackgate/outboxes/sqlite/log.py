"""The write-ahead log, frame by frame and past SQLite, which reads it no further than to the first bad frame.

Its format is documented at https://www.sqlite.org/fileformat2.html#walformat.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE = 4096
"""Bytes."""
HEADER, FRAME_HEADER = 32, 24
FRAME = FRAME_HEADER + PAGE

BIG_ENDIAN = 0x377F0683
"""The first number of a log whose checksums are made of big-endian numbers."""

Sums = tuple[int, int]
"""A checksum; each goes on from the one before."""


class Frame(Struct, frozen=True):
    """A page in the log. ``place`` is the frame's number, from 0; ``commit`` says that it ends a commit."""

    place: int
    page: int
    commit: bool


class Log:
    """The present generation of the log at ``path``, also what SQLite does not reach because of a bad frame before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header = b""
        self._frames = self._read() if path.exists() else []

    def __bool__(self) -> bool:
        """Whether there is any frame."""
        return bool(self._frames)

    def promised(self) -> Sequence[Frame]:
        """The frames up to the last commit that was fsynced for certain: another was begun after it."""
        last = max((frame.place for frame in self._frames[:-1] if frame.commit), default=-1)
        return [frame for frame in self._frames if frame.place <= last]

    def committed(self) -> Sequence[Frame]:
        """The frames of all commits, the last one only if it is whole: else a power cut may have torn it off."""
        promised = self.promised()
        tail = self._frames[len(promised) :]
        return self._frames if tail and tail[-1].commit and self._whole(tail) else promised

    def _read(self) -> list[Frame]:
        with self._path.open("rb") as file:
            self._header = file.read(HEADER)
            count = (self._path.stat().st_size - HEADER) // FRAME
            heads: list[tuple[int, int, bytes]] = []
            for place in range(count):
                file.seek(HEADER + place * FRAME)
                page, commit, salt = struct.unpack(">II8s", file.read(16))
                heads.append((page, commit, salt))
        if not heads:
            return []
        # A log that is begun anew gets other salts, and the frames of before stay behind: its header says which hold.
        salt = self._header[16:24] if self._sound_header() else heads[0][2]
        return [
            Frame(place, page, bool(commit))
            for place, (page, commit, own) in enumerate(heads)
            if own == salt and page > 0
        ]

    def _whole(self, frames: Sequence[Frame]) -> bool:
        """Whether none is missing between these and each matches its checksum, which goes on from that before it."""
        first, last = frames[0].place, frames[-1].place
        if len(frames) != last - first + 1:
            return False
        with self._path.open("rb") as file:
            file.seek(HEADER + (first - 1) * FRAME + 16 if first else HEADER - 8)
            sums = struct.unpack(">II", file.read(8))
            file.seek(HEADER + first * FRAME)
            for _ in frames:
                frame = file.read(FRAME)
                sums = self._sum(frame[FRAME_HEADER:], self._sum(frame[:8], sums))
                if sums != struct.unpack(">II", frame[16:FRAME_HEADER]):
                    return False
        return True

    def _sound_header(self) -> bool:
        return self._sum(self._header[:24], (0, 0)) == struct.unpack(">II", self._header[24:])

    def _sum(self, data: bytes, sums: Sums) -> Sums:
        one, two = sums
        order = ">" if int.from_bytes(self._header[:4], "big") == BIG_ENDIAN else "<"
        for first, second in struct.iter_unpack(f"{order}II", data):
            one = (one + first + two) & 0xFFFFFFFF
            two = (two + second + one) & 0xFFFFFFFF
        return one, two
