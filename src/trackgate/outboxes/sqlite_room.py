"""Free space: how much there is, and a ballast to throw off so that the queue can drain when there is none.

Settling is writing too. New events are refused while there is still some space; should somebody else fill the disk to
the last byte, the ballast file is deleted, and what it took lets the writer go on.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from trackgate.model import Clock

FILE = "ballast"
BALLAST = 8 * 2**20
"""Bytes."""

LOOK_EVERY = 1.0
"""Seconds."""


class Room:
    """The space that a data directory has left.

    Args:
        directory: on the file system in question.
        min_free: bytes that have to stay free.
        clock: so that it is not asked more than once a second.

    """

    def __init__(self, directory: Path, min_free: int, clock: Clock) -> None:
        self._directory = directory
        self._ballast = directory / FILE
        self._min_free = min_free
        self._clock = clock
        self._looked: float | None = None
        self._free = 0

    def short(self) -> bool:
        """Whether there is too little to take new events."""
        return self._look() < self._min_free

    def shortage(self) -> int:
        """Bytes that would have to become free before new events are taken again and the ballast fits; 0 if enough."""
        free = self._look()
        return self._min_free + BALLAST - free if free < self._min_free else 0

    def ran_out(self) -> bool:
        """Throw off the ballast, because a write found no space; whether there was any."""
        self._looked, self._free = self._clock.monotonic(), -1
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def restock(self) -> None:
        """Take the ballast on board again, where there is room for it and more to spare."""
        if self._ballast.exists() or self._look() < self._min_free + BALLAST:
            return
        with suppress(OSError):
            self._reserve()

    def _reserve(self) -> None:
        file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, BALLAST)
        except OSError as error:
            # Half a ballast is none; and a file system that cannot reserve has to do without.
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EOPNOTSUPP, errno.EINVAL}:
                self._ballast.unlink()
            raise
        finally:
            os.close(file)

    def _look(self) -> int:
        now = self._clock.monotonic()
        if self._looked is None or now - self._looked >= LOOK_EVERY:
            self._looked = now
            with suppress(OSError):
                status = os.statvfs(self._directory)
                self._free = status.f_bavail * status.f_frsize
                if not self._ballast.exists():
                    self._free -= BALLAST  # what it gave up is for draining, not for new events
        return self._free
