"""Calls that are turned away before they are one: every one counts, and a flood of them is no flood of lines."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulated import clock, simulate
from trackgate.ingest.refusals import EVERY, Refusals
from trackgate.metrics import Metrics
from trackgate.outbox import Ledger


class Log:
    """Remembers what was told, and after how many seconds."""

    def __init__(self):
        self._began = asyncio.get_running_loop().time()
        self.lines = []
        self.moments = []

    def warning(self, event, **counts):
        assert event == "calls.refused"
        self.lines.append(counts)
        self.moments.append(round(asyncio.get_running_loop().time() - self._began, 1))


def told(scene):
    """The log of a scene, and the metrics at its end."""

    async def main():
        log: Any = Log()
        metrics = Metrics(lambda: Ledger(sources={}, destinations={}), clock())
        await scene(Refusals(log, metrics))
        return log, metrics.render().decode()

    return simulate(main())


def test_each_is_counted_and_many_share_a_line():
    async def scene(refusals):
        for status in (503, 503, 408, 503):
            refusals(status)
        await asyncio.sleep(2.5 * EVERY)
        refusals(431)

    log, text = told(scene)
    assert log.lines == [
        {"too_many_connections": 1},
        {"too_many_connections": 2, "slow_headers": 1},
        {"long_headers": 1},
    ]
    assert log.moments == [0, EVERY, 2.5 * EVERY]
    assert 'trackgate_refused_total{reason="too_many_connections"} 3.0' in text
    assert 'trackgate_refused_total{reason="slow_headers"} 1.0' in text


def test_the_rest_of_a_flood_is_told_though_nobody_comes_again():
    async def scene(refusals):
        for _ in range(5_000):
            refusals(400)
            await asyncio.sleep(1.5 * EVERY / 5_000)
        await asyncio.sleep(10 * EVERY)

    log, text = told(scene)
    assert log.lines[0] == {"no_http": 1}
    assert log.moments == [0, EVERY, 2 * EVERY]
    assert sum(line["no_http"] for line in log.lines) == 5_000
    assert 'trackgate_refused_total{reason="no_http"} 5000.0' in text


def test_what_was_not_told_yet_is_told_at_the_end_and_once():
    async def scene(refusals):
        for status in (400, 400, 408):
            refusals(status)
        refusals.close()
        await asyncio.sleep(2 * EVERY)

    assert told(scene)[0].lines == [{"no_http": 1}, {"no_http": 1, "slow_headers": 1}]


def test_where_there_is_nothing_to_tell_nothing_is():
    async def scene(refusals):
        refusals.close()
        refusals(400)
        await asyncio.sleep(10 * EVERY)
        refusals.close()

    assert told(scene)[0].lines == [{"no_http": 1}]
