"""What people read: aligned columns, times in UTC, ages, counts."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

GAP = "  "

_AGES = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), indent: str = "") -> str:
    """Columns as wide as what stands in them; those named in ``right`` are numbers."""
    lines = [head, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    aligned = (
        GAP.join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, line, widths, strict=True)
        )
        for line in lines
    )
    return "\n".join(indent + line.rstrip() for line in aligned)


def stamp(moment: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(seconds: float | None) -> str:
    """Roughly how long: ``3d``, ``12m``, ``0s``."""
    if seconds is None:
        return "-"
    return next((f"{int(seconds // worth)}{unit}" for unit, worth in _AGES if seconds >= worth), "0s")


def count(number: int, word: str = "") -> str:
    """``1,234 events``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}" if word else f"{number:,}"


def size(number: int) -> str:
    """Roughly how much: ``1.5 MiB``."""
    for power, unit in reversed(tuple(enumerate(_UNITS, 1))):
        if number >= 1024**power:
            return f"{number / 1024**power:.1f} {unit}"
    return f"{number} B"


def cut(text: str, width: int) -> str:
    """The text on one line, no longer than that."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= width else line[: width - 1] + "…"
