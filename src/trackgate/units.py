"""Durations, sizes and rates as people write them: ``72h``, ``1MiB``, ``600/min``."""

from __future__ import annotations

import re
from typing import Self

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


class Duration(float):
    """Seconds; written with one unit of ms, s, m, h, d."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``72h``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        return cls(_quantity(text, _SECONDS, 'a duration such as "500ms", "30s", "10m", "72h" or "7d"'))


class Size(int):
    """Bytes; written with one unit of B, KB, MB, GB, KiB, MiB, GiB, TiB."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse ``1MiB``.

        Raises:
            ValueError: with words for the one who wrote it.

        """
        return cls(_quantity(text, _BYTES, 'a size such as "512KiB", "1MiB" or "2GiB"'))


def _quantity(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        message = f"must be {wanted}"
        raise ValueError(message)
    return float(match[1]) * units[match[2]]
