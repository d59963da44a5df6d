"""What people read: aligned columns, times in UTC, ages, counts."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from trackgate.outbox import Attempt

GAP = "  "

LEAST = 16
"""Columns that a text is left where the terminal is too narrow for the rest."""

_AGES = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def terminal() -> int | None:
    """The columns of the terminal that is written to; ``None`` where standard output is none, and nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    indent: str = "",
    text: str = "",
    room: int | None = None,
) -> str:
    """Columns as wide as what stands in them.

    Args:
        head: what the columns are called.
        rows: their cells.
        right: the columns that are numbers.
        indent: what each line begins with.
        text: the column that others wrote: on one line, and cut where the table would be too wide.
        room: how wide it may be, if that matters.

    """
    lines = [head, *rows]
    if text in head:
        lines = _fitting(lines, head.index(text), None if room is None else room - len(indent))
    widths = _widths(lines)
    aligned = (
        GAP.join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        )
        for line in lines
    )
    return "\n".join(indent + line.rstrip() for line in aligned)


def _fitting(lines: Sequence[Sequence[str]], index: int, room: int | None) -> list[Sequence[str]]:
    """The lines, the column at ``index`` cut to what the others leave of the room."""
    lines = [[*line[:index], cut(line[index], None), *line[index + 1 :]] for line in lines]
    if room is None:
        return lines
    widths = _widths(lines)
    left = max(room - sum(widths) - len(GAP) * (len(widths) - 1) + widths[index], LEAST)
    return [[*line[:index], cut(line[index], left), *line[index + 1 :]] for line in lines]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def stamp(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(seconds: float | None) -> str:
    """Roughly how long: ``3d``, ``12m``, ``0s``."""
    if seconds is None:
        return "-"
    return next((f"{int(seconds // worth)}{unit}" for unit, worth in _AGES if seconds >= worth), "0s")


def count(number: int, word: str = "", words: str = "") -> str:
    """``1,234 events``; ``words`` are several, where that is not the word with an s."""
    return f"{number:,} {word if number == 1 else words or f'{word}s'}" if word else f"{number:,}"


def size(number: int) -> str:
    """Roughly how much: ``1.5 MiB``."""
    for power, unit in reversed(tuple(enumerate(_UNITS, 1))):
        if number >= 1024**power:
            return f"{number / 1024**power:.1f} {unit}"
    return f"{number} B"


def pause(name: str, until: datetime) -> str:
    """Why nothing is sent to a destination for a while, and what ends that."""
    return f"{name} is paused until {stamp(until)} (Retry-After); trackgate resume {name} sends now"


def cut(text: str, width: int | None) -> str:
    """The text on one line, no longer than that, if that is said."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def tried(attempt: Attempt) -> str:
    """One try in a line."""
    return f"{attempt.status or attempt.reason} in {attempt.duration * 1000:.0f} ms at {stamp(attempt.at)}"
