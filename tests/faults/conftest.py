"""Fixtures of the fault tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.verdicts import Verdict, long_form, write_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="long")
def is_long() -> bool:
    """Whether this is the long form."""
    return long_form()


@pytest.fixture
def place(tmp_path) -> Iterator[Path]:
    """A folder for an outbox, in memory where the machine has such: what is tested in simulated time is no disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="trackgate-") as made:
        yield Path(made)


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """Write a verdict down (fields as ``Verdict``) and return it; the test then asserts on it."""

    def write(**fields: object) -> Verdict:
        found = Verdict(**fields)  # type: ignore[arg-type]
        write_down(found)
        return found

    return write
