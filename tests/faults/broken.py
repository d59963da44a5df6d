"""The program on a disk that breaks when told: ``python -m tests.faults.broken ORDER serve ...``.

ORDER is a file. While it is there it says how the disk fails: ``eio`` (each write and sync), ``read-only`` (each write)
or a number (each sync takes so many seconds). The program itself knows nothing of it.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from tests.outboxes.faulty_disk import FaultyDisk
from trackgate.cli import main
from trackgate.outboxes.sqlite.database import Database


def _obey(order: Path, *, syncing: bool) -> None:
    if not order.exists():
        return
    said = order.read_text()
    if said == "eio":
        raise apsw.IOError
    if said == "read-only":
        if not syncing:
            raise apsw.ReadOnlyError
    elif syncing:
        time.sleep(float(said))


def break_when_told(order: Path) -> FaultyDisk:
    """Have the outbox on such a disk."""
    disk = FaultyDisk("told")
    disk.on_write = partial(_obey, order, syncing=False)
    disk.on_sync = partial(_obey, order, syncing=True)
    sound = Database.open

    def opened(directory: Path, **_: Any) -> Database:
        return sound(directory, vfs=disk.name)

    Database.open = opened  # type: ignore[method-assign]
    return disk


if __name__ == "__main__":
    _, order_, *arguments_ = sys.argv
    _kept = break_when_told(Path(order_))  # SQLite has it by name only
    main(arguments_)
