"""Every case of the benchmark runs end to end, and one that cannot is told of."""

from __future__ import annotations

import httpx
import pytest

from bench.__main__ import measured
from bench.calls import KEY
from bench.cases import CASES
from bench.processes import BenchError, until
from bench.table import Missing, table


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_figures(stage, name):
    rows = CASES[name](stage)
    assert rows
    assert all(value >= 0 or "to the upstream" in row.what for row in rows for value in row.series.values)
    assert len(table({name: rows}).splitlines()) == len(rows) + 2


def test_a_case_that_fails_is_told_of_in_the_table(stage, monkeypatch):
    def broken(_):
        raise BenchError("the sink ended\nand more")

    monkeypatch.setitem(CASES, "rest", broken)
    assert measured("rest", stage, float("inf")) == [Missing("rest", "the sink ended")]


def test_no_case_begins_after_the_end(stage):
    assert measured("rest", stage, 0.0) == [Missing("rest", "no time was left")]


@pytest.fixture(name="gateway")
def gateway_that_delivers(stage):
    with stage.gateway("checked") as gateway:
        before = stage.sink.count("checked")
        stage.generate(gateway.url, stage.calls(), "--calls", 1, seconds=5).result(5)
        until(lambda: stage.sink.count("checked") > before, "nothing is delivered")
        gateway.check()
        yield gateway


def test_a_gateway_that_turned_a_call_away_gives_no_figure(gateway):
    httpx.post(f"{gateway.url}/single/v1/track", trust_env=False)
    with pytest.raises(BenchError, match="rejected"):
        gateway.check()


def test_a_gateway_where_something_died_gives_no_figure(gateway):
    """An event without a user cannot be said in the destinations' dialect."""
    headers, body = {"x-api-key": KEY}, [{"user_id": "", "event_name": "viewed", "context": {"device_id": "d"}}]
    httpx.post(f"{gateway.url}/batch/api/track", headers=headers, json=body, trust_env=False).raise_for_status()
    until(lambda: gateway.waiting() == 0, "it still waits")
    with pytest.raises(BenchError, match="dead"):
        gateway.check()


def test_a_figure_from_a_gateway_that_says_nothing_of_its_dead_is_none(gateway, monkeypatch):
    """Were the metric renamed, every check would pass."""
    said = {name: value for name, value in gateway.metrics().items() if not name.startswith("trackgate_dead{")}
    monkeypatch.setattr(gateway, "metrics", lambda: said)
    with pytest.raises(BenchError, match="does not say"):
        gateway.check()
