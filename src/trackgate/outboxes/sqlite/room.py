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

    def _look(self) -> int:
        now = self._clock.monotonic()
        if self._looked is None or now - self._looked >= LOOK_EVERY:
            self._looked = now
            with suppress(OSError):
                self._free = self._measure()
        return self._free

    def _measure(self) -> int:
        status = os.statvfs(self._directory)
        free = status.f_bavail * status.f_frsize
        if self._ballast.exists():
            return free
        free -= BALLAST  # what it gave up is for draining, not for new events
        # On board again before the first new event: whoever fills the disk next may leave no time for it.
        return free if free < self._min_free or self._reserve() else -1

    def _reserve(self) -> bool:
        """Take the ballast on board; false where there is no room for it after all."""
        try:
            file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, BALLAST)
            finally:
                os.close(file)
        except OSError as error:
            self._ballast.unlink(missing_ok=True)  # half a ballast is none
            return error.errno not in {errno.ENOSPC, errno.EDQUOT}  # where none can be reserved it goes without
        return True
