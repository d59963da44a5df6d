"""A destination's dispatcher over a real outbox and a made-up upstream, in simulated time: days take milliseconds."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from tests.made import event
from tests.simulated import Awaited, simulate
from tests.simulated import clock as simulated_clock
from trackgate import vendors
from trackgate.deliver.dispatcher import Dispatcher, Plan
from trackgate.deliver.send import KEPT_OF_A_REQUEST, Sender
from trackgate.deliver.window import LIVE_WINDOW, WINDOW
from trackgate.ingest.intake import lane_of
from trackgate.metrics import Metrics
from trackgate.model import NoReply, Receipt, Reply
from trackgate.outbox import DestinationTally, Entry, Ledger, OutboxUnavailable, Selection, Standing
from trackgate.outboxes.sqlite.limits import Limits
from trackgate.outboxes.sqlite.outbox import SqliteOutbox
from trackgate.outboxes.sqlite.reader import SqliteReader
from trackgate.retry import RetryPolicy
from trackgate.units import Duration
from trackgate.vendor import Target

APPIZER = vendors.load()["appizer"]
OK = Reply(status=200, body=b'{"success":true}')
HOUR, DAY = 3600.0, 86_400.0


def status(number, **headers):
    return Reply(status=number, headers=headers)


class Upstream:
    """Answers each call by a rule of (time, number of the call, its user and event); remembers them all."""

    def __init__(self, clock, rule, takes=0.01):
        self.clock = clock
        self.rule = rule
        self.takes = takes
        self.calls = []
        self.flying: Counter[str | None] = Counter()
        self.most_flying = 0

    async def send(self, call, deadline):
        decoded = APPIZER.decode(call, APPIZER.endpoints[0], Receipt("s", self.clock.now(), lambda: "x"))[0].event
        user, name = decoded.user_id, decoded.name
        self.flying[user] += 1
        assert self.flying[user] == 1, "two calls of one lane at once"
        self.most_flying = max(self.most_flying, sum(self.flying.values()))
        at = self.clock.monotonic()
        await asyncio.sleep(self.takes)
        answer = self.rule(at, len(self.calls), user, name)
        self.calls.append((at, user, name, answer, call))
        self.flying[user] -= 1
        return answer

    async def close(self):
        pass

    def taken(self):
        return [(user, name) for _, user, name, answer, _ in self.calls if answer is OK]


class Bench:
    """One dispatcher at work; ``put`` makes events owed to it."""

    def __init__(self, outbox, dispatcher, upstream, clock):
        self.outbox, self.dispatcher, self.upstream, self.clock = outbox, dispatcher, upstream, clock
        self._numbers = itertools.count(1)

    async def put(self, *users):
        made = [event(number := next(self._numbers), name=f"e{number}", user_id=user) for user in users]
        await self.outbox.append([Entry(each, lane_of(each), frozenset({"there"})) for each in made])

    def tally(self):
        return self.outbox.ledger().destinations["there"]

    async def until(self, condition, most=30 * DAY):
        """Let simulated time pass until it holds."""
        end = self.clock.monotonic() + most
        while not condition():
            assert self.clock.monotonic() < end, self.tally()
            await asyncio.sleep(0.05 if self.clock.monotonic() < 5 else 1.0)


@asynccontextmanager
async def bench(folder, rule, *, standing=None, concurrency=8, takes=0.01, target=None, rate=None, **policy):
    clock = simulated_clock()
    opened = await SqliteOutbox.open(
        folder,
        clock,
        Limits(max_backlog=2**30, min_free=0, retention=100 * DAY, dead_retention=100 * DAY, dedupe_window=100 * DAY),
    )
    outbox = Awaited(opened)
    upstream = Upstream(clock, rule, takes)
    plan = Plan(
        name="there",
        concurrency=concurrency,
        rate=rate,
        policy=RetryPolicy(**{name: Duration(value) for name, value in policy.items()}),
        target=target or (lambda: Target(url="http://127.0.0.1:1", key="k", options=APPIZER.options())),
    )
    metrics = Metrics(lambda: Ledger(sources={}, destinations={}), clock)
    dispatcher = Dispatcher(
        plan, outbox, Sender(APPIZER, upstream, clock, 10.0), clock, structlog.get_logger(), metrics
    )
    outbox.on_append(lambda owed: dispatcher.wake())
    outbox.on_retry(lambda names: dispatcher.wake(held=True))
    known = opened.ledger().destinations.get("there", DestinationTally()).standing
    running = asyncio.create_task(dispatcher.run(standing or known))
    try:
        yield Bench(outbox, dispatcher, upstream, clock)
    finally:
        await dispatcher.stop(1.0)
        await running
        await outbox.close()


def run(tmp_path, main, rule, **options):
    async def whole():
        async with bench(tmp_path / "data", rule, **options) as it:
            return await main(it)

    with capture_logs() as logs:
        result = simulate(whole())
    return result, logs


def always(answer):
    return lambda *_: answer


def test_everything_arrives_each_users_in_order(tmp_path):
    async def main(it):
        await it.put(*[f"u{n % 7}" for n in range(200)])
        await it.until(lambda: it.tally().delivered == 200)
        return it.upstream

    upstream, _ = run(tmp_path, main, always(OK))
    for user in {user for user, _ in upstream.taken()}:
        names = [int(name[1:]) for each, name in upstream.taken() if each == user]
        assert names == sorted(names)
    assert upstream.most_flying > 1


def test_no_more_calls_are_in_flight_than_configured(tmp_path):
    async def main(it):
        await it.put(*[f"u{n}" for n in range(60)])
        await it.until(lambda: it.tally().delivered == 60)
        return it.upstream.most_flying

    assert run(tmp_path, main, always(OK), concurrency=3)[0] == 3


def test_order_is_kept_through_failures_at_random(tmp_path):
    """Every third call fails; no user sees its events out of order, none twice."""

    async def main(it):
        for _ in range(5):
            await it.put(*[f"u{n % 5}" for n in range(40)])
            await asyncio.sleep(3)
        await it.until(lambda: it.tally().delivered == 200)
        return it.upstream

    upstream, _ = run(tmp_path, main, lambda _at, n, *_: OK if n % 3 else NoReply("timeout"))
    taken = upstream.taken()
    assert len(set(taken)) == len(taken) == 200
    for user in range(5):
        names = [int(name[1:]) for each, name in taken if each == f"u{user}"]
        assert names == sorted(names)


def test_an_outage_of_three_days_loses_and_expires_nothing_and_is_not_hammered(tmp_path):
    async def main(it):
        for _ in range(6):
            await it.put(*[f"u{n % 50}" for n in range(50)])
            await asyncio.sleep(12 * HOUR)
        await it.until(lambda: it.tally().delivered == 300)
        return it.upstream, it.tally()

    def rule(at, *_):
        return OK if at > 3 * DAY else status(503)

    (upstream, tally), logs = run(tmp_path, main, rule, max_age=HOUR, probe=900.0)
    assert (tally.delivered, tally.dead, tally.waiting) == (300, 0, 0)
    before = [call for call in upstream.calls if call[0] <= 3 * DAY]
    assert len(before) < 3 * DAY / 900 + 60
    taken = [int(name[1:]) for _, name in upstream.taken()]
    assert sorted(taken) == list(range(1, 301))
    assert sum(abs(place - number) for place, number in enumerate(taken, 1)) / 300 < 30, "about the oldest first"
    states = [line["event"] for line in logs if line["event"].startswith("destination.")]
    assert states == ["destination.went_down", "destination.resumed"]


@pytest.mark.parametrize("number", [503, 401])
def test_after_a_long_outage_everything_that_waited_flows_at_once(tmp_path, number):
    """What probed again and again has no waits of its own to serve."""

    async def main(it):
        await it.put("u", "v", "w")
        await asyncio.sleep(HOUR)
        await it.until(lambda: it.tally().delivered == 3, most=60)
        return it.clock.monotonic()

    ended, _ = run(tmp_path, main, lambda at, *_: OK if at > HOUR else status(number))
    assert ended < HOUR + 31 + 5


@pytest.mark.parametrize("number", [401, 402, 403, 302])
def test_a_bad_key_parks_for_days_and_resumes_within_a_probe(tmp_path, number):
    async def main(it):
        await it.put(*[f"u{n}" for n in range(40)])
        await it.until(lambda: it.tally().standing.state == "parked")
        await asyncio.sleep(2 * DAY)
        assert it.tally().waiting == 40
        await it.until(lambda: it.tally().delivered == 40)
        return it

    def rule(at, *_):
        return OK if at > 2 * DAY else status(number)

    it, _ = run(tmp_path, main, rule, probe=900.0)
    first = min(at for at, *_, answer, _ in it.upstream.calls if answer is OK)
    assert first <= 2 * DAY + 901
    assert it.tally().dead == 0


def test_a_wrong_url_parks_before_it_kills_many(tmp_path):
    async def main(it):
        await it.put(*[f"u{n}" for n in range(100)])
        await it.until(lambda: it.tally().standing.state == "parked")
        await asyncio.sleep(HOUR)
        assert it.tally().dead < 5
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally()

    tally, _ = run(tmp_path, main, lambda at, *_: OK if at > HOUR else status(404))
    assert tally.delivered + tally.dead == 100


def test_a_403_for_one_user_alone_ends_dead_and_the_others_flow(tmp_path):
    async def main(it):
        await it.put("bad", *[f"u{n}" for n in range(30)])
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally()

    tally, logs = run(tmp_path, main, lambda _at, _n, user, _name: status(403) if user == "bad" else OK)
    assert (tally.delivered, tally.dead) == (30, 1)
    assert [line["reason"] for line in logs if line["event"] == "delivery.died"] == ["status_403"]


@pytest.mark.parametrize("others", [1, 3])
@pytest.mark.parametrize("slow", ["bad", "others"])
def test_a_403_for_one_user_alone_leaves_no_working_destination_parked_in_the_silence_after(tmp_path, slow, others):
    """Whether the others' answers come just before its own or just after: nobody else is left to say that they pass."""

    async def main(it):
        send = it.upstream.send

        async def sending(call, deadline):
            is_bad = b'"bad"' in call.body
            it.upstream.takes = 0.1 if is_bad == (slow == "bad") else 0.01
            return await send(call, deadline)

        it.upstream.send = sending
        await it.put("bad")
        await it.until(lambda: it.tally().standing.state == "parked")
        await it.put(*[f"u{n}" for n in range(others)])
        await it.until(lambda: it.tally().waiting == 0, most=600)
        return it.tally()

    tally, _ = run(tmp_path, main, lambda _at, _n, user, _name: status(403) if user == "bad" else OK)
    assert (tally.delivered, tally.dead, tally.standing.state) == (others, 1, "up")


