"""The long form of all fault tests: ``python -m tests.faults`` writes ``docs/faults.md``; with names, only those run.

Exit status 1 if a promise broke: a test failed, or something was lost. A figure that misses its target is reported as
it is, and is no failure. Nothing is tried again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from msgspec import Struct

from tests.faults.report import broke, page, table
from tests.faults.verdicts import LONG, WRITTEN_TO, Verdict, read

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
COMMAND = "make faults"

MODEL = "tests/outboxes/test_model.py"

GROUPS = {
    "side by side, one": ("test_kill.py", "test_stop.py", "test_owner.py", "test_mutations.py"),
    "side by side, two": ("test_points.py", "test_once.py", MODEL),
    "alone": ("test_clients.py", "test_sick_neighbour.py"),
}
"""Which files run when: those of the first two groups at the same time, group by group, then those that measure. A
file that is not named here comes last in the second group."""

LONGEST = 3 * 3600
"""Seconds after which one test is taken for stuck."""


class Ran(Struct, frozen=True):
    """What one file gave. ``status`` is pytest's."""

    path: str
    seconds: float
    status: int
    verdicts: list[Verdict]
    output: str


def files_of(names: tuple[str, ...] = ()) -> list[list[str]]:
    """The files of each group, from the root of the repository; all of them, or those with these names."""
    groups = [[name if "/" in name else f"tests/faults/{name}" for name in files] for files in GROUPS.values()]
    named = {path for group in groups for path in group}
    here = sorted(str(path.relative_to(ROOT)) for path in Path(__file__).parent.glob("test_*.py"))
    groups[1] += [path for path in here if path not in named]
    return [[path for path in group if not names or Path(path).name in names] for group in groups]


def run(path: str, folder: Path) -> Ran:
    """Run one file, in its long form."""
    place = folder / (Path(path).name + ".verdicts")
    place.touch()
    begun = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-o", f"faulthandler_timeout={LONGEST}", path,
        ],
        cwd=ROOT,
        env={**os.environ, LONG: "1", WRITTEN_TO: str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    ran = Ran(path, time.monotonic() - begun, done.returncode, read(place), done.stdout)
    sys.stdout.write(f"{path}: {_result(ran)} in {ran.seconds / 60:.1f} min\n")
    if ran.status:
        sys.stdout.write(ran.output[-8_000:])
    sys.stdout.flush()
    return ran


def run_all(names: tuple[str, ...]) -> list[Ran]:
    """Run the groups: two side by side, then what has to be alone."""
    one, two, alone = files_of(names)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        turn = partial(_run_in_turn, folder=Path(folder))
        return [*chain.from_iterable(pool.map(turn, (one, two))), *turn(alone)]


def _run_in_turn(paths: list[str], folder: Path) -> list[Ran]:
    return [run(path, folder) for path in paths]


def main(names: tuple[str, ...]) -> int:
    """Run, write or print the page, and say whether the promises held."""
    begun = time.monotonic()
    ran = run_all(names)
    verdicts = [verdict for each in ran for verdict in each.verdicts]
    rows = [(each.path, f"{each.seconds / 60:.1f}", _result(each)) for each in sorted(ran, key=lambda each: each.path)]
    times = table([("file", "minutes", "result"), *rows])
    minutes = (time.monotonic() - begun) / 60
    whole = f"How long each file took; {minutes:.0f} minutes in all, two files at a time:\n\n{times}"
    text = page("Fault test results", COMMAND, verdicts, whole)
    if names:
        sys.stdout.write(text)
    else:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text)
        sys.stdout.write(f"{PAGE.relative_to(ROOT)} is written\n")
    return int(any(each.status for each in ran) or any(map(broke, verdicts)))


def _result(ran: Ran) -> str:
    return "passed" if ran.status == 0 else f"**failed** (pytest's status {ran.status})"


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
