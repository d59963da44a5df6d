"""Unix sockets in the data directory: where only its owner, and the gateway's own processes, reach the gateway."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

LONGEST = 103
"""Bytes of a path that any system's ``sun_path`` has room for."""

WAITING = 1024
"""Connections that may wait to be accepted: beyond it a caller is turned away at once, however short the wait."""


@contextmanager
def path_to(directory: Path, name: str) -> Generator[str]:
    """A path to the socket of a name that is short enough, for as long as this is open.

    Raises:
        OSError: the directory is not there.

    """
    path = str(directory / name)
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        os.close(folder)


@contextmanager
def listening(directory: Path, name: str) -> Generator[socket.socket]:
    """A socket, listening, for its owner alone; a file that was left behind is replaced, ours is removed at the end.

    The data directory must be ours: nobody else may have the socket open.

    Raises:
        OSError: it cannot be made there.

    """
    with path_to(directory, name) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with suppress(FileNotFoundError):
            Path(path).unlink()
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        try:
            listener.listen(WAITING)
            yield listener
        finally:
            with suppress(FileNotFoundError):
                Path(path).unlink()