def autopsied(tmp_path):
    """Everything that is known of the first event, which died."""
    with SqliteReader(tmp_path / "data") as reader:
        return reader.autopsy("there", "event-1")


def test_what_died_keeps_the_call_as_it_was_sent_without_its_credentials(tmp_path):
    async def main(it):
        await it.put("bad", *[f"u{n}" for n in range(3)])
        await it.until(lambda: it.tally().waiting == 0)
        return it

    it, _ = run(tmp_path, main, lambda _at, _n, user, _name: status(400) if user == "bad" else OK)
    found = autopsied(tmp_path)
    assert found.letter.attempts == 1
    kept = json.loads(found.request)
    (sent,) = [call for _, user, _, _, call in it.upstream.calls if user == "bad"]
    assert (kept["method"], kept["url"], kept["body"]) == (sent.method, sent.url, sent.body.decode())
    assert kept["headers"] == {**sent.headers, "authorization": "Bearer ***"}
    assert kept["headers"]["trackgate-event-id"] == "event-1"


def test_a_long_call_is_kept_up_to_a_limit(tmp_path):
    async def main(it):
        long = event(1, user_id="bad", name="x" * 2 * KEPT_OF_A_REQUEST)
        await it.outbox.append([Entry(long, 1, frozenset({"there"}))])
        await it.until(lambda: it.tally().dead == 1)

    run(tmp_path, main, always(status(400)))
    assert len(json.loads(autopsied(tmp_path).request)["body"]) == KEPT_OF_A_REQUEST


