"""A probe that an operator asks for."""

from __future__ import annotations

import asyncio

import pytest

from tests.deliver.test_dispatcher import DAY, OK, bench, status
from tests.simulated import simulate
from trackgate.outbox import Standing

PATIENCE = 60.0


def test_a_parked_destination_is_tried_at_once_and_says_how_it_stands(tmp_path):
    """Long before its next probe; only one call is made, and after it everything flows."""
    mended = False

    async def main():
        nonlocal mended
        async with bench(tmp_path, lambda *_: OK if mended else status(401), probe=DAY) as its:
            await its.put("u-1", "u-2", "u-3")
            await its.until(lambda: its.tally().standing.state == "parked")
            calls = len(its.upstream.calls)
            standing = await its.dispatcher.probe_now(PATIENCE)
            assert (standing.state, standing.reason, len(its.upstream.calls)) == ("parked", "status_401", calls + 1)
            mended = True
            assert (await its.dispatcher.probe_now(PATIENCE)).state == "up"
            await its.until(lambda: its.tally().delivered == 3)
            assert its.clock.monotonic() < DAY / 2
            assert (await its.dispatcher.probe_now(PATIENCE)).state == "up"

    simulate(main())


def test_a_probe_that_brings_no_answer_is_not_waited_for_longer_than_asked(tmp_path):
    async def main():
        async with bench(tmp_path, lambda *_: status(401), probe=DAY) as its:
            await its.put("u-1")
            await its.until(lambda: its.tally().standing.state == "parked")
            its.upstream.takes = 10 * PATIENCE
            before = its.clock.monotonic()
            assert (await its.dispatcher.probe_now(PATIENCE)).state == "parked"
            assert its.clock.monotonic() - before == pytest.approx(PATIENCE, abs=1)

    simulate(main())


def test_where_nothing_waits_there_is_nothing_to_wait_for(tmp_path):
    async def main():
        parked = Standing(state="parked", reason="status_401")
        async with bench(tmp_path, lambda *_: OK, standing=parked, probe=DAY) as its:
            await asyncio.sleep(1)
            before = its.clock.monotonic()
            assert (await its.dispatcher.probe_now(PATIENCE)).state == "parked"
            assert its.clock.monotonic() - before < 1

    simulate(main())
