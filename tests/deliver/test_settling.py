"""What is answered and not settled yet: how much of it there may be, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.deliver.test_dispatcher import DAY, HOUR, OK, always, numbered, run, status
from tests.faults import world
from tests.simulated import simulate
from trackgate.deliver.dispatcher import CARRIED
from trackgate.outbox import Done, Held, OutboxUnavailable

CONCURRENCY = 4
BOUND = CARRIED * CONCURRENCY


class Stalling:
    """An outbox whose settlements are not recorded before ``go`` is set; it takes one request at a time."""

    def __init__(self, settler):
        self._inner = settler._outbox
        settler._outbox = self
        self.go = asyncio.Event()
        self.asked = []
        self._busy = False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def settle(self, settlements):
        assert not self._busy, "one request at a time"
        self._busy = True
        self.asked.append(settlements)
        await self.go.wait()
        await self._inner.settle(settlements)
        self._busy = False


class Forgetful:
    """An outbox that does not record how a destination stands before ``mended``; what it was asked to."""

    def __init__(self, its, error):
        self._inner = its.outbox
        self._error = error
        self.mended = False
        self.asked = []
        its.dispatcher._outbox = its.dispatcher._settler._outbox = self

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def stand(self, name, standing):
        self.asked.append(standing.state)
        if not self.mended:
            raise self._error
        await self._inner.stand(name, standing)


@pytest.mark.parametrize("error", [OutboxUnavailable("no"), RuntimeError("a bug")])
def test_a_standing_that_was_not_recorded_is_recorded_once_the_outbox_can(tmp_path, error):
    """Though nothing changes any more; asked for once a second, no faster."""

    async def main(it):
        forgetful = Forgetful(it, error)
        await it.put("u")
        await asyncio.sleep(HOUR)
        assert it.tally().standing.state == "up"
        assert 3000 < len(forgetful.asked) < HOUR + 2
        forgetful.mended = True
        await it.until(lambda: it.tally().standing.state == "parked", most=3)
        asked = len(forgetful.asked)
        await asyncio.sleep(60)
        return len(forgetful.asked) - asked

    assert run(tmp_path, main, always(status(401)), probe=DAY)[0] == 0, "what is recorded is not recorded again"


def test_while_a_standing_cannot_be_recorded_settlements_are_and_the_newest_is_recorded_then(tmp_path):
    async def main(it):
        forgetful = Forgetful(it, OutboxUnavailable("no"))
        await it.put("u")
        await it.until(lambda: len(it.upstream.calls) == 1)
        await it.until(lambda: it.tally().delivered == 1)
        await it.put("v")
        await it.until(lambda: it.tally().delivered == 2)
        states = set(forgetful.asked)
        await it.put("w")
        await it.until(lambda: len(it.upstream.calls) == 4)
        forgetful.asked.clear()
        forgetful.mended = True
        await it.until(lambda: it.tally().standing.state == "parked", most=3)
        return states, forgetful.asked

    answers = [status(401), OK, OK, status(402)]
    (before, after), _ = run(tmp_path, main, lambda _at, n, *_: answers[min(n, 3)], probe=10.0)
    assert before == {"parked", "up"}
    assert set(after) == {"parked"}


def test_a_standing_that_cannot_be_recorded_holds_a_stop_up_no_longer_than_the_grace(tmp_path):
    async def main(it):
        forgetful = Forgetful(it, OutboxUnavailable("no"))
        await it.put("u")
        await it.until(lambda: len(it.upstream.calls) == 1)
        before = it.clock.monotonic()
        await it.dispatcher.stop(30.0)
        stopped, asked = it.clock.monotonic(), len(forgetful.asked)
        await asyncio.sleep(60)
        return stopped - before, len(forgetful.asked) - asked

    took, later = run(tmp_path, main, always(status(401)))[0]
    assert took < 31
    assert later == 0, "a stopped dispatcher asks for nothing"


def test_a_standing_that_changes_while_it_is_recorded_is_recorded_as_it_is_then(tmp_path):
    async def main(it):
        class Slow:
            def __getattr__(self, name):
                return getattr(it.outbox, name)

            async def stand(self, name, standing):
                await asyncio.sleep(5)
                await it.outbox.stand(name, standing)

        it.dispatcher._settler._outbox = Slow()
        await it.put("u")
        await it.until(lambda: it.tally().delivered == 1)
        assert it.tally().standing.state == "up", "that it was parked is not recorded yet"
        await asyncio.sleep(60)
        return it.tally().standing.state

    assert run(tmp_path, main, lambda _at, n, *_: OK if n else status(401), probe=1.0)[0] == "up"


def test_while_a_commit_stalls_calls_go_on_up_to_a_bound_and_no_further(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put(*[f"u{n}" for n in range(60)])
        await asyncio.sleep(HOUR)
        stalled = len(it.upstream.calls)
        assert (it.dispatcher.in_flight, it.tally().delivered) == (0, 0)
        stalling.go.set()
        await it.until(lambda: it.tally().delivered == 60)
        return stalled, it.upstream.taken()

    (stalled, taken), _ = run(tmp_path, main, always(OK), concurrency=CONCURRENCY)
    assert stalled == BOUND
    assert len(set(taken)) == len(taken) == 60


def test_a_lane_is_busy_until_what_was_answered_is_recorded(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put(*["u", "v"] * 5)
        await asyncio.sleep(HOUR)
        stalled = it.upstream.taken()
        stalling.go.set()
        await it.until(lambda: it.tally().delivered == 10)
        return stalled, it.upstream.taken()

    (stalled, taken), _ = run(tmp_path, main, always(OK), concurrency=CONCURRENCY)
    assert stalled == [("u", "e1"), ("v", "e2")]
    assert numbered(taken, "u") == [1, 3, 5, 7, 9]
    assert numbered(taken, "v") == [2, 4, 6, 8, 10]


def test_what_is_judged_while_others_are_recorded_is_recorded_in_one_stroke_in_that_order(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put(*[f"u{n}" for n in range(BOUND)])
        await asyncio.sleep(1)
        stalling.go.set()
        await it.until(lambda: it.tally().delivered == BOUND)
        return stalling.asked, it.upstream.calls

    (asked, calls), logs = run(tmp_path, main, always(OK), concurrency=CONCURRENCY)
    assert len(asked) == 2
    answered = [call.headers["trackgate-event-id"] for *_, call in calls]
    assert [one.delivery.event.id for each in asked for one in each] == answered
    assert [line["event_id"] for line in logs if line["event"] == "delivery.attempted"] == answered


def test_nothing_is_told_before_it_is_recorded(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put("u")
        await it.until(lambda: stalling.asked)
        return stalling

    async def told_early(it):
        stalling = await main(it)
        await asyncio.sleep(1)
        it.dispatcher._settler._log.info("the.commit")
        stalling.go.set()

    _, logs = run(tmp_path, told_early, always(OK))
    assert [line["event"] for line in logs] == ["the.commit", "delivery.attempted"]


def test_how_a_destination_stands_is_remembered_though_telling_of_its_deliveries_stumbles(tmp_path):
    async def main(it):
        async def stumbles(_recorded):
            raise RuntimeError("a bug")

        it.dispatcher._settler._settled = stumbles
        await it.put("u")
        await asyncio.sleep(1)
        return it.tally().standing.state

    state, logs = run(tmp_path, main, always(status(401)))
    assert state == "parked"
    assert [line["event"] for line in logs] == ["destination.parked", "settle.stumbled"]


def test_one_that_failed_holds_its_followers_though_others_are_recorded_with_it(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put("good", "bad", "bad", "other", "bad")
        await asyncio.sleep(1)
        stalling.go.set()
        await it.until(lambda: it.tally().delivered == 5)
        return stalling.asked, it.upstream.taken()

    failed: list[str] = []

    def rule(_at, _n, user, name):
        if user == "bad" and not failed:
            failed.append(name)
            return status(500)
        return OK

    (asked, taken), _ = run(tmp_path, main, rule, concurrency=CONCURRENCY)
    assert {type(one.fate) for each in asked[:2] for one in each} == {Done, Held}
    assert numbered(taken, "bad") == [2, 3, 5]


def test_a_probe_whose_outcome_is_not_recorded_is_followed_by_no_other(tmp_path):
    async def main(it):
        await it.put("u", "v", "w")
        await it.until(lambda: it.tally().standing.state == "parked")
        stalling = Stalling(it.dispatcher._settler)
        calls = len(it.upstream.calls)
        await asyncio.sleep(HOUR)
        probes = len(it.upstream.calls) - calls
        stalling.go.set()
        await it.until(lambda: len(it.upstream.calls) > calls + 1)
        return probes

    assert run(tmp_path, main, always(status(401)), probe=10.0)[0] == 1


def test_stopping_settles_what_was_answered_and_sends_nothing_more(tmp_path):
    async def main(it):
        stalling = Stalling(it.dispatcher._settler)
        await it.put(*[f"u{n}" for n in range(60)])
        await asyncio.sleep(1)
        stopping = asyncio.create_task(it.dispatcher.stop(60.0))
        await asyncio.sleep(30)
        assert not stopping.done()
        stalling.go.set()
        await stopping
        return it.tally().delivered, len(it.upstream.calls)

    assert run(tmp_path, main, always(OK), concurrency=CONCURRENCY)[0] == (BOUND, BOUND)

    async def rest(it):
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally().delivered, len(it.upstream.calls)

    (delivered, calls), logs = run(tmp_path, rest, always(OK))
    assert (delivered, calls) == (60, 60 - BOUND)
    assert {line["attempt"] for line in logs if line["event"] == "delivery.attempted"} == {1}


def test_a_storage_that_does_not_answer_holds_a_stop_up_no_longer_than_the_grace_after_the_calls(tmp_path):
    async def main(it):
        Stalling(it.dispatcher._settler)
        await it.put("u")
        await asyncio.sleep(1)
        before = it.clock.monotonic()
        await it.dispatcher.stop(30.0)
        return it.clock.monotonic() - before

    assert run(tmp_path, main, always(OK))[0] < 31


def test_a_kill_between_the_replies_and_their_settlement_sends_no_more_twice_than_the_bound(tmp_path):
    async def main():
        async with world.world(tmp_path, world.always(world.OK), concurrency=CONCURRENCY) as it:
            Stalling(it.dispatchers[world.THERE]._settler)
            await it.put(*[f"u{n}" for n in range(60)])
            await asyncio.sleep(HOUR)
            assert it.upstreams[world.THERE].calls == BOUND
            await it.restart(crash=True)
            await it.settled()
            return it.upstreams[world.THERE].duplicates, it.lost()

    assert simulate(main()) == (BOUND, 0)