def test_what_dies_before_a_call_keeps_none(tmp_path):
    async def main(it):
        await it.put(None)
        await it.until(lambda: it.tally().dead == 1)

    run(tmp_path, main, always(OK))
    assert autopsied(tmp_path).request is None


def test_the_dead_that_an_operator_retries_are_sent_at_once(tmp_path):
    """Though the dispatcher knew of nothing that would fall due, or of something that falls due in hours."""

    async def main(it):
        await it.put("bad", "u1", "slow")
        await it.until(lambda: it.tally().waiting == 1)
        await asyncio.sleep(30)
        before = it.clock.monotonic()
        assert await it.outbox.retry_dead(Selection(destination="there"), 9) == 1
        await it.until(lambda: it.tally().delivered == 2)
        return it.clock.monotonic() - before

    def rule(at, _number, user, _name):
        if user == "slow":
            return status(503, **{"retry-after": "0"})
        return status(400) if user == "bad" and at < 20 else OK

    took, _ = run(tmp_path, main, rule, base=50_000.0, max_delay=90_000.0)
    assert took < 2


def test_those_that_were_turned_away_take_turns_at_probing(tmp_path):
    """After a long outage one user's event alone is turned away; it must not be the only one that is tried."""

    async def main(it):
        await it.put("bad", *[f"u{n}" for n in range(30)])
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally()

    def rule(at, _n, user, _name):
        return status(403) if at < 2 * HOUR or user == "bad" else OK

    tally, _ = run(tmp_path, main, rule, concurrency=2)
    assert (tally.delivered, tally.dead) == (30, 1)


