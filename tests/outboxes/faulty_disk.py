"""A disk that fails when told, as a virtual file system of SQLite; no privileges needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable


class FaultyDisk(apsw.VFS):
    """Passes everything on; ``syncs`` counts fsyncs, ``waits`` the naps while somebody else has a lock.

    ``on_write`` and ``on_sync`` may raise in their stead.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.syncs = self.waits = 0
        self.on_write: Callable[[], None] | None = None
        self.on_sync: Callable[[], None] | None = None

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _FaultyFile(self, name, flags)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        self.waits += 1
        return super().xSleep(microseconds)

    def mend(self) -> None:
        self.on_write = self.on_sync = None


class _FaultyFile(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.on_write is not None:
            self._disk.on_write()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.syncs += 1
        if self._disk.on_sync is not None:
            self._disk.on_sync()
        super().xSync(flags)


def input_output_error() -> None:
    raise apsw.IOError


def no_space() -> None:
    raise apsw.FullError
