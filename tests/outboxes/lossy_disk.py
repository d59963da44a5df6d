"""A disk that loses at a power cut what was not fsynced, as a virtual file system of SQLite.

What is written is kept twice: as it was seen, and as it was at the file's last fsync. A cut leaves something between
the two, sector by sector, each unsynced one kept or lost by the dice, as real disks reorder and tear.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    import random
    from pathlib import Path

SECTOR = 512
"""Bytes that a disk writes as a whole."""


class _Image:
    """A file as it is on the disk for certain, and as SQLite sees it."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.synced = bytearray()
        self.linked = False


class LossyDisk(apsw.VFS):
    """Passes everything on and keeps apart what is fsynced. ``deaf``: an fsync that does nothing, to test the tests."""

    def __init__(self, name: str, *, deaf: bool = False) -> None:
        super().__init__(name, "")
        self.name = name
        self._deaf = deaf
        self._images: dict[str, _Image] = {}
        self._lock = threading.Lock()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _LossyFile(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802 - the interface's
        super().xDelete(name, sync)
        with self._lock:
            self._images.pop(name, None)

    def image(self, name: str) -> _Image:
        with self._lock:
            return self._images.setdefault(name, _Image())

    def write(self, image: _Image, data: bytes, offset: int) -> None:
        with self._lock:
            end = offset + len(data)
            image.seen.extend(bytes(max(end - len(image.seen), 0)))
            image.seen[offset:end] = data

    def truncate(self, image: _Image, size: int) -> None:
        with self._lock:
            del image.seen[size:]

    def sync(self, image: _Image) -> None:
        with self._lock:
            if not self._deaf:
                image.synced[:] = image.seen
                image.linked = True

    def cut_power(self, dice: random.Random, into: Path) -> None:
        """What a disk holds after the power went: written into a directory, in files of the same names."""
        keep = dice.choice((0.0, 0.5, 1.0))
        with self._lock:
            for name, image in self._images.items():
                if not image.linked and dice.random() < 0.5:
                    continue  # its entry in the directory was never synced
                (into / name.rpartition("/")[2]).write_bytes(_torn(image, dice, keep))


def _torn(image: _Image, dice: random.Random, keep: float) -> bytes:
    """Each sector as it was synced, or as it was written since."""
    size = len(image.seen) if dice.random() < keep else len(image.synced)
    out = bytearray(size)
    for at in range(0, size, SECTOR):
        old, new = image.synced[at : at + SECTOR], image.seen[at : at + SECTOR]
        chosen = (new if old != new and dice.random() < keep else old)[: size - at]
        out[at : at + len(chosen)] = chosen
    return bytes(out)


class _LossyFile(apsw.VFSFile):
    def __init__(self, disk: LossyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._image = disk.image(path or "")
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.write(self._image, data, offset)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.truncate(self._image, size)
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.sync(self._image)