def test_what_was_being_taken_while_its_lane_came_to_be_held_waits_too(tmp_path):
    """The outbox hands out a user's second event just as the first one fails: the order holds."""

    class Slow(Awaited):
        async def take(self, name, limit):
            taken = await self.__getattr__("take")(name, limit)
            await asyncio.sleep(0.5)
            return taken

    async def main(it):
        it.dispatcher._window._outbox = Slow(it.outbox._inner)
        await it.put("u")
        await it.until(lambda: it.upstream.flying["u"] == 1)
        await it.put("u")
        await it.until(lambda: it.tally().delivered == 2)
        return it.upstream.taken()

    taken, _ = run(tmp_path, main, lambda _at, n, *_: OK if n else status(500), takes=0.3, base=5.0)
    assert taken == [("u", "e1"), ("u", "e2")]


def test_large_events_are_brought_in_a_few_at_a_time(tmp_path):
    async def main(it):
        big = [event(n, user_id=f"u{n}", properties={"p": "x" * 2**20}) for n in range(40)]
        await it.outbox.append([Entry(each, lane_of(each), frozenset({"there"})) for each in big])
        most = 0
        while it.tally().delivered < 40:
            most = max(most, it.dispatcher._window.lanes.size)
            await asyncio.sleep(0.05)
        return most

    most, _ = run(tmp_path, main, always(OK), concurrency=1, takes=0.2)
    assert 2**20 < most < 14 * 2**20


def test_what_is_due_and_what_is_new_share_the_memory(tmp_path):
    """After a pause hundreds of held deliveries are due at once, and hundreds of new ones wait in the log."""

    def rule(at, number, user, name):
        if at < 10:
            return status(429, **{"retry-after": "30"}) if at > 5 else OK if number % 2 else status(503)
        return OK

    async def main(it):
        most = 0
        add = it.dispatcher._window.lanes.add

        def measured(deliveries):
            nonlocal most
            add(deliveries)
            most = max(most, len(it.dispatcher._window.lanes))

        it.dispatcher._window.lanes.add = measured
        await it.put(*[f"u{n}" for n in range(600)])
        await it.until(lambda: it.tally().held > 200)
        await it.put(*[f"v{n}" for n in range(600)])
        await it.until(lambda: it.tally().delivered == 1200)
        return most

    most, _ = run(tmp_path, main, rule, base=20)
    assert most <= WINDOW


def test_a_poisonous_event_holds_its_user_for_the_patience_and_nobody_else(tmp_path):
    async def main(it):
        await it.put("u", "u", "u", "v", "v")
        await it.until(lambda: it.tally().delivered == 2)
        assert it.upstream.taken() == [("v", "e4"), ("v", "e5")]
        beats = 0
        while it.tally().delivered < 4 + beats:
            await it.put("w")
            beats += 1
            await asyncio.sleep(60)
            assert it.clock.monotonic() < 2 * HOUR
        return it.upstream.taken(), it.tally()

    (taken, tally), logs = run(tmp_path, main, lambda _at, _n, _user, name: status(500) if name == "e1" else OK)
    assert [name for user, name in taken if user == "u"] == ["e2", "e3"]
    assert tally.waiting == 1
    assert any(line["event"] == "delivery.set_aside" for line in logs)


def test_an_event_that_fails_for_good_while_others_pass_expires(tmp_path):
    async def main(it):
        await it.put("u")
        while it.tally().dead == 0:
            await it.put("v")
            await asyncio.sleep(10 * 60)
            assert it.clock.monotonic() < 2 * DAY
        return it.clock.monotonic()

    ended, logs = run(tmp_path, main, lambda _at, _n, user, _name: status(500) if user == "u" else OK, max_age=DAY)
    assert DAY <= ended <= DAY + 2 * HOUR
    assert [line["reason"] for line in logs if line["event"] == "delivery.died"] == ["expired"]


@pytest.mark.parametrize("stated", ["120", "Sun, 01 Mar 2026 12:02:00 GMT"])
def test_retry_after_pauses_the_whole_destination(tmp_path, stated):
    async def main(it):
        await it.put("u0")
        await it.until(lambda: len(it.upstream.calls) == 1)
        await it.put("u1", "u2")
        await it.until(lambda: it.tally().delivered == 3)
        return it.upstream.calls

    def rule(_at, n, *_):
        return Reply(status=429, headers={"retry-after": stated}, at=event().received_at) if n == 0 else OK

    calls, _ = run(tmp_path, main, rule)
    assert next(at for at, *_ in calls[1:]) >= 119


