"""A Dockerfile's own lines, done without an engine: the image's paths stand under a folder of the test's.

It understands what this repository's Dockerfile uses and stops at anything else, so that nothing is skipped unseen.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

HOST_SETTINGS = re.compile(r"(PIP|UV|SSL|https?|no|all)_.*|HOME", re.IGNORECASE)
"""What a build may know of its host: where packages come from (an engine hands these in as build arguments)."""


class Step(NamedTuple):
    """One instruction: ``RUN`` and what follows it, its lines joined."""

    word: str
    rest: str


def stages(text: str) -> list[list[Step]]:
    """The instructions of each stage, without the ``FROM`` that opens it."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    steps = [Step(*line.split(maxsplit=1)) for line in re.sub(r"\\\n\s*", "", lines).splitlines() if line]
    found: list[list[Step]] = []
    for step in steps:
        if step.word == "FROM":
            found.append([])
        else:
            found[-1].append(step)
    return found


def said(steps: list[Step], word: str) -> str:
    """What follows the one instruction of that word."""
    [rest] = [step.rest for step in steps if step.word == word]
    return rest


def command(steps: list[Step], word: str) -> list[str]:
    """An instruction in exec form, as a list."""
    words = json.loads(said(steps, word))
    assert isinstance(words, list)
    return words


class Image:
    """A root file system below a folder, filled by the steps of a Dockerfile."""

    def __init__(self, root: Path, context: Path, python: Path) -> None:
        self.root = root
        self.context = context
        self.ignored = (context / ".dockerignore").read_text().splitlines()
        self.workdir = root
        self.environment = {"PATH": f"{python}:/usr/bin:/bin"}

    def place(self, path: str) -> Path:
        """Where a path of the image stands here."""
        return (self.workdir if not path.startswith("/") else self.root) / path.lstrip("/")

    def do(self, step: Step) -> None:
        """One instruction of a stage that builds."""
        match step.word:
            case "ENV":
                self.set(step.rest)
            case "WORKDIR":
                self.workdir = self.place(step.rest)
                self.workdir.mkdir(parents=True, exist_ok=True)
            case "COPY":
                self.copy(*shlex.split(step.rest))
            case "RUN":
                self.run(step.rest)
            case word:
                raise NotImplementedError(word)

    def set(self, pairs: str) -> None:
        """ENV: a value may name an earlier one, and a path of the image."""
        for pair in shlex.split(pairs):
            name, value = pair.split("=", 1)
            value = re.sub(r"(?<![\w.])/(opt|etc|data)\b", rf"{self.root}/\1", value)
            self.environment[name] = value.replace("$PATH", self.environment["PATH"])

    def copy(self, *words: str) -> None:
        """COPY from the context, as far as ``.dockerignore`` lets it through."""
        *sources, target = words
        for source in sources:
            assert self.admits(source), f"{source} is kept out of the build by .dockerignore"
            where = self.place(target)
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, where, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into = where / Path(source).name if target.endswith("/") else where
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, into)

    def admits(self, source: str) -> bool:
        """Whether a line of ``.dockerignore`` lets a source through, which begins by keeping everything out."""
        assert "*" in self.ignored
        return any(Path(source).match(line.removeprefix("!")) for line in self.ignored if line.startswith("!"))

    def run(self, line: str) -> None:
        """RUN: by the shell, in an environment that holds nothing of this process but where packages come from."""
        mapped = re.sub(r"(?<![\w.])/opt\b", f"{self.root}/opt", line)
        host = {name: value for name, value in os.environ.items() if HOST_SETTINGS.fullmatch(name)}
        done = subprocess.run(
            ["/bin/sh", "-ec", mapped],
            cwd=self.workdir,
            env={**host, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
