"""What the fault tests found: one line a test, written down as it is, whatever it says."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

LONG = "TRACKGATE_FAULTS_LONG"
"""Set: the long form."""

WRITTEN_TO = "TRACKGATE_FAULTS_VERDICTS"
"""The file that verdicts are added to, one JSON object a line; unset: nowhere."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What one test did and found.

    ``done`` says what was actually done ("200 kills", "20 of 20 points"). ``obligations`` are the deliveries that a
    2xx promised, ``lost`` those of them that were neither delivered nor listed, ``duplicates`` the calls beyond one
    each. ``figure`` and ``target`` are words with numbers, spread included, where there is something to measure.
    """

    test: str
    done: str
    held: bool
    obligations: int | None = None
    lost: int | None = None
    duplicates: int | None = None
    figure: str = ""
    target: str = ""


def long_form() -> bool:
    """Whether this is the long form: many rounds, an hour in all."""
    return bool(os.environ.get(LONG))


def write_down(verdict: Verdict) -> None:
    """Add a verdict to the file, before the test that found it can fail."""
    if place := os.environ.get(WRITTEN_TO):
        with Path(place).open("ab") as file:
            file.write(msgspec.json.encode(verdict) + b"\n")


def read(place: Path) -> list[Verdict]:
    """The verdicts of a file, in the order of their writing."""
    return [msgspec.json.decode(line, type=Verdict) for line in place.read_bytes().splitlines()]
