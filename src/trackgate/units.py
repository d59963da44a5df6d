"""Durations, sizes and rates as people write them: ``72h``, ``1MiB``, ``600/min``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Self

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LONGEST = 100 * 365 * 86_400.0
"""Seconds. Beyond a century the arithmetic of dates fails, and nobody means it."""

_LARGEST = 2**50
"""Bytes. Beyond it sums leave 64 bits, and no disk has it."""


def _pattern(between: str, units: Mapping[str, float]) -> str:
    """A number, what stands between, and one of the units: two groups, in a regex of any dialect."""
    return rf"([0-9]{{1,15}}(?:\.[0-9]{{1,9}})?){between}({'|'.join(units)})"


class Duration(float):
    """Seconds; written with one unit of ms, s, m, h, d."""

    noun: ClassVar = "duration"
    examples: ClassVar = '"500ms", "30s", "10m", "72h" or "7d"'
    pattern: ClassVar = _pattern(r"\s*", _SECONDS)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``72h``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        number, unit = _parts(text, cls)
        seconds = number * _SECONDS[unit]
        if seconds > _LONGEST:
            raise ValueError("must be at most 36500d")
        return cls(seconds)

    def spell(self) -> str:
        """The same with the largest unit that needs no fraction: ``7d``, ``90s``."""
        return _spell(float(self), {unit: _SECONDS[unit] for unit in ("d", "h", "m", "s")}, _SECONDS["ms"], "ms")


class Size(int):
    """Bytes; written with one unit of B, KB, MB, GB, KiB, MiB, GiB, TiB."""

    noun: ClassVar = "size"
    examples: ClassVar = '"512KiB", "1MiB" or "2GiB"'
    pattern: ClassVar = _pattern(r"\s*", _BYTES)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``1MiB``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        number, unit = _parts(text, cls)
        size = number * _BYTES[unit]
        if size > _LARGEST:
            raise ValueError("must be at most 1024TiB")
        return cls(size)

    def spell(self) -> str:
        """The same with the largest binary unit that needs no fraction: ``1MiB``, ``1500B``."""
        return _spell(int(self), {unit: _BYTES[unit] for unit in ("TiB", "GiB", "MiB", "KiB")}, 1, "B")


class Rate(float):
    """So many a second; written as a number per one of ms, s, m, h, d."""

    noun: ClassVar = "rate"
    examples: ClassVar = '"10/s", "600/min" or "5000/h"'
    pattern: ClassVar = _pattern(r"\s*/\s*", _SECONDS)

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``600/min``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        number, unit = _parts(text, cls)
        return cls(number / _SECONDS[unit])


Quantity = Duration | Size | Rate


def wanted(kind: type[Quantity]) -> str:
    """What a quantity is to be, in words: ``a size such as "1MiB"``."""
    return f"a {kind.noun} such as {kind.examples}"


def _parts(text: str, kind: type[Quantity]) -> tuple[float, str]:
    """The number and the unit of a quantity."""
    match = re.fullmatch(kind.pattern, text.strip())
    if match is None:
        raise ValueError(f"must be {wanted(kind)}")
    return float(match[1]), match[2]


def _spell(amount: float, units: dict[str, float] | dict[str, int], least: float, unit_of_least: str) -> str:
    for unit, worth in units.items():
        if amount and amount % worth == 0:
            return f"{amount / worth:.0f}{unit}"
    return f"{amount / least:.0f}{unit_of_least}"