def test_an_unsayable_event_is_dead_at_once_and_harms_nobody(tmp_path):
    async def main(it):
        nobody = event(99, user_id=None)
        await it.outbox.append([Entry(nobody, lane_of(nobody), frozenset({"there"}))])
        await it.put("u")
        await it.until(lambda: it.tally().waiting == 0)
        with SqliteReader(tmp_path / "data") as reader:
            return it.tally(), reader.find(nobody.id)

    (tally, found), _ = run(tmp_path, main, always(OK))
    assert (tally.delivered, tally.dead) == (1, 1)
    assert "no_user_id" in found.reasons["there"]


def test_a_bug_in_an_encoder_is_dead_with_its_name_and_no_crash_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(type(APPIZER), "encode", lambda *_: 1 / 0)

    async def main(it):
        await it.put("u", "v")
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally().dead

    assert run(tmp_path, main, always(OK))[0] == 2


def test_a_retry_resumes_at_the_call_that_failed(tmp_path):
    """An identify call that went through is not made again when its track call fails."""
    userless = event(1, name="e1", user_id="u", identify=True, properties={"email": "a@example.com"})

    async def main(it):
        await it.outbox.append([Entry(userless, lane_of(userless), frozenset({"there"}))])
        await it.until(lambda: it.tally().delivered == 1)
        return [call.step for call in it.upstream.made]

    class Stepwise:
        def __init__(self):
            self.made = []

        async def send(self, call, deadline):
            self.made.append(call)
            failed = call.step == "track" and len(self.made) == 2
            return status(500) if failed else OK

    async def whole():
        async with bench(tmp_path / "data", always(OK)) as it:
            it.upstream = it.dispatcher._sender._client = Stepwise()
            return await main(it)

    assert simulate(whole()) == ["identify", "track", "track"]


def test_stopping_gives_back_what_was_not_tried_and_the_next_start_goes_on(tmp_path):
    async def main(it):
        await it.put(*[f"u{n}" for n in range(300)])
        await it.until(lambda: it.tally().delivered >= 20)

    run(tmp_path, main, always(OK), concurrency=2, takes=0.2)

    async def rest(it):
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally(), [call.headers["trackgate-event-id"] for *_, call in it.upstream.calls]

    (tally, _), logs = run(tmp_path, rest, always(OK))
    assert tally.delivered == 300
    assert {line["attempt"] for line in logs if line["event"] == "delivery.attempted"} == {1}


def test_a_parked_destination_stays_parked_over_a_restart_and_probes_at_once(tmp_path):
    async def main(it):
        await it.put("u")
        await it.until(lambda: it.tally().standing.state == "parked")
        return it.tally().standing

    standing, _ = run(tmp_path, main, always(status(401)))
    assert standing.state == "parked"

    async def rest(it):
        await it.until(lambda: it.tally().delivered == 1, most=60)
        return it.clock.monotonic()

    assert run(tmp_path, rest, always(OK), standing=standing)[0] < 5


def test_a_rotated_secret_is_read_again_at_a_probe(tmp_path):
    keys = iter(["old", "new", "newer"])
    seen = []

    def target():
        seen.append(next(keys))
        return Target(url="http://127.0.0.1:1", key=seen[-1], options=APPIZER.options())

    async def main(it):
        await it.put("u")
        await it.until(lambda: it.tally().delivered == 1)
        return [call.headers["authorization"] for *_, call in it.upstream.calls]

    sent, _ = run(tmp_path, main, lambda _at, n, *_: OK if n else status(401), target=target)
    assert sent == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=366), timedelta(hours=-1), timedelta(days=-366)])
def test_a_wall_clock_that_jumps_neither_stalls_nor_bursts(tmp_path, jump):
    async def main(it):
        await it.put("u")
        await it.until(lambda: len(it.upstream.calls) == 2)
        it.clock.jump = jump
        start = it.clock.monotonic()
        await it.until(lambda: it.tally().delivered == 1, most=HOUR)
        return it.clock.monotonic() - start, len(it.upstream.calls)

    (took, calls), _ = run(tmp_path, main, lambda _at, n, *_: OK if n >= 6 else status(500))
    assert took < 300
    assert calls == 7


