"""The program on a system that sometimes has no room for another process: ``python -m tests.program.crowded 4,5+ ...``.

The numbers are those of the forks that fail, from 1; where a ``+`` follows, the next thread fails, too.
The program itself knows nothing of it.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from itertools import count

from trackgate.cli import main


def refuse(forks: frozenset[str]) -> None:
    """Have these fail."""
    sound_fork, sound_start = os.fork, threading.Thread.start
    number = count(1)
    full = False

    def fork() -> int:
        nonlocal full
        at = next(number)
        full = f"{at}+" in forks
        if full or str(at) in forks:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return sound_fork()

    def start(thread: threading.Thread) -> None:
        nonlocal full
        was, full = full, False
        if was:
            raise RuntimeError("can't start new thread")
        sound_start(thread)

    os.fork = fork
    threading.Thread.start = start  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    _, forks_, *arguments_ = sys.argv
    refuse(frozenset(forks_.split(",")))
    main(arguments_)
