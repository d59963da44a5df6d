"""An outage of three days: everything waits, nothing ages, the oldest goes first afterwards, the live are served."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import pytest

from tests.faults.world import DAY, HOUR, OK, THERE, percentile, status, world
from tests.simulated import simulate
from trackgate.model import NoReply

OUTAGE = 3 * DAY
FAILURES = {"503": status(503), "refused": NoReply("connect", "refused")}


def memory() -> float:
    """MiB that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def drained(it, count):
    """Let everything go; deliveries per second of processor time, and the most memory that was held."""
    start, most = time.process_time(), memory()
    while it.tally().waiting:
        await asyncio.sleep(1.0)
        most = max(most, memory())
    return count / (time.process_time() - start), most


@pytest.mark.parametrize("failure", FAILURES)
def test_three_days_of_outage_lose_nothing_and_drain_the_oldest_first(place, long, verdict, failure):
    """Half as many events flow freely before, for the rate to compare with: all at once, then the outage's share."""
    count, users, batch, probe = (1_000_000, 5_000, 2_000, 30.0) if long else (5_000, 2_000, 100, 300.0)
    before = count // 2

    def rule(made):
        return FAILURES[failure] if DAY < made.at < DAY + OUTAGE else OK

    async def main():
        async with world(place, rule, concurrency=32, probe=probe) as it:
            for start in range(0, before, batch):
                it.upstreams[THERE].rule = lambda _made: status(503)  # so that it is a backlog, too
                await it.put(*[f"u{n % users}" for n in range(start, start + batch)])
            it.upstreams[THERE].rule = rule
            usual, _ = await drained(it, before)
            await asyncio.sleep(DAY - it.clock.monotonic() + 1)
            empty = memory()
            for start in range(0, count, batch):
                await it.put(*[f"u{n % users}" for n in range(start, start + batch)])
                await asyncio.sleep(OUTAGE * batch / count * 0.98)
            await asyncio.sleep(max(DAY + OUTAGE - it.clock.monotonic() - 1, 0))
            held, state, full = it.tally(), it.tally().standing.state, memory()
            calls = it.upstreams[THERE].calls
            mended = it.clock.monotonic()
            after, draining = await drained(it, count)
            took = it.clock.monotonic() - mended
            return it, (usual, after, took), (empty, full, draining), (held, state, calls), it.tally(), it.lost()

    it, (usual, after, took), (empty, full, draining), (held, state, calls), tally, lost = simulate(main())
    upstream = it.upstreams[THERE]
    came = [number for number in upstream.taken() if number >= before]
    astray = sum(abs(place - number) for place, number in enumerate(came, before)) / count
    found = verdict(
        test=f"72 h of outage ({failure})",
        done=f"{count} events of {users} users over 72 h of simulated time",
        held=not lost and not tally.dead and tally.delivered == before + count and astray < count / 20,
        obligations=len(it.users),
        lost=lost,
        duplicates=upstream.duplicates,
        figure=f"drained at {after / usual:.0%} of the usual rate ({after:.0f} against {usual:.0f} a processor second; "
        f"{took:.0f} s simulated); on average {astray:.0f} places from the order of acceptance; memory "
        f"{empty:.0f} MiB before, {full:.0f} MiB with all that waits, at most {draining:.0f} MiB while it drains",
        target="0 lost, none expired, the oldest first, at least 80 % of the usual rate, memory flat",
    )
    assert found.held, found
    assert (state, held.waiting) == ("down", count)
    assert not it.out_of_order()
    assert calls - before < OUTAGE / probe + before + 100, "no call but the probes"


def test_who_owes_nothing_older_is_served_within_seconds_while_a_backlog_drains(place, long, verdict):
    """A backlog of an hour's draining; a new user's event every second meanwhile."""
    backlog = 50_000 if long else 4_000

    async def main():
        async with world(place, lambda made: OK if made.at > HOUR else status(503), concurrency=8, takes=0.5) as it:
            for first in range(0, backlog, 500):
                await it.put(*[f"u{n % 400}" for n in range(first, first + 500)])
            await it.until(lambda: it.tally().standing.state == "down")
            await asyncio.sleep(HOUR - it.clock.monotonic())
            await it.until(lambda: it.tally().standing.state == "up")
            await asyncio.sleep(20)
            start = it.clock.monotonic()
            for second in range(120):
                await it.put(f"live{second}")
                await asyncio.sleep(1)
            assert it.tally().waiting > backlog // 4, "the backlog was to last longer than the live ones came"
            await it.settled()
            return it, it.delays(start, start + 120), it.lost()

    it, delays, lost = simulate(main())
    p99 = percentile(delays, 0.99)
    found = verdict(
        test="live events while a backlog drains",
        done=f"a backlog of {backlog} at 16 calls/s, 120 live events of other users",
        held=not lost and p99 < 5,
        obligations=len(it.users),
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"live events wait p50 {percentile(delays, 0.5):.2f} s, p99 {p99:.2f} s",
        target="p99 < 5 s of simulated time",
    )
    assert found.held, found
