"""Fixtures of the fault tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.verdicts import Verdict, long_form, write_down

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(name="long")
def is_long() -> bool:
    """Whether this is the long form."""
    return long_form()


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """Write a verdict down (fields as ``Verdict``) and return it; the test then asserts on it."""

    def write(**fields: object) -> Verdict:
        found = Verdict(**fields)  # type: ignore[arg-type]
        write_down(found)
        return found

    return write
