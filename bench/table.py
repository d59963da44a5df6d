"""What was measured, as one Markdown table: medians, spreads, ratios to the limits, and how far a target is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Self

from msgspec import Struct

HEAD = ("case", "what", "figure", "beside", "ratio", "target", "reached")


class Series(Struct, frozen=True):
    """The values of one figure, one a round, in the order of the rounds."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The rounds' values.

        Raises:
            ValueError: there are none.

        """
        if not values:
            raise ValueError("a figure takes one round at least")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    def over(self, limit: Series) -> Series:
        """The ratio round by round, so that what disturbed both alike cancels out."""
        return Series(tuple(ours / theirs for ours, theirs in zip(self.values, limit.values, strict=True)))

    def shown(self, digits: int = 0) -> str:
        """The median, and the spread where there is one."""
        text = f"{self.median:,.{digits}f}"
        low, high = (f"{end:,.{digits}f}" for end in (min(self.values), max(self.values)))
        return text if low == high else f"{text} ({low} to {high})"


class Limit(Struct, frozen=True):
    """What bounds a figure, or is compared with it, measured in the same rounds."""

    name: str
    series: Series


class Target(Struct, frozen=True, kw_only=True):
    """What the median has to reach; ``ratio`` is to the limit. What is ``None`` is not asked for."""

    least: float | None = None
    most: float | None = None
    ratio: float | None = None

    def shown(self, unit: str) -> str:
        """In words."""
        parts = [
            *([] if self.least is None else [f"at least {self.least:,g} {unit}"]),
            *([] if self.most is None else [f"at most {self.most:,g} {unit}"]),
            *([] if self.ratio is None else [f"ratio {self.ratio:g}"]),
        ]
        return ", ".join(parts)

    def verdict(self, figure: float, ratio: float | None) -> str:
        """``yes``, or by how much not."""
        short = []
        if self.least is not None and figure < self.least:
            short.append(f"{1 - figure / self.least:.0%} under")
        if self.most is not None and figure > self.most:
            short.append(f"{figure / self.most - 1:.0%} over" if self.most else f"{figure:,g} over")
        if self.ratio is not None and ratio is None:
            short.append("nothing to compare with")
        elif self.ratio is not None and ratio is not None and ratio < self.ratio:
            short.append(f"{ratio:.2f} of {self.ratio:g}")
        return f"**no**: {', '.join(short)}" if short else "yes"


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table. ``unit`` follows the figure; ``note`` follows the words."""

    what: str
    series: Series
    unit: str
    digits: int = 0
    limit: Limit | None = None
    target: Target | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """As ``HEAD``, without the case."""
        ratio = self.series.over(self.limit.series) if self.limit else None
        return (
            f"{self.what}; {self.note}" if self.note else self.what,
            f"{self.series.shown(self.digits)} {self.unit}",
            f"{self.limit.series.shown(self.digits)} ({self.limit.name})" if self.limit else "",
            ratio.shown(2) if ratio else "",
            self.target.shown(self.unit) if self.target else "",
            self.target.verdict(self.series.median, ratio.median if ratio else None) if self.target else "",
        )


class Missing(Struct, frozen=True):
    """A case that gave no figures, and why: a table that leaves it out would look better than the run was."""

    what: str
    reason: str

    def cells(self) -> tuple[str, ...]:
        """As ``HEAD``, without the case."""
        return self.what, f"not measured: {self.reason.replace('|', '/')}", "", "", "", "**no**"


def table(cases: Mapping[str, Sequence[Row | Missing]]) -> str:
    """The rows of each case in Markdown."""
    cells = [(case, *row.cells()) for case, rows in cases.items() for row in rows]
    lines = [HEAD, ("---",) * len(HEAD), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that ``share`` of them do not exceed (nearest rank).

    Raises:
        ValueError: there are none.

    """
    if not values:
        raise ValueError("nothing was sampled")
    rank = max(-(-len(values) * share // 1), 1)
    return sorted(values)[int(rank) - 1]
