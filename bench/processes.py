"""Starting the processes of a run, and asking the kernel what one of them costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parent.parent
CHILD = Path(__file__).with_name("child.py")
GUARD = 60.0
"""Seconds after which waiting is given up."""
TICKS = os.sysconf("SC_CLK_TCK")

Seen = TypeVar("Seen")

AS_INSTALLED = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
"""An installed program has its bytecode. Where Python may not write it, each start compiles the whole program anew,
which takes longer than all the rest of the start."""


class BenchError(Exception):
    """A process did not do what it is there for; the message says which, and quotes the end of its log."""


class Process:
    """A command on its cores, its standard output and error in files of ``folder``."""

    def __init__(self, folder: Path, cores: str, command: list[str], environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.command = command
        self._out, self._log = folder / "out", folder / "log"
        with self._out.open("wb") as out, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-S", str(CHILD), cores, *command],
                stdout=out,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **AS_INSTALLED, **(environ or {})},
            )
        self.pid = self._process.pid

    def url(self) -> str:
        """Where it says that it listens, once it does."""
        return until(self._announced, f"{self._name()} does not say where it listens")

    def result(self, seconds: float) -> Any:
        """Its last line of output, as JSON, once it has ended; ``seconds`` is how long it was told to run."""
        self._await_end(f"{self._name()} did not end by itself", seconds + GUARD)
        status = self._process.wait()
        lines = self._out.read_text("utf-8").splitlines()
        if status or not lines:
            raise BenchError(f"{self._name()} ended with {status}: {self._last_words()}")
        return json.loads(lines[-1])

    def stop(self) -> None:
        """SIGTERM, and wait; what does not heed it is killed."""
        if self._running():
            os.kill(self.pid, signal.SIGTERM)
        self._await_end(f"{self._name()} did not heed SIGTERM", GUARD)

    def kill(self) -> None:
        """SIGKILL, and wait; what it forked ends with it."""
        forked = []
        if self._running():
            forked = self._family()[1:]
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        until(lambda: not any(map(_runs, forked)), f"what {self._name()} forked outlives it")

    def check(self) -> None:
        """See that it still runs.

        Raises:
            BenchError: it has ended.

        """
        if not self._running():
            raise BenchError(f"{self._name()} ended with {self._process.wait()}: {self._last_words()}")

    def _await_end(self, complaint: str, seconds: float) -> None:
        try:
            until(lambda: not self._running(), complaint, seconds=seconds)
        except BenchError:
            self.kill()
            raise

    def _running(self) -> bool:
        """Not by ``Popen.poll``: a signal inside it can leave its lock taken, and ``wait`` would never get it."""
        return self._process.returncode is None and _runs(self.pid)

    def _announced(self) -> str | None:
        self.check()
        found = re.search(r"listens? at (http://\S+)", self._out.read_text("utf-8"))
        return found and found[1]

    def _name(self) -> str:
        return " ".join(self.command[1:5])

    def _last_words(self) -> str:
        return self._log.read_text("utf-8", errors="replace")[-2000:]

    # --- what it costs ------------------------------------------------------------------------------------------

    def cpu(self) -> float:
        """Seconds of processor time so far, all its processes and their threads, in user and kernel."""
        return sum(_ticks(pid) for pid in self._family()) / TICKS

    def apart(self) -> float:
        """MiB in memory now, all its processes, what they share counted once."""
        return sum(_shared_out(pid) for pid in self._family()) / 1024

    def resident(self) -> float:
        """MiB in memory now."""
        return self._status("VmRSS") / 1024

    def peak(self) -> float:
        """MiB in memory at the most so far."""
        return self._status("VmHWM") / 1024

    def written(self) -> int:
        """Bytes that it had the disk write so far."""
        found = re.search(r"^write_bytes: (\d+)", self._proc("io"), re.MULTILINE)
        return int(found[1]) if found else 0

    def _family(self) -> list[int]:
        """It, and those that it forked and that run."""
        try:
            forked = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("utf-8").split()
        except FileNotFoundError:
            forked = []
        return [self.pid, *map(int, forked)]

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB", self._proc("status"), re.MULTILINE)
        return int(found[1]) if found else 0

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text("utf-8")


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _shared_out(pid: int) -> int:
    """KiB of a process; of what several have in common, its part."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8"), re.MULTILINE)
    return int(found[1]) if found else 0


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module of this environment."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def until(look: Callable[[], Seen | None], complaint: str, *, seconds: float = GUARD, pause: float = 0.01) -> Seen:
    """The first true thing that ``look`` gives.

    Raises:
        BenchError: there was none in time.

    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(pause)
    raise BenchError(f"{complaint} (waited {seconds:g} s)")
