"""The program on a system that sometimes has no room for another process: ``python -m tests.program.crowded 4,5 ...``.

The numbers are those of the forks that fail, from 1. The program itself knows nothing of it.
"""

from __future__ import annotations

import errno
import os
import sys
from itertools import count

from trackgate.cli import main


def refuse(forks: frozenset[int]) -> None:
    """Have these fail."""
    sound, number = os.fork, count(1)

    def fork() -> int:
        if next(number) in forks:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return sound()

    os.fork = fork


if __name__ == "__main__":
    _, forks_, *arguments_ = sys.argv
    refuse(frozenset(map(int, forks_.split(","))))
    main(arguments_)
