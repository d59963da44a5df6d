"""Breaks the program in one place at a time: every counter, every reason that makes a delivery dead, every settling.

    python -m tests.faults.mutations            all of them, one after the other
    python -m tests.faults.mutations --list     what there is to break

A mutant that no test notices is a hole in the tests. What is broken is found in the source, so that a new counter is
a new mutant by itself. Each is tried in a copy of the project; the tests that stand closest are asked first.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from tests.faults.verdicts import LONG, WRITTEN_TO, Verdict

ROOT = Path(__file__).parents[2]
SOURCE = Path("src/trackgate")

COUNTING = {"count", "count_rejected", "observe", "inc", "answered", "attempted", "committed", "refused"}
"""Methods whose calls are counters, called on the things below."""
COUNTED_ON = {"books", "_books", "_outbox", "_metrics", "labels", "_committed"}

DYING = {"Dead", "Refuse", "Unsupported"}
"""What a delivery dies of; the first argument is the reason."""

SETTLING = {"settle", "_settle", "give_back", "_finish", "_hold"}
"""Methods whose calls record what became of a delivery."""

CLOSEST = {
    "outboxes": ("tests/outboxes", "tests/faults/test_damage.py", "tests/program/test_gateway.py", "tests/test_app.py"),
    "ingest": ("tests/ingest", "tests/test_metrics.py", "tests/program/test_gateway.py"),
    "deliver": ("tests/deliver", "tests/test_metrics.py", "tests/program/test_gateway.py", "tests/test_app.py"),
    "operate": ("tests/operate", "tests/cli"),
    "vendors": ("tests/vendors",),
    "metrics.py": ("tests/test_metrics.py",),
    "app": ("tests/test_metrics.py", "tests/test_app.py", "tests/program/test_gateway.py"),
    "": ("tests/test_retry.py", "tests/vendors", "tests/deliver", "tests/program/test_gateway.py", "tests/test_app.py"),
}
"""Folder of the source -> where to look for a test that notices."""

GIVEN_UP_AFTER = 900.0
"""Seconds for the tests of one mutant; one that hangs was noticed, too."""

Kind = Literal["counter", "reason", "settle"]


class Mutant(Struct, frozen=True, kw_only=True):
    """The program with one thing broken: ``before`` at ``start`` (characters into the file) reads ``after``."""

    kind: Kind
    path: Path
    line: int
    start: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """Where it is and what it was."""
        return f"{self.kind} {self.path.relative_to(SOURCE)}:{self.line} {' '.join(self.before.split())[:90]}"

    def text(self, source: str) -> str:
        """The broken file.

        Raises:
            ValueError: the file has changed since it was read.

        """
        if not source.startswith(self.before, self.start):
            raise ValueError(f"{self.path} has changed")
        return source[: self.start] + self.after + source[self.start + len(self.before) :]


def mutants() -> list[Mutant]:
    """Everything there is to break, file by file."""
    return [mutant for path in sorted((ROOT / SOURCE).rglob("*.py")) for mutant in of_file(path)]


def of_file(path: Path) -> Iterator[Mutant]:
    """The mutants of one file, in the order of its lines."""
    text = path.read_text("utf-8")
    places = _Places(text)
    for node in ast.walk(ast.parse(text)):
        found = _statement(node) or _reason(node)
        if found is not None:
            kind, broken, after = found
            start, end = places.span(broken)
            yield Mutant(
                kind=kind,
                path=path.relative_to(ROOT),
                line=broken.lineno,
                start=start,
                before=text[start:end],
                after=after,
            )


Found = tuple[Kind, "ast.stmt | ast.expr", str]


def _statement(node: ast.AST) -> Found | None:
    """A statement that counts or settles, to be left out."""
    if isinstance(node, ast.Return | ast.Expr) and node.value is not None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            method, owner = call.func.attr, _last_name(call.func.value)
            if method in COUNTING and owner in COUNTED_ON:
                return "counter", node, "pass"
            if method in SETTLING and owner in {"self", "returns", "_outbox"}:
                return "settle", node, "pass" if isinstance(node, ast.Expr) else "return None"
    return None


def _reason(node: ast.AST) -> Found | None:
    """The reason for a death, to be another."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DYING and node.args:
        return "reason", node.args[0], '"mutated"'
    return None


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _last_name(function)
    return ""


class _Places:
    """From lines and columns (bytes) to places in the text (characters)."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())


def noticed_by(mutant: Mutant) -> str | None:
    """The first of the closest tests that fails on a mutant; ``None`` where all pass."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        _copy(copy)
        broken = copy / mutant.path
        broken.write_text(mutant.text(broken.read_text("utf-8")), "utf-8")
        area = mutant.path.relative_to(SOURCE).parts[0]
        for tests in CLOSEST.get(area, CLOSEST[""]):
            if (copy / tests).exists() and (failed := _failing(copy, tests)) is not None:
                return failed
    return None


def _copy(folder: Path) -> None:
    for name in ("src", "tests", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)


def _failing(folder: Path, tests: str) -> str | None:
    """The test that fails first; ``None`` where all pass.

    Raises:
        RuntimeError: the tests could not be run at all, which says nothing.

    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", tests]
    short = {name: value for name, value in os.environ.items() if name not in {LONG, WRITTEN_TO}}
    environ = {**short, "PYTHONPATH": f"{folder / 'src'}:{folder}", "HYPOTHESIS_STORAGE_DIRECTORY": f"{folder}/h"}
    try:
        ran = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, timeout=GIVEN_UP_AFTER, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{tests} hung"
    if ran.returncode == 0:
        return None
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if ran.returncode != 1 and not failed:
        raise RuntimeError(
            f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        )
    return failed[0].split(" - ")[0] if failed else f"{tests} failed"


def hunt(chosen: Sequence[Mutant], say: Callable[[str], None]) -> list[Mutant]:
    """Try mutants; those that nobody noticed."""
    missed = []
    for number, mutant in enumerate(chosen, 1):
        start = time.monotonic()
        noticed = noticed_by(mutant)
        say(f"{number}/{len(chosen)} {mutant.name}: {noticed or 'NOT NOTICED'} ({time.monotonic() - start:.0f} s)")
        if noticed is None:
            missed.append(mutant)
    return missed


def verdict_on(chosen: Sequence[Mutant], missed: Sequence[Mutant]) -> Verdict:
    """What the hunt found."""
    return Verdict(
        test="mutation: a counter, a reason or a settling broken",
        done=f"{len(chosen)} mutants",
        held=not missed,
        figure=f"{len(chosen) - len(missed)} noticed",
        target=f"{len(chosen)}",
    )


def main() -> int:
    """Try them all, or those whose name holds one of the words given; how many nobody noticed is the exit status."""
    chosen = mutants()
    if wanted := [word for word in sys.argv[1:] if not word.startswith("-")]:
        chosen = [mutant for mutant in chosen if any(word in mutant.name for word in wanted)]
    if "--list" in sys.argv[1:]:
        for mutant in chosen:
            _say(mutant.name)
        return 0
    return min(len(hunt(chosen, _say)), 100)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
