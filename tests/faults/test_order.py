"""Order and fairness: each user's events in order through every failure, and poisonous events that harm nobody else."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.faults.world import ANSWER_LOST, HOUR, OK, THERE, Rule, percentile, status, world
from tests.simulated import simulate
from trackgate.model import NoReply, Reply

ELSEWHERE = "elsewhere"


def troubled(seed) -> Rule:
    """An upstream that fails one call in four, in every way that is worth a retry."""
    dice = random.Random(seed)
    failures: list[Reply | NoReply] = [
        status(500),
        status(503, **{"retry-after": "2"}),
        status(429),
        NoReply("network", "reset"),
        NoReply("connect", "refused"),
        NoReply("timeout"),
        ANSWER_LOST,
    ]
    return lambda _made: dice.choice(failures) if dice.random() < 0.25 else OK


def test_each_users_events_come_in_order_through_failures_restarts_and_crashes(place, long, verdict):
    users, each, lives = (1_000, 10, 12) if long else (50, 6, 6)
    dice = random.Random(7)

    async def main():
        rules = {THERE: troubled(1), ELSEWHERE: troubled(2)}
        async with world(place, rules, takes=0.05, concurrency=32 if long else 8) as it:
            for life in range(lives):
                batch = [f"u{n}" for n in range(users) for _ in range(each // 2)]
                dice.shuffle(batch)
                for start in range(0, len(batch), 50):
                    await it.put(*batch[start : start + 50])
                    await asyncio.sleep(dice.random())
                await asyncio.sleep(dice.random() * 20)
                await it.restart(crash=bool(life % 2))
            await it.settled()
            return it, it.lost()

    it, lost = simulate(main())
    names = list(it.upstreams)
    wrong = sum(it.out_of_order(name) for name in names)
    found = verdict(
        test="order under failures",
        done=f"{users} users, {lives // 2} stops and {lives // 2} crashes, a quarter of the calls failed",
        held=not lost and not wrong,
        obligations=len(it.users) * len(names),
        lost=lost,
        duplicates=sum(upstream.duplicates for upstream in it.upstreams.values()),
        figure=f"{wrong} out of order",
        target="0 lost, 0 out of order",
    )
    assert found.held, found
    assert found.duplicates, "an answer was lost here and there, so that some must have come twice"


POISONS: dict[str, Reply | NoReply] = {"500": status(500), "400": status(400), "timeout": NoReply("timeout")}


@pytest.mark.parametrize("name", POISONS)
def test_a_poisonous_event_slows_nobody_and_in_the_end_not_even_its_user(place, long, verdict, name):
    """Ten events a second of others; the poisoned user has one more behind its poisonous one."""
    patience, span = (600.0, 1_800) if long else (60.0, 180)
    poison = POISONS[name]

    async def main():
        async with world(place, lambda made: poison if made.number == 0 else OK, patience=patience) as it:
            await it.put("poisoned", "poisoned")
            for second in range(span):
                await it.put(*[f"u{n % 97}" for n in range(second * 10, second * 10 + 10)])
                await asyncio.sleep(1)
            return it, it.tally(), it.delays(0.5, span - 5), it.lost()

    it, tally, delays, lost = simulate(main())
    own = it.upstreams[THERE].taken_at[1]
    p99 = percentile(delays, 0.99)
    at_once = name == "400"
    found = verdict(
        test=f"one poisonous event ({name})",
        done=f"{span} s of simulated time, 10 events/s of others",
        held=p99 < 3 and own <= (1 if at_once else patience * 2),
        obligations=len(it.users),
        lost=lost,
        figure=f"others wait p99 {p99:.3f} s, at most {delays[-1]:.3f} s; the user's next after {own:.0f} s",
        target=f"others p99 < 3 s; its user's next after the patience ({patience:.0f} s), at once after a 400",
    )
    assert found.held, found
    assert found.lost == 0, found
    assert tally.dead == at_once
    assert not it.said("destination.went_down")
    assert bool(it.said("delivery.set_aside")) is not at_once


def test_a_poisonous_event_that_took_a_quiet_destination_down_gives_way_to_the_first_other(place, verdict):
    """With nothing else to tell by it looks like an outage; the first event that passes brings everything back."""

    async def main():
        async with world(place, lambda made: status(500) if made.user == "poisoned" else OK, patience=60.0) as it:
            await it.put("poisoned")
            await asyncio.sleep(HOUR)
            state = it.tally().standing.state
            start = it.clock.monotonic()
            for second in range(200):
                await it.put(*[f"u{n % 97}" for n in range(second * 10, second * 10 + 10)])
                await asyncio.sleep(1)
            return it, state, it.delays(start, start + 1), it.delays(start + 90, start + 195), it.lost()

    it, state, first, later, lost = simulate(main())
    found = verdict(
        test="a poisonous event alone at a quiet destination, then ten a second of others",
        done="1 h alone, 200 s with others",
        held=first[-1] <= 65 and percentile(later, 0.99) < 3,
        obligations=len(it.users),
        lost=lost,
        figure=f"down after the hour: {state}; the first others waited {first[-1]:.1f} s, later p99 "
        f"{percentile(later, 0.99):.3f} s",
        target="the first within two probes (60 s), later p99 < 3 s",
    )
    assert found.held, found
    assert found.lost == 0, found
    assert state == "down"
    assert [line["event"] for line in it.log] == ["destination.went_down", "destination.resumed", "delivery.set_aside"]


@pytest.mark.parametrize("answer", [status(500), status(403)], ids=["500", "403"])
def test_others_get_their_turn_at_probing_however_many_before_them_are_poisonous(place, verdict, answer):
    """Thirty users whose events always fail come first; those behind them pass once they are tried."""

    async def main():
        async with world(place, lambda made: answer if made.user.startswith("poisoned") else OK) as it:
            await it.put(*[f"poisoned{n}" for n in range(30)])
            await it.put(*[f"u{n}" for n in range(100)])
            took = await it.until(lambda: it.tally().delivered == 100, most=6 * HOUR)
            return it, took, it.lost()

    it, took, lost = simulate(main())
    found = verdict(
        test=f"thirty poisonous users ({answer.status}) before a hundred others",
        done="run until the hundred were there",
        held=took < 2 * HOUR,
        obligations=len(it.users),
        lost=lost,
        figure=f"all others there after {took:.0f} s",
        target="they come at all: every second probe tries an event that never failed",
    )
    assert found.held, found


def test_twenty_poisonous_users_do_not_take_a_destination_down_again_and_again(place, verdict):
    async def main():
        async with world(place, lambda made: status(500) if made.user.startswith("poisoned") else OK) as it:
            for second in range(600):
                if 60 <= second < 70:
                    await it.put(f"poisoned{second}", f"poisoned{second}b")
                await it.put(f"u{second % 97}")
                await asyncio.sleep(1)
            others = [n for n, user in enumerate(it.users) if not user.startswith("poisoned")]
            there = it.upstreams[THERE].taken_at
            return it, sorted(there[n] - it.put_at[n] for n in others), it.lost()

    it, delays, lost = simulate(main())
    downs = len(it.said("destination.went_down"))
    found = verdict(
        test="twenty poisonous users among steady traffic",
        done="600 s, one event a second of others, two poisonous ones a second until there are 20",
        held=percentile(delays, 0.99) < 3 and not downs,
        obligations=len(it.users),
        lost=lost,
        figure=f"went down {downs} times; others wait p99 {percentile(delays, 0.99):.3f} s, at most {delays[-1]:.1f} s",
        target="others p99 < 3 s, never down",
    )
    assert found.held, found
    assert found.lost == 0, found