def test_a_wall_clock_that_was_set_back_while_stopped_stalls_for_the_longest_wait_at_most(tmp_path, monkeypatch):
    async def main(it):
        it.clock.jump = timedelta(days=366)
        it.dispatcher._window.timer.__init__(it.clock, 600.0)
        await it.put("u")
        await it.until(lambda: it.tally().held == 1)

    run(tmp_path, main, always(status(500)))

    async def rest(it):
        await it.until(lambda: it.tally().delivered == 1, most=DAY)
        return it.clock.monotonic()

    assert run(tmp_path, rest, always(OK))[0] <= 660


def test_probes_come_as_soon_as_they_are_due(tmp_path):
    """Waits double from one second: the end of a call itself calls for the next look, on every version of asyncio."""

    async def main(it):
        await it.put(*[f"u{n}" for n in range(20)])
        await it.until(lambda: it.tally().delivered == 20)
        return sorted(at for at, *_, answer, _ in it.upstream.calls if answer is not OK)

    times, _ = run(tmp_path, main, lambda at, *_: OK if at > 20 else status(503))
    probes = [at for at in times if at > 0.5]
    assert [round(at) for at in probes] == [1, 3, 7, 15]


@pytest.mark.parametrize("number", [401, 403])
def test_a_rotated_key_that_not_every_machine_knows_yet_kills_nothing(tmp_path, number):
    """An hour without, then one call in three passes for a while: what waited is all delivered."""

    async def main(it):
        await it.put(*[f"u{n}" for n in range(40)])
        await it.until(lambda: it.tally().waiting == 0)
        return it.tally()

    def rule(at, n, *_):
        known = at > HOUR + 120 or (at > HOUR and n % 3 == 0)
        return OK if known else status(number)

    tally, _ = run(tmp_path, main, rule)
    assert (tally.delivered, tally.dead) == (40, 0)


def test_a_full_memory_waits_for_a_call_to_end_and_not_busily(tmp_path):
    """One held event is due while a slow upstream keeps memory full."""
    looks = []

    async def main(it):
        look = it.dispatcher._look

        async def counted():
            looks.append(it.clock.monotonic())
            return await look()

        it.dispatcher._look = counted
        await it.put("u")
        await it.until(lambda: it.tally().held == 1)
        await it.put(*[f"u{n}" for n in range(699)])
        await it.until(lambda: it.tally().delivered == 700)
        return it.upstream.taken()

    taken, _ = run(tmp_path, main, lambda _at, n, *_: OK if n else status(500), concurrency=4, takes=2.0)
    assert len(set(taken)) == 700
    assert len(looks) < 4 * 700


def test_a_pause_that_the_upstream_asked_for_is_told_once(tmp_path):
    async def main(it):
        await it.put("u0", "u1", "u2")
        await it.until(lambda: it.tally().delivered == 3)

    _, logs = run(tmp_path, main, lambda _at, n, *_: OK if n > 2 else status(429, **{"retry-after": "9" * 40}))
    paused = [line for line in logs if line["event"] == "destination.paused"]
    assert [line["seconds"] for line in paused] == [DAY]


def test_nothing_is_started_after_the_stop(tmp_path):
    """A probe whose event comes out of the outbox while we stop is given back, not sent and forgotten."""

    async def main(it):
        outbox = it.dispatcher._window._outbox

        class Slow:
            def __getattr__(self, name):
                return getattr(outbox, name)

            async def take(self, *request):
                taken = await outbox.take(*request)
                await asyncio.sleep(0.5)
                return taken

        it.dispatcher._window._outbox = Slow()
        await it.put("u")
        await asyncio.sleep(0.1)
        await it.dispatcher.stop(5.0)
        return len(it.upstream.calls)

    down = Standing(state="down", reason="status_503")
    assert run(tmp_path, main, always(OK), standing=down)[0] == 0

    async def rest(it):
        await it.until(lambda: it.tally().waiting == 0)

    _, logs = run(tmp_path, rest, always(OK))
    assert [line["attempt"] for line in logs if line["event"] == "delivery.attempted"] == [1]


def test_a_secret_that_is_gone_is_told_and_the_one_at_hand_is_tried(tmp_path):
    turns = itertools.count()

    def target():
        if next(turns) == 1:
            raise OSError("the file is gone")
        return Target(url="http://127.0.0.1:1", key="k", options=APPIZER.options())

    async def main(it):
        await it.put("u")
        await it.until(lambda: it.tally().delivered == 1)

    _, logs = run(tmp_path, main, lambda _at, n, *_: OK if n else status(401), target=target)
    assert [line["event"] for line in logs].count("secret.unreadable") == 1
    assert "gone" not in repr(logs)


