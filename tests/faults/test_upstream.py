"""An upstream that misbehaves, in simulated time: each case has one documented outcome."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.faults.world import APPIZER, HOUR, OK, THERE, status, world
from tests.simulated import START, simulate
from trackgate.app.keeper import _shown
from trackgate.config.secret import Secret
from trackgate.model import Reply
from trackgate.vendor import Target

PROBE = 30.0
"""Seconds: the default of ``retry.probe``."""


def test_a_minute_of_500_costs_a_minute(place, verdict):
    async def main():
        async with world(place, lambda made: OK if made.at > 60 else status(500)) as it:
            await it.put(*[f"u{n % 40}" for n in range(200)])
            await it.settled(most=HOUR)
            return it, it.clock.monotonic(), it.tally().dead, it.lost()

    it, ended, dead, lost = simulate(main())
    found = verdict(
        test="500 for 60 s, then fine",
        done="200 events of 40 users",
        held=not lost and not dead and ended <= 60 + PROBE + 10,
        obligations=200,
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"all there after {ended:.0f} s",
        target="within a probe (30 s) of the fix",
    )
    assert found.held, found
    assert found.duplicates == 0


def dated(seconds: float) -> str:
    return format_datetime(START + timedelta(seconds=seconds), usegmt=True)


RETRY_AFTER = {
    "seconds": ("120", 120),
    "a date": (dated(120), 120),
    "a date gone by": (dated(-3600), 0),
    "zero": ("0", 0),
    "negative": ("-5", 0),
    "a fraction": ("1.5", 0),
    "garbage": ("soon, maybe", 0),
    "empty": ("", 0),
    "longer than a day": ("9" * 40, 86_400),
    "a date in ten years": (dated(10 * 365 * 86_400), 86_400),
}


@pytest.mark.parametrize("number", [429, 503])
@pytest.mark.parametrize("form", RETRY_AFTER)
def test_retry_after_is_a_floor_in_both_forms_capped_at_a_day_and_garbage_is_ignored(place, verdict, form, number):
    """Nothing is sent to the destination before it, and what waits goes soon after."""
    stated, pause = RETRY_AFTER[form]

    async def main():
        turned_away = Reply(status=number, headers={"retry-after": stated}, at=START)
        async with world(place, lambda made: OK if made.at > 0.1 else turned_away) as it:
            await it.put("u")
            await it.until(lambda: it.upstreams[THERE].calls == 1)
            await asyncio.sleep(0.2)
            await it.put("u", "v", "w")
            await it.settled(most=3 * 86_400)
            return it, it.lost()

    it, lost = simulate(main())
    times = sorted(it.upstreams[THERE].taken_at)
    found = verdict(
        test=f"{number} with Retry-After: {form}",
        done="4 events, the first turned away once",
        held=not lost and pause - 1 <= times[0] and times[-1] <= pause + 5,
        obligations=4,
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"the first went after {times[0]:.1f} s, the last after {times[-1]:.1f} s",
        target=f"none before {pause} s, all by {pause + 5} s",
    )
    assert found.held, found


@pytest.mark.parametrize("number", [401, 402, 403, 404])
def test_two_hours_of_a_bad_key_or_path_kill_nothing_that_a_mend_could_save(place, verdict, number):
    """Shown within 30 s in the log, the metrics and the readiness detail; resumes by itself within a probe."""
    mend = 2 * HOUR

    async def main():
        async with world(place, lambda made: OK if made.at > mend else status(number)) as it:
            for second in range(30):
                await it.put(*[f"u{n}" for n in range(second * 4, second * 4 + 4)])
                await asyncio.sleep(1)
            seen = (
                [line["reason"] for line in it.said("destination.parked")],
                b'trackgate_destination_state{destination="there",state="parked"} 1.0' in it.metrics.render(),
                _shown(it.outbox.ledger().destinations[THERE], it.clock.now())["state"],
            )
            await asyncio.sleep(mend - it.clock.monotonic())
            resumed = await it.until(lambda: bool(it.said("destination.resumed")), most=HOUR)
            await it.settled(most=HOUR)
            return it, seen, resumed, it.tally(), it.lost()

    it, seen, resumed, tally, lost = simulate(main())
    reason = f"status_{number}" if number != 404 else "refusals_status_404"
    # Four 404s may be an event's own; the fifth in a row says that it is the path.
    dead = 4 if number == 404 else 0
    found = verdict(
        test=f"{number} for two hours, then fixed",
        done="120 events of 120 users",
        held=not lost and tally.dead == dead and tally.delivered == 120 - dead and resumed <= PROBE + 1,
        obligations=120,
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"resumed {resumed:.0f} s after the fix; {tally.dead} dead, with their reason",
        target=f"parked is seen within 30 s; resumes within a probe (30 s); {dead} dead",
    )
    assert found.held, found
    assert seen == ([reason], True, "parked")


def test_a_rotated_key_in_a_file_mends_by_itself(place, verdict):
    """The upstream takes the new key alone after an hour; the file is written ten minutes later; nothing restarts."""
    file = place / "key"
    file.write_text("old\n")
    secret = Secret.read(f"${{file:{file}}}", {})

    def target():
        return Target(url="http://127.0.0.1:1", key=secret.credential(), options=APPIZER.options())

    def rule(made):
        return OK if made.key == ("Bearer new" if made.at > HOUR else "Bearer old") else status(401)

    async def main():
        async with world(place, rule, target=target) as it:
            await it.put("before")
            await it.settled(most=60)
            await asyncio.sleep(HOUR)
            await it.put(*[f"u{n}" for n in range(50)])
            await asyncio.sleep(300)
            file.write_text("")  # half written, as some do
            await asyncio.sleep(317)
            state = it.tally().standing.state
            file.write_text("new\n")
            took = await it.settled(most=HOUR)
            return it, state, took, it.tally().dead, it.lost()

    it, state, took, dead, lost = simulate(main())
    found = verdict(
        test="a rotated key in a file",
        done="51 events; the key changed at the upstream, 10 minutes later in the file",
        held=not lost and not dead and state == "parked" and took <= PROBE + 15,
        obligations=51,
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"everything there {took:.0f} s after the file was written",
        target="within a probe (30 s) and what the backlog takes; no restart",
    )
    assert found.held, found
    assert it.said("secret.unreadable"), "the empty file is told"


@pytest.mark.parametrize("number", [403, 400, 422])
def test_what_is_one_users_own_ends_dead_with_its_reason_and_the_user_goes_on(place, verdict, number):
    async def main():
        async with world(place, lambda made: status(number) if made.number == 5 else OK) as it:
            for second in range(120):
                await it.put(*[f"u{n % 20}" for n in range(second * 5, second * 5 + 5)])
                await asyncio.sleep(1)
            await it.settled(most=HOUR)
            dead = it.find(5)
            return it, dead, it.delays(0, 1000), it.lost()

    it, dead, delays, lost = simulate(main())
    others = delays[:-1]
    found = verdict(
        test=f"one event alone earns a {number}",
        done="600 events of 20 users",
        held=not lost and it.upstreams[THERE].turns.count(0) == 1 and f"status_{number}" in dead.reasons[THERE],
        obligations=600,
        lost=lost,
        duplicates=it.upstreams[THERE].duplicates,
        figure=f"others wait at most {others[-1]:.1f} s",
        target="that event is dead with its reason; everything else is delivered, also of its user",
    )
    assert found.held, found
    assert not it.out_of_order()
    if number != 403:
        assert others[-1] < 3, "a 400 disturbs nobody"


STORMS: dict[str, Any] = {"503": status(503), "429": status(429, **{"retry-after": "1"}), "401": status(401)}


@pytest.mark.parametrize("failure", STORMS)
def test_retries_never_come_faster_than_twice_the_steady_rate(place, verdict, failure):
    """Thousands wait while the upstream fails for ten minutes; then it is mended."""
    rate = 8 / 0.2  # calls in flight by the time of each

    async def main():
        failing = STORMS[failure]
        async with world(place, lambda made: failing if 30 < made.at < 630 else OK, takes=0.2) as it:
            for second in range(120):
                await it.put(*[f"u{n % 500}" for n in range(second * 30, second * 30 + 30)])
                await asyncio.sleep(1)
            await it.settled(most=HOUR)
            return it, it.lost()

    it, lost = simulate(main())
    upstream = it.upstreams[THERE]
    steady, failing, mended = (upstream.most_calls(*span) for span in ((0, 30), (31, 630), (630, 10_000)))
    found = verdict(
        test=f"a retry storm ({failure} for ten minutes, thousands waiting)",
        done="3,600 events of 500 users, 30 a second at 8 calls in flight of 0.2 s",
        held=not lost and failing <= 2 * steady and mended <= 2 * steady,
        obligations=len(it.users),
        lost=lost,
        duplicates=upstream.duplicates,
        figure=f"calls in the busiest second: {steady} before, {failing} while it fails, {mended} after "
        f"({rate:.0f} at most by the calls in flight)",
        target="at most twice the steady rate",
    )
    assert found.held, found
    assert sum(n for second, n in upstream.per_second.items() if 60 < second < 600) < 300
