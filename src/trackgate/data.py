"""The data directory: where it is, and its outbox opened as the configuration says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from trackgate.outboxes.sqlite.database import FILE
from trackgate.outboxes.sqlite.limits import Limits
from trackgate.outboxes.sqlite.outbox import SqliteOutbox
from trackgate.outboxes.sqlite.room import FILE as BALLAST

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trackgate.config import Config, Server
    from trackgate.model import Clock

LARGEST_BACKLOG = 10 * 2**30
"""Bytes: the default of ``server.max_backlog`` is no more than this."""

FILES = (FILE, f"{FILE}-wal", BALLAST)
"""What the outbox fills."""

CONTROL = "control.sock"
"""The socket by which the commands of whoever owns the directory reach the running gateway."""

SANDBOX = "sandbox"
"""The folder in ``server.data`` for the outbox of ``serve --sandbox``: it never touches real data."""


def directory(data: Path, *, sandbox: bool) -> Path:
    """Where in ``server.data`` the outbox lives."""
    return data / SANDBOX if sandbox else data


def make(server: Server, *, sandbox: bool) -> Path:
    """Make the directory, for us alone, if it is not there.

    Raises:
        OSError: it cannot be made; the message says what to do.

    """
    data = directory(server.data, sandbox=sandbox)
    for folder in (server.data, data):  # `mode` is for the last part of a path only
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"the data directory {folder} cannot be made ({error.strerror}): name another as server.data"
            ) from None
    return data


async def open_outbox(
    data: Path,
    config: Config,
    clock: Clock,
    log: FilteringBoundLogger,
) -> SqliteOutbox:
    """The outbox of a directory that is there; ours until it is closed.

    Raises:
        OutboxUnavailable: as ``SqliteOutbox.open``.

    """
    server = config.server
    return await SqliteOutbox.open(
        data,
        clock,
        Limits(
            max_backlog=server.max_backlog or backlog_limit(data),
            min_free=server.min_free,
            retention=server.retention,
            dead_retention=server.dead_retention,
            dedupe_window=server.dedupe_window,
            backlogs={name: destination.backlog for name, destination in config.destinations.items()},
        ),
        log=log,
    )


def backlog_limit(data: Path) -> int:
    """Bytes: half of the space for the outbox. What it fills counts too, or a restart amid an outage would halve it.

    A damaged file that a salvage set aside is not its space: nobody but the operator makes room of that.
    """
    filled = sum(_size(data / name) for name in FILES)
    return min((shutil.disk_usage(data).free + filled) // 2, LARGEST_BACKLOG)


def _size(file: Path) -> int:
    """Bytes; a reader that ends may be deleting the log at this moment."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
