"""What the figures were measured on: cores and who gets which, versions, the file system under the data."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import apsw
from msgspec import Struct

PACKAGES = ("trackgate", "apsw", "httptools", "httpx", "litestar", "msgspec", "pyreqwest", "uvicorn", "uvloop")

APART = 4
"""With so many cores, sink and load have one each that nobody else may use."""

IN_MEMORY = {"tmpfs", "ramfs"}
"""File systems on which an fsync costs nothing."""

BUSY = 0.25
"""Load average per core from which the run is said to be disturbed."""


class Cores(Struct, frozen=True):
    """Who may run where; each as ``0,1``."""

    measured: str
    """The gateway, and each limit while it is measured: the same cores, so that they compare."""
    sink: str
    load: str

    @classmethod
    def share(cls) -> Cores:
        """With few cores what is measured may use all of them, and the sink and the load keep to the last one."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= APART:
            return cls(_joined(cores[:-2]), str(cores[-2]), str(cores[-1]))
        return cls(_joined(cores), str(cores[-1]), str(cores[-1]))

    def shown(self) -> str:
        """In words."""
        return f"gateway and limits on {self.measured}, sink on {self.sink}, load on {self.load}"


def _joined(cores: list[int]) -> str:
    return ",".join(map(str, cores))


def described(cores: Cores, work: Path) -> list[str]:
    """Lines of Markdown about this machine and what runs on it."""
    load = os.getloadavg()[0]
    busy = " **(busy with other work: these figures are disturbed)**" if load > BUSY * (os.cpu_count() or 1) else ""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    sqlite = f"SQLite {apsw.sqlite_lib_version()}"
    kind = file_system(work)
    free = " **(in memory, where an fsync costs nothing: these figures flatter)**" if kind in IN_MEMORY else ""
    hardware = f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}; data on {kind}{free}"
    return [
        f"- Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}.",
        f"- {hardware}; load average before the run {load:.2f}{busy}.",
        f"- Cores: {cores.shown()}.",
        f"- Python {platform.python_version()}, {packages}, {sqlite}, {wrk_version() or 'no wrk'}.",
    ]


def file_system(path: Path) -> str:
    """The type of the file system that a folder is on: on one in memory an fsync costs nothing and says nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    real = path.resolve()
    above = [(point, kind) for point, kind in mounts if real.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1]


def wrk_version() -> str | None:
    """What wrk calls itself; ``None`` where it is not found."""
    if shutil.which("wrk") is None:
        return None
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return said.stdout.strip() or "unknown"
