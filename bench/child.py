"""Becomes a command that keeps to its cores and ends with its parent: ``python bench/child.py CORES COMMAND...``.

``CORES`` are numbers joined by commas. Nothing that the benchmark starts outlives it, not even a kill.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that this process gets when its parent ends; it survives an ``exec``."""


def main(cores: str, command: list[str]) -> None:
    """Never returns."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    os.execvp(command[0], command)  # noqa: S606 - the command is the benchmark's own


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
