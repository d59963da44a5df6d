"""The wall clock jumps, while we run and between two runs: nothing sticks, nothing bursts, nothing is forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from uuid_utils import uuid7

from tests.faults.world import DAY, HOUR, OK, THERE, status, world
from tests.simulated import START, simulate
from trackgate.app.station import _mint

JUMPS = {
    "an hour on": timedelta(hours=1),
    "a year on": timedelta(days=366),
    "an hour back": timedelta(hours=-1),
    "a year back": timedelta(days=-366),
}
LIMITS = {"retention": 7 * DAY, "dedupe_window": 7 * DAY}
OUTAGE = 300.0
"""Seconds in which the upstream fails; the clock jumps in their middle."""

LONGEST = 1_260.0
"""Seconds: a due time that lies further ahead than any wait can be, because the clock was set back between two runs,
is cut to `retry.max_delay` (600 s); those behind it keep their distance, which is as long at most."""


def failing_for_a_while(made):
    return OK if made.at > OUTAGE else status(503)


@pytest.mark.parametrize("restart", [False, True], ids=["while running", "across a restart"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_amid_an_outage_delays_and_bursts_and_loses_nothing(place, verdict, jump, restart):
    """Held and waiting deliveries, live traffic all the while, and repeats of what came before the jump."""

    async def main():
        async with world(place, failing_for_a_while, limits=LIMITS) as it:
            await it.put(*[f"u{n}" for n in range(100)], keyed=True)
            await asyncio.sleep(OUTAGE / 2)
            if restart:
                await it.restart(jump=JUMPS[jump])
            else:
                it.clock.jump += JUMPS[jump]
            known = [await it.repeat(number) for number in range(0, 100, 10)]
            for second in range(600):
                await it.put(f"v{second % 20}")
                await asyncio.sleep(1)
            took = await it.settled(most=DAY)
            return it, known, took, it.tally().dead, it.lost()

    it, known, took, dead, lost = simulate(main())
    upstream = it.upstreams[THERE]
    while_down = upstream.most_calls(10, OUTAGE)
    most = LONGEST if restart and "back" in jump else 60
    # Known as a repeat within a run whatever the clock says; a year later, in another run, the window has passed.
    forgotten = 0 if restart and jump == "a year on" else known.count(False)
    found = verdict(
        test=f"the wall clock jumps {jump} {'across a restart' if restart else 'while running'}",
        done="700 events around an outage of 300 s, 10 repeats",
        held=not lost and took <= most and while_down <= 2 and not forgotten and not dead,
        obligations=len(it.users),
        lost=lost,
        duplicates=upstream.duplicates,
        figure=f"drained {took:.0f} s after the traffic's end; at most {while_down} calls a second while down",
        target=f"0 lost or dead, drained within {most} s, at most 2 calls a second while down, no repeat forgotten",
    )
    assert found.held, (found, known)
    assert upstream.duplicates == (10 if forgotten != known.count(False) else 0)


@pytest.mark.parametrize("restart", [False, True], ids=["while running", "across a restart"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_pause_that_an_upstream_asked_for_does_not_stick(place, verdict, jump, restart):
    """A Retry-After of a minute, and the clock jumps in its middle."""

    def rule(made):
        return OK if made.at > 1 else status(429, **{"retry-after": "60"})

    async def main():
        async with world(place, rule) as it:
            await it.put("u")
            await it.until(lambda: it.tally().held == 1)
            await it.put("u", "v", "w")
            await asyncio.sleep(30)
            if restart:
                await it.restart(jump=JUMPS[jump])
            else:
                it.clock.jump += JUMPS[jump]
            took = await it.settled(most=DAY)
            return it, took, it.lost()

    it, took, lost = simulate(main())
    most = LONGEST if restart and "back" in jump else 40
    found = verdict(
        test=f"a Retry-After, and the wall clock jumps {jump} {'across a restart' if restart else 'while running'}",
        done="4 events, a pause of 60 s, the jump after 30 s",
        held=not lost and took <= most,
        obligations=len(it.users),
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"drained {took:.0f} s after the jump",
        target=f"0 lost, drained within {most} s",
    )
    assert found.held, found


@pytest.mark.parametrize("jump", JUMPS)
def test_retention_deletes_nothing_that_is_owed_whatever_the_clock_says(place, verdict, jump):
    """A destination that has been down for a month, its events older than the retention; sweeps run all the while."""

    async def main():
        async with world(
            place, lambda made: OK if made.at > 30 * DAY else status(503), limits=LIMITS, probe=1800.0
        ) as it:
            await it.put(*[f"u{n}" for n in range(50)])
            for _ in range(3):
                await it.restart(jump=JUMPS[jump])
                for _ in range(10):
                    await asyncio.sleep(DAY)
                    await it.put("beat")
            await it.settled(most=DAY)
            return it, it.tally().delivered, it.lost()

    it, delivered, lost = simulate(main())
    found = verdict(
        test=f"retention of 7 days, an outage of 30, and the wall clock jumps {jump} at each of 3 restarts",
        done="80 events over 30 days",
        held=not lost and delivered == 80,
        obligations=len(it.users),
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        target="0 lost",
    )
    assert found.held, found


@pytest.mark.parametrize("jump", JUMPS)
def test_repeats_are_known_within_a_run_whatever_the_clock_says(place, verdict, jump):
    """Sweeps have run since the jump."""

    async def main():
        async with world(place, lambda made: OK, limits=LIMITS) as it:
            await it.put(*[f"u{n}" for n in range(20)], keyed=True)
            it.clock.jump += JUMPS[jump]
            for _ in range(5):
                await asyncio.sleep(HOUR)
                await it.put("beat")
            known = [await it.repeat(number) for number in range(20)]
            await it.settled(most=HOUR)
            return it, known

    it, known = simulate(main())
    found = verdict(
        test=f"repeats after the wall clock jumped {jump}",
        done="20 repeats, 5 hours after the jump",
        held=all(known),
        obligations=len(it.users),
        lost=it.upstreams[THERE].turns.count(0),
        duplicates=it.upstreams[THERE].duplicates,
        target="0 duplicates",
    )
    assert found.held, found
    assert found.duplicates == found.lost == 0, found


def test_ids_are_unique_also_where_the_clock_stands_still_or_comes_back(verdict):
    """Every id of the same few moments: nothing but chance tells them apart, and that has bits enough."""
    moments = [int((START + jump).timestamp()) for jump in (timedelta(), *JUMPS.values())]
    ids = [str(uuid7(nanoseconds=moment * 10**9)) for _ in range(2_000) for moment in moments]
    ids += [_mint() for _ in range(10_000)]
    found = verdict(test="ids while the clock jumps", done="20,000 ids", held=len(set(ids)) == len(ids))
    assert found.held
