"""The pinned dependencies: complete, by hash, and from wherever the machine takes its packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
REQUIREMENTS = REPOSITORY / "requirements"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def pins(name: str) -> dict[str, str]:
    """What a file pins: each requirement and what it says."""
    text = (REQUIREMENTS / name).read_text().replace("\\\n", "")
    return {line.partition("==")[0]: line for line in text.splitlines() if line}


def asked(requirements: list[str]) -> set[str]:
    """The bare names of requirements."""
    return {re.split(r"[ <>=;\[]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("name", ["uv.txt", "runtime.txt", "dev.txt"])
def test_every_pin_has_hashes_and_no_host(name: str) -> None:
    """A file from anywhere is as good as its hash; a host would tie the repository to one network."""
    assert pins(name)
    for requirement, line in pins(name).items():
        assert re.match(r"[a-z0-9-]+==\S+ ", line), requirement
        assert "--hash=sha256:" in line, requirement
    assert "://" not in (REQUIREMENTS / name).read_text()
    assert "index" not in (REQUIREMENTS / name).read_text()


def test_everything_asked_for_is_pinned() -> None:
    """`make lock` was run after the last change of what is asked for."""
    groups = PROJECT["dependency-groups"]
    assert asked(PROJECT["project"]["dependencies"]) <= pins("runtime.txt").keys()
    assert asked(groups["test"] + groups["lint"]) <= pins("dev.txt").keys()


def test_the_checks_run_with_what_runs() -> None:
    """What the checks install holds the same versions that the program is shipped with."""
    assert pins("runtime.txt").items() <= pins("dev.txt").items()


def test_the_build_backend_is_the_one_inside_uv() -> None:
    """Of the same minor version, so that building fetches nothing."""
    [backend] = PROJECT["build-system"]["requires"]
    [low] = re.findall(r">=(\d+\.\d+)", backend)
    assert re.match(rf"uv=={re.escape(low)}\.", pins("uv.txt")["uv"])
