"""Rows as bound values of one statement: the way in for what every event and every delivery writes.

A step of a statement gives the interpreter lock away, so many rows go into one step; and SQLite reads bound values
several times as fast as it reads JSON. A statement is as wide as its step: there are a few widths of each, so that each
is prepared once, and the rows that a step has too few of are nulls, which the statement leaves out.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PLACE = "{rows}"
"""Where the rows stand in a statement."""

WIDTHS = (1, 4, 16, 64, 256)
"""Rows to a step."""


def steps(statement: str, rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, list[Any]]]:
    """The statements to run, each with its values.

    Args:
        statement: reads its rows from ``{rows}``, as ``column1`` and so on, those of them whose first is not null.
        rows: all of one length, none with a null as its first.

    """
    for start in range(0, len(rows), WIDTHS[-1]):
        some = rows[start : start + WIDTHS[-1]]
        width = next(width for width in WIDTHS if width >= len(some))
        values = list(chain.from_iterable(some))
        values += [None] * (width * len(some[0]) - len(values))
        yield _spell_out(statement, width, len(some[0])), values


@cache
def _spell_out(statement: str, width: int, columns: int) -> str:
    row = f"({','.join('?' * columns)})"
    return statement.replace(PLACE, f"(values {','.join([row] * width)})")
