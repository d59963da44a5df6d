"""Every case of the benchmark runs end to end, and one that cannot is told of."""

from __future__ import annotations

import httpx
import pytest

from bench.__main__ import measured
from bench.cases import CASES
from bench.processes import BenchError
from bench.table import Missing, table


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_figures(stage, name):
    rows = CASES[name](stage)
    assert rows
    assert all(value >= 0 or "to the upstream" in row.what for row in rows for value in row.series.values)
    assert len(table(rows).splitlines()) == len(rows) + 2


def test_a_case_that_fails_is_told_of_in_the_table(stage, monkeypatch):
    def broken(_):
        raise BenchError("the sink ended\nand more")

    monkeypatch.setitem(CASES, "rest", broken)
    assert measured("rest", stage, float("inf")) == [Missing("rest", "the sink ended")]


def test_no_case_begins_after_the_end(stage):
    assert measured("rest", stage, 0.0) == [Missing("rest", "no time was left")]


def test_a_gateway_that_turned_a_call_away_gives_no_figure(stage):
    with stage.gateway("healthy") as gateway:
        gateway.check()
        httpx.post(f"{gateway.url}/single/v1/track", trust_env=False)
        with pytest.raises(BenchError, match="rejected"):
            gateway.check()
