"""Rows as bound values: whatever their number, each goes in once, in order."""

from __future__ import annotations

import apsw
import pytest

from trackgate.outboxes.sqlite.rows import WIDTHS, steps


@pytest.mark.parametrize("number", [0, 1, 2, 4, 5, 63, 64, 65, 256, 257, 600])
def test_rows_of_any_number_go_in_once_and_in_order(number):
    connection = apsw.Connection(":memory:")
    connection.execute("create table t (place integer primary key, a any, b any)")
    rows = [(n, f"text {n}", None) for n in range(number)]
    for statement, values in steps("insert into t select * from {rows} where column1 is not null", rows):
        connection.execute(statement, values)
    assert connection.execute("select * from t order by place").fetchall() == rows


def test_few_statements_are_ever_made_of_one():
    made = {text for n in range(1, 700) for text, _ in steps("{rows}", [(0, 1)] * n)}
    assert len(made) == len(WIDTHS)