def test_a_bug_where_a_reply_is_read_leaves_the_event_owed(tmp_path, monkeypatch):
    real, turns = APPIZER.classify, itertools.count()

    def broken(_vendor, reply):
        return real(reply) if next(turns) else 1 / 0

    monkeypatch.setattr(type(APPIZER), "classify", broken)

    async def main(it):
        await it.put("u")
        await it.until(lambda: it.tally().delivered == 1)
        return it.tally()

    tally, logs = run(tmp_path, main, always(OK))
    assert (tally.retried, tally.dead) == (0, 0)
    assert [line["event"] for line in logs].count("delivery.stumbled") == 1


UNAVAILABLE, BUG = OutboxUnavailable("no"), RuntimeError("a bug")


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        ("take", UNAVAILABLE),
        ("take", BUG),
        ("take_held", UNAVAILABLE),
        ("next_due", UNAVAILABLE),
        ("next_due", BUG),
        ("settle", UNAVAILABLE),
        ("settle", BUG),
        ("stand", UNAVAILABLE),
    ],
)
def test_an_outbox_that_fails_for_a_while_stops_nothing_for_good(tmp_path, verb, error):
    """Each verb fails three times; what was sent is recorded in the end, and sent once."""

    class Failing(Awaited):
        left = 3

        def __getattr__(self, name):
            found = super().__getattr__(name)
            if name != verb:
                return found

            async def failing(*args, **kwargs):
                if Failing.left:
                    Failing.left -= 1
                    raise error
                return await found(*args, **kwargs)

            return failing

    async def main(it):
        its = it.dispatcher
        its._outbox = its._window._outbox = its._settler._outbox = Failing(it.outbox._inner)
        await it.put("u", "v")
        await it.until(lambda: it.tally().delivered == 2)
        return it.upstream.taken()

    taken, _ = run(tmp_path, main, lambda _at, n, *_: OK if n else status(401))
    assert sorted(taken) == [("u", "e1"), ("v", "e2")]


def test_an_outbox_that_goes_on_failing_is_asked_once_a_second(tmp_path):
    """Not as fast as it fails, for all that it says that there is news."""

    class Failing(Awaited):
        asked = 0

        async def take(self, *_):
            Failing.asked += 1
            raise UNAVAILABLE

    async def main(it):
        it.dispatcher._outbox = it.dispatcher._window._outbox = Failing(it.outbox._inner)
        await it.put("u")
        await asyncio.sleep(30)
        return Failing.asked

    asked, _ = run(tmp_path, main, always(OK))
    assert 25 <= asked <= 35


def numbered(taken, user=None):
    return [int(name[1:]) for each, name in taken if user in {None, each}]


def test_a_live_users_event_passes_at_once_while_a_backlog_drains(tmp_path):
    """Four thousand events of sixty users wait after an outage; others come by, and one of the sixty comes again."""

    async def main(it):
        for _ in range(4):
            await it.put(*[f"old{n % 60}" for n in range(1_000)])
        await asyncio.sleep(HOUR)
        await it.until(lambda: it.tally().delivered > 100)
        put = {}
        for n in range(10):
            put[f"e{4_001 + 2 * n}"] = it.clock.monotonic()
            await it.put(f"live{n % 10}", "old0")
            await asyncio.sleep(0.2)
        live = {name: at for at, user, name, _, _ in it.upstream.calls if user.startswith("live")}
        assert live.keys() == put.keys()
        waited = [live[name] - put[name] for name in put]
        left = it.tally().waiting
        await it.until(lambda: it.tally().waiting == 0)
        return waited, left, it.upstream.taken()

    def rule(at, *_):
        return OK if at > HOUR else status(503)

    (waited, left, taken), _ = run(tmp_path, main, rule, takes=0.05)
    assert left > 2_100, "the backlog was still there"
    assert max(waited) < 2.0
    assert len(set(taken)) == len(taken) == 4_020
    for user in {user for user, _ in taken}:
        assert numbered(taken, user) == sorted(numbered(taken, user))
    old = [number for number in numbered(taken) if number <= 4_000]
    assert max(abs(place - number) for place, number in enumerate(old, 1)) < 2 * WINDOW, "the oldest first"


