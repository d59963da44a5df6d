"""One process owns a data directory: a lock that goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from trackgate.outbox import OutboxUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOCK = "lock"
"""The file's name; it holds the owner's process id, for the message to the next."""


def own(directory: Path) -> Callable[[], None]:
    """Make the directory ours, the only process's; returns how to let go of it.

    Raises:
        OutboxUnavailable: it cannot be made or written, or another process owns it.

    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutboxUnavailable(f"the data directory {directory} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(lock, 32).decode("ascii", "replace").strip()
        os.close(lock)
        raise OutboxUnavailable(
            f"the data directory {directory} is in use by process {owner}: stop that one, or give this one another "
            "`server.data`"
        ) from None
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lambda: os.close(lock)
