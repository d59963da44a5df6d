"""A probe that an operator asks for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.deliver.test_dispatcher import DAY, HOUR, OK, bench, status
from tests.simulated import START, simulate
from trackgate.outbox import Standing

PATIENCE = 60.0
A_DAY = "86400"


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


def paused_for_a_day(_at, n, *_):
    return status(429, **{"retry-after": A_DAY}) if n < 2 else OK


def test_a_pause_is_ended_at_once_for_all_that_waits_and_for_the_next_start(tmp_path):
    """Also for the events that the upstream put off itself, and for those that came in the pause."""

    async def main():
        async with bench(tmp_path, paused_for_a_day) as its:
            await its.put("u-1", "u-2")
            await its.until(lambda: its.tally().standing.paused_until is not None)
            await its.put("u-1", "u-3")
            await asyncio.sleep(HOUR)
            assert (its.tally().delivered, its.tally().standing.state) == (0, "up")
            standing = await its.dispatcher.probe_now(PATIENCE)
            assert (standing.state, standing.paused_until) == ("up", None)
            await its.until(lambda: its.tally().delivered == 4)
            assert its.clock.monotonic() < HOUR + 10
            assert its.tally().standing.paused_until is None

    simulate(main())


def test_a_pause_that_the_upstream_asks_for_again_is_what_is_told(tmp_path):
    async def main():
        async with bench(tmp_path, lambda *_: status(429, **{"retry-after": A_DAY})) as its:
            await its.put("u-1")
            await its.until(lambda: its.tally().standing.paused_until is not None)
            first = its.tally().standing.paused_until
            await asyncio.sleep(HOUR)
            standing = await its.dispatcher.probe_now(PATIENCE)
            assert (standing.state, (standing.paused_until - first).total_seconds()) == (
                "up",
                pytest.approx(HOUR, abs=3),
            )
            assert len(its.upstream.calls) == 2

    simulate(main())


def test_a_stopped_destination_whose_upstream_asked_to_wait_flows_once_it_is_mended(tmp_path):
    """The probe ends the pause, too: else it would be up and send nothing for a day."""
    mended = False

    async def main():
        nonlocal mended
        answer = status(503, **{"retry-after": A_DAY})
        async with bench(tmp_path, lambda *_: OK if mended else answer) as its:
            await its.put(*[f"u-{n}" for n in range(8)])
            await its.until(lambda: its.tally().standing.state == "down")
            mended = True
            assert (await its.dispatcher.probe_now(PATIENCE)).state == "up"
            await its.until(lambda: its.tally().delivered == 8)
            assert its.clock.monotonic() < HOUR

    simulate(main())


def test_where_nothing_waits_a_pause_is_ended_for_the_next_start_too_and_no_answer_is_waited_for(tmp_path):
    async def main():
        paused = Standing(paused_at=START, paused_until=START + timedelta(days=1))
        async with bench(tmp_path, lambda *_: OK, standing=paused) as its:
            await its.outbox.stand("there", paused)
            await asyncio.sleep(1)
            before = its.clock.monotonic()
            assert (await its.dispatcher.probe_now(PATIENCE)).paused_until is None
            assert its.tally().standing.paused_until is None
            assert its.clock.monotonic() - before < 1

    simulate(main())
