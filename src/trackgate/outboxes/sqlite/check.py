"""Whether the file is as it was written: looked at before anything is handed out, a large one to its end only later.

It is seen that tables and indexes fit together and that the rows are what was counted. A damaged event is found by its
own checksum when it is handed out.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import apsw
from msgspec import Struct

from trackgate.archive import Miscount
from trackgate.outboxes.sqlite.database import APPLICATION_ID, FILE, FORMAT, PATIENCE, Database, load_statements
from trackgate.outboxes.sqlite.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = 32 * 2**20
"""Bytes of a file that is always looked at as a whole."""
LOOK = 0.25
"""Seconds that the start waits for the check of a larger one; it gets through some 100 MiB from memory."""
LONGEST = 10.0
"""Seconds that the rest of it may take: as long as somebody reads, the write-ahead log grows."""
LAST_TURN = 19
"""Of the scheduler: whoever else wants to run goes first."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError)
"""What says that the file is not as it was written."""


class Looked(Struct, frozen=True):
    """What is wrong with a file, as far as it was looked at; ``whole``: there is nothing left to look at."""

    damage: str | None
    whole: bool = True


def look(directory: Path, monotonic: Callable[[], float], *, vfs: str | None = None) -> Looked:
    """Look at the file as it lies there, before anybody uses it.

    Changes nothing; what the write-ahead log holds stays there. A file that is not ours, or newer, is for
    `Database.open` to refuse.

    Raises:
        apsw.Error: the storage failed.

    """
    path = directory / FILE
    size = path.stat().st_size
    log = Log(path.with_name(f"{FILE}-wal"))
    if not size and not log:
        return Looked(None)
    with closing(apsw.Connection(str(path), vfs=vfs)) as connection:
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.set_busy_timeout(PATIENCE)
            if int(connection.pragma("schema_version")) and int(connection.pragma("application_id")) != APPLICATION_ID:
                return Looked(None)
            if _cut(path, log):
                return Looked("the write-ahead log has a bad frame amid good ones")
            until = monotonic() + LOOK
            return Looked(_damage(connection, lambda: size > SMALL and monotonic() > until))
        except apsw.InterruptError:
            return Looked(None, whole=False)
        except (*DAMAGE, apsw.SQLError) as error:
            return Looked(str(error))


class Check:
    """The check of a file that is in use, once, on a thread of its own that nobody waits for.

    Args:
        directory: the outbox's.
        monotonic: seconds.
        found: hears what is wrong, on that thread, if anything is.
        say: logs a line (event, fields), from that thread.
        vfs: as in ``look``.

    """

    def __init__(
        self,
        directory: Path,
        monotonic: Callable[[], float],
        found: Callable[[str], None],
        say: Callable[..., None],
        *,
        vfs: str | None = None,
    ) -> None:
        self._path = directory / FILE
        self._monotonic = monotonic
        self._found = found
        self._say = say
        self._vfs = vfs
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-check", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, at whatever point it is."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LAST_TURN)
        until = self._monotonic() + LONGEST
        try:
            flags = apsw.SQLITE_OPEN_READONLY
            with closing(apsw.Connection(str(self._path), flags=flags, vfs=self._vfs)) as connection:
                damage = _damage(connection, lambda: self._stopped.is_set() or self._monotonic() > until)
        except apsw.InterruptError:
            return
        except (*DAMAGE, apsw.SQLError) as error:
            damage = str(error)
        except apsw.Error as error:
            self._say("outbox.failed", error=type(error).__name__, detail=str(error))
            return
        if damage is not None:
            self._found(damage)


def _damage(connection: apsw.Connection, enough: Callable[[], bool]) -> str | None:
    """What is wrong with the rows and the trees.

    Raises:
        apsw.InterruptError: it was enough before all was seen.
        apsw.Error: likewise what is wrong, or the storage failed.

    """
    database = Database(connection, load_statements())
    database.give_up_when(enough)
    if int(connection.pragma("user_version")) == FORMAT:
        miscounts = database.rows("miscounted", Miscount)
        if miscounts:
            return f"the rows are not what was counted ({'; '.join(map(str, miscounts))})"
    found = connection.execute("pragma integrity_check(1)").get
    return None if found == "ok" else str(found)


def _cut(path: Path, log: Log) -> bool:
    """Whether SQLite stops reading the log before a commit that was fsynced.

    How far it reads stands in the log's index (https://www.sqlite.org/walformat.html, "mxFrame").
    """
    index = path.with_name(f"{path.name}-shm")
    promised = log.promised()
    if not promised or not index.exists():
        return False
    reached = int.from_bytes(index.read_bytes()[16:20], sys.byteorder)
    return promised[-1].place >= reached
