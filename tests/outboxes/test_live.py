"""While a destination has a backlog to get through, what may go ahead of it, and that nothing else does."""

from __future__ import annotations

import asyncio

import pytest

from tests.outboxes.kinds import HOUR, KINDS, entry, ids, settled
from trackgate.outbox import Held, OutboxUnavailable, Standing
from trackgate.outboxes.sqlite import take as sqlite_take

BACKLOG = 3_000


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request, tmp_path):
    return request.param(tmp_path)


def holds(kind, law, **limits):
    async def run():
        box = await kind.open(**limits)
        try:
            await law(box)
        finally:
            await box.close()

    asyncio.run(run())


async def fall_behind(box, *, lanes=range(100)):
    """A backlog of users `lanes`, with `take_live` asked until it knows it."""
    await box.append([entry(n, "a", lane=lanes[n % len(lanes)]) for n in range(BACKLOG)])
    assert await live(box) == []


async def live(box, limit=100):
    """All that may go ahead."""
    taken = []
    while box.has_live("a"):
        taken += await box.take_live("a", limit)
    return taken


def test_users_who_owe_nothing_older_go_ahead_of_a_backlog_and_the_others_wait(kind):
    async def law(box):
        await fall_behind(box)
        await box.append([entry(9_000, "a", lane=7), entry(9_001, "a", lane=500), entry(9_002, "a", lane=500)])
        ahead = await live(box)
        assert ids(ahead) == ["9001", "9002"]
        assert all(one.live for one in ahead)
        await box.settle(settled(ahead))
        assert [kind.find(f"event-{n}").fates["a"] for n in (0, 9_000, 9_001)] == ["due", "due", "delivered"]
        rest = []
        while taken := await box.take("a", 500):
            rest += taken
            await box.settle(settled(taken))
        assert ids(rest) == [*map(str, range(BACKLOG)), "9000"]
        assert (box.ledger().destinations["a"].waiting, box.ledger().backlog_bytes) == (0, 0)

    holds(kind, law)


def test_what_was_handed_out_ahead_comes_again_once_after_a_crash_and_still_ahead(kind):
    async def run():
        box = await kind.open()
        await fall_behind(box)
        await box.append([entry(9_000, "a", lane=500), entry(9_001, "a", lane=501), entry(9_002, "a", lane=501)])
        first, *_ = await live(box)
        await box.settle(settled([first]))
        kind.crash()
        await box.close()
        again = await kind.open()
        assert kind.find("event-9000").fates["a"] == "delivered"
        assert kind.find("event-9001").fates["a"] == "due"
        out = await live(again)
        assert [(one.event.id, one.attempts) for one in out] == [("event-9001", 1), ("event-9002", 1)]
        await again.settle(settled(out))
        while taken := await again.take("a", 500):
            assert not set(ids(taken)) & {"9000", "9001", "9002"}
            await again.settle(settled(taken))
        tally = again.ledger().destinations["a"]
        assert (tally.delivered, tally.waiting) == (BACKLOG + 3, 0)
        await again.close()

    asyncio.run(run())


def test_an_older_one_that_was_given_back_or_held_goes_first(kind):
    async def law(box):
        await fall_behind(box)
        await box.append([entry(9_000, "a", lane=500), entry(9_001, "a", lane=501)])
        returned, held = await live(box)
        await box.give_back([returned])
        await box.settle(settled([held], Held(due=kind.clock.now(), attempts=1)))
        await box.append([entry(9_002, "a", lane=500), entry(9_003, "a", lane=501)])
        assert ids(await live(box)) == ["9000"], "9002 waits for the cursor, 9003 behind what is held"
        (again,) = await box.take_held("a", kind.clock.now(), 9)
        assert again.live
        await box.settle(settled([again]))
        assert ids(await box.take_held("a", kind.clock.now(), 9)) == ["9003"]

    holds(kind, law)


def test_half_of_a_backlog_later_those_who_left_it_are_live_again(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(5_000)])
        assert await live(box) == []
        await box.settle(settled(await box.take("a", 510)))
        await box.append([entry(9_000, "a", lane=0)])
        assert await live(box) == [], "what it remembers is not worn enough"
        for _ in range(4):
            await box.settle(settled(await box.take("a", 510)))
        assert await live(box) == []
        await box.append([entry(9_001, "a", lane=1), entry(9_002, "a", lane=4_500)])
        assert ids(await live(box)) == ["9001"]

    holds(kind, law)


def test_a_small_backlog_lets_nothing_ahead(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(100)])
        await box.append([entry(9_000, "a", lane=9_000)])
        assert not box.has_live("a")
        assert await box.take_live("a", 9) == []

    holds(kind, law)


def test_large_events_go_ahead_a_few_at_a_time_and_none_is_left(kind):
    async def law(box):
        await fall_behind(box)
        await box.append([entry(n, "a", lane=n, properties={"p": "x" * 2**20}) for n in range(9_100, 9_112)])
        some = await box.take_live("a", 20)
        assert 0 < len(some) < 6
        assert ids([*some, *await live(box)]) == [str(n) for n in range(9_100, 9_112)]

    holds(kind, law)


def test_what_went_ahead_and_is_settled_does_not_outlive_its_retention(kind):
    """The oldest of the backlog waits still; what is settled beyond the cursor is settled."""

    async def law(box):
        await fall_behind(box)
        await box.append([entry(9_000, "a", lane=500)])
        await box.settle(settled(await live(box)))
        kind.clock.seconds += 2 * HOUR
        await until_gone(kind, box, "event-9000")
        assert kind.find("event-0").fates == {"a": "due"}
        out = []
        while taken := await box.take("a", 500):
            out += ids(taken)
            await box.settle(settled(taken))
        assert out == [str(n) for n in range(BACKLOG)]

    holds(kind, law)


async def until_gone(kind, box, event_id):
    for _ in range(2_000):
        await box.stand("a", Standing())
        if kind.find(event_id) is None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is still there")


def test_live_events_that_the_log_does_not_hold_are_damage(kind, monkeypatch):
    async def law(box):
        await fall_behind(box)
        await box.append([entry(9_000, "a", lane=500)])
        monkeypatch.setattr(sqlite_take, "find_live", lambda *_: [10**9])
        with pytest.raises(OutboxUnavailable, match="events that the log does not hold"):
            await box.take_live("a", 9)

    holds(kind, law)