def test_live_events_in_plenty_take_a_fifth_of_the_pace_from_a_backlog(tmp_path):
    async def main(it):
        for _ in range(12):
            await it.put(*[f"old{n}" for n in range(1_000)])
        await it.until(lambda: not it.outbox.has_live("there"))
        await asyncio.sleep(6)  # what came a moment ago is live itself
        await it.put(*[f"live{n}" for n in range(2_000)])
        start, most = it.tally().delivered, 0
        while it.tally().delivered < start + 2_000:
            most = max(most, len(it.dispatcher._window.lanes))
            await asyncio.sleep(0.1)
        then = numbered(it.upstream.taken())[start:]
        return sum(number <= 12_000 for number in then) / len(then), most

    (share, most), _ = run(tmp_path, main, always(OK), takes=0.05)
    assert 0.78 < share < 0.85
    assert most <= WINDOW + LIVE_WINDOW


def test_a_live_event_that_failed_does_not_wait_for_the_backlog_either(tmp_path):
    failed = []

    def rule(_at, _n, user, name):
        if user == "live" and name not in failed:
            failed.append(name)
            return status(500)
        return OK

    async def main(it):
        for _ in range(6):
            await it.put(*[f"old{n}" for n in range(1_000)])
        await it.until(lambda: not it.outbox.has_live("there"))
        await it.put("live", "live", "live")
        await it.until(lambda: len(failed) == 3 and it.tally().held == 0)
        assert it.tally().waiting > 2_000
        return numbered(it.upstream.taken(), "live")

    assert run(tmp_path, main, rule, takes=0.05)[0] == [6_001, 6_002, 6_003]


@pytest.mark.parametrize("rate", [0.5, 10.0, 200.0])
def test_a_rate_is_kept_smoothly_and_used_up(tmp_path, rate):
    async def main(it):
        await it.put(*[f"u{n}" for n in range(300)])
        await asyncio.sleep(100 / rate)
        return [at for at, *_ in it.upstream.calls]

    times, _ = run(tmp_path, main, always(OK), rate=rate, concurrency=32)
    assert 95 <= len(times) <= 100 + max(rate / 10, 1) + 1
    burst = max(rate / 10, 1)
    for first, at in enumerate(times):
        within = sum(at <= later < at + 10 / rate for later in times[first:])
        assert within <= 10 + burst + 1


def test_probes_keep_the_rate_too(tmp_path):
    async def main(it):
        await it.put("u", "v", "w")
        await asyncio.sleep(HOUR)
        return [at for at, *_ in it.upstream.calls]

    times, _ = run(tmp_path, main, always(status(503)), rate=1 / 300, probe=10.0)
    assert len(times) > 8
    assert min(later - at for at, later in itertools.pairwise(times)) >= 299


def test_a_pause_that_the_upstream_asked_for_outlives_a_restart(tmp_path):
    async def main(it):
        await it.put("u0")
        await it.until(lambda: it.tally().standing.paused_until is not None)

    run(tmp_path, main, always(status(429, **{"retry-after": "60"})))

    async def rest(it):
        await it.until(lambda: it.tally().delivered == 1)
        return it.upstream.calls[0][0]

    assert 58 < run(tmp_path, rest, always(OK))[0] < 63


@pytest.mark.parametrize("answer", [status(500), NoReply("timeout"), status(429)], ids=["500", "timeout", "429"])
def test_an_outage_makes_no_storm_while_it_lasts_nor_when_it_ends(tmp_path, answer):
    """A steady stream, a minute of failures, then all is well; eight slots of a second each are the steady rate."""
    begin, end, steady = 20, 80, 8

    async def main(it):
        for second in range(120):
            await it.put(*[f"u{second}-{n}" for n in range(4)])
            await asyncio.sleep(1)
        await it.until(lambda: it.tally().waiting == 0)
        return [at for at, *_ in it.upstream.calls]

    times, _ = run(tmp_path, main, lambda at, *_: answer if begin <= at < end else OK, takes=1.0)
    assert max(sum(at <= other < at + 1 for other in times) for at in times) <= steady
    assert sum(begin + 5 <= at < end for at in times) < 15
    first = next(at for at in times if at >= end)
    growing = [sum(first + n <= at < first + n + 0.99 for at in times) for n in range(4)]
    assert growing[0] == 1, "one probe, then twice as many each time that they come back"
    assert growing == sorted(growing)


def test_one_failure_in_two_makes_no_more_than_twice_the_calls(tmp_path):
    async def main(it):
        for second in range(40):
            await it.put(*[f"u{second}-{n}" for n in range(5)])
            await asyncio.sleep(1)
        await it.until(lambda: it.tally().waiting == 0)
        return [at for at, *_ in it.upstream.calls]

    times, _ = run(tmp_path, main, lambda _at, n, *_: OK if n % 2 else status(500), takes=0.1)
    assert sum(at < 40 for at in times) <= 2 * 5 * 40
