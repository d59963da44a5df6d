"""Destinations at work over one real outbox, with made-up upstreams, in simulated time; it can stop and crash."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from msgspec import Struct

from tests.made import event
from tests.outboxes.kinds import Sqlite
from tests.simulated import Awaited, SimulatedClock, clock
from trackgate import vendors
from trackgate.deliver.dispatcher import Dispatcher, Plan
from trackgate.deliver.send import Sender
from trackgate.headers import EVENT_ID
from trackgate.ingest.intake import lane_of
from trackgate.metrics import Metrics
from trackgate.model import Event, NoReply, Reply
from trackgate.outbox import Dedupe, DestinationTally, Entry, Found, Standing
from trackgate.retry import RetryPolicy
from trackgate.units import Duration
from trackgate.vendor import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, MutableMapping

    from trackgate.model import Call


APPIZER = vendors.load()["appizer"]
HOUR, DAY = 3600.0, 86_400.0
THERE = "there"
TIMEOUT = 10.0
"""Seconds that a call may take, all told."""

OK = Reply(status=200, body=b'{"success":true}')
ANSWER_LOST = NoReply("timeout", "stored, and then the connection hung")
"""The upstream has the event, and we never hear of it."""

AMPLE: dict[str, Any] = {"max_backlog": 2**40, "retention": 1000 * DAY, "dedupe_window": 1000 * DAY}


def status(number: int, **headers: str) -> Reply:
    return Reply(status=number, headers=headers)


def always(answer: Reply | NoReply) -> Rule:
    return lambda _made: answer


class Made(Struct, frozen=True):
    """A call that was made: when (seconds of simulated time), for which event of which user, and how often before."""

    at: float
    user: str
    number: int
    tries: int
    key: str


Rule = Callable[[Made], Reply | NoReply]
"""What an upstream answers to a call."""


class Upstream:
    """Answers each call by its rule once ``takes`` seconds have passed; a timeout takes as long as we wait."""

    def __init__(self, time: SimulatedClock, rule: Rule, takes: float) -> None:
        self.rule = rule
        self.takes = takes
        self.calls = 0
        self.duplicates = 0
        self.per_second: Counter[int] = Counter()
        self.taken_at = array("d")
        """By the event's number: when it was first taken; infinite where it was not."""
        self.turns = array("q")
        """By the event's number: the how manieth call brought it first."""
        self._tries = array("H")
        self._time = time

    def expect(self, count: int) -> None:
        """Room for so many more events."""
        self.taken_at.extend([math.inf] * count)
        self.turns.extend([0] * count)
        self._tries.extend([0] * count)

    def taken(self) -> list[int]:
        """The numbers of the events that are there, in the order in which they came first."""
        return sorted((n for n, turn in enumerate(self.turns) if turn), key=lambda n: self.turns[n])

    def most_calls(self, since: float, until: float = math.inf) -> int:
        """The busiest second's, of a span."""
        return max((n for second, n in self.per_second.items() if since <= second < until), default=0)

    async def send(self, call: Call, deadline: float) -> Reply | NoReply:
        number = int(call.headers[EVENT_ID].removeprefix("event-"))
        at = self._time.monotonic()
        self.calls += 1
        self.per_second[int(at)] += 1
        user = call.body.partition(b'"user_id":"')[2].partition(b'"')[0].decode()
        answer = self.rule(Made(at, user, number, self._tries[number], call.headers.get("authorization", "")))
        self._tries[number] += 1
        if answer is OK or answer is ANSWER_LOST:
            if self.turns[number]:
                self.duplicates += 1
            else:
                self.turns[number] = self.calls
                self.taken_at[number] = at
        await asyncio.sleep(deadline if isinstance(answer, NoReply) and answer.reason == "timeout" else self.takes)
        return answer

    async def close(self) -> None:
        pass


class World:
    """One outbox, a dispatcher and an upstream for each rule."""

    def __init__(
        self,
        place: Any,
        rules: Mapping[str, Rule],
        *,
        concurrency: int,
        takes: float,
        target: Callable[[], Target] | None,
        limits: Mapping[str, Any],
        policy: Mapping[str, float],
    ) -> None:
        self.clock = clock()
        self.upstreams = {name: Upstream(self.clock, rule, takes) for name, rule in rules.items()}
        self.users: list[str] = []
        """By the event's number."""
        self.put_at = array("d")
        """By the event's number: when it was accepted."""
        self.log: list[dict[str, Any]] = []
        """What was said, but for the attempts; ``at`` is added, in seconds."""
        self.dispatchers: dict[str, Dispatcher] = {}
        self._disk = Sqlite(place)
        self._disk.clock = self.clock  # type: ignore[assignment]
        self._limits = {**AMPLE, **limits}
        self._concurrency = concurrency
        self._target = target or (lambda: Target(url="http://127.0.0.1:1", key="k", options=APPIZER.options()))
        self._policy = RetryPolicy(**{name: Duration(value) for name, value in policy.items()})
        self._running: list[asyncio.Task[None]] = []

    # --- its life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """As the program starts: the outbox, then the dispatchers, as their destinations stood."""
        self.outbox: Any = Awaited(await self._disk.open(**self._limits))
        self.metrics = Metrics(self.outbox.ledger, self.clock)
        logger = structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._hear])
        for name, upstream in self.upstreams.items():
            plan = Plan(name=name, concurrency=self._concurrency, policy=self._policy, target=self._target)
            sender = Sender(APPIZER, upstream, self.clock, TIMEOUT)
            self.dispatchers[name] = Dispatcher(plan, self.outbox, sender, self.clock, logger, self.metrics)
        self.outbox.on_append(self._wake)
        known = self.outbox.ledger().destinations
        self._running = [
            asyncio.create_task(dispatcher.run(known[name].standing if name in known else Standing()))
            for name, dispatcher in self.dispatchers.items()
        ]

    async def stop(self) -> None:
        """As SIGTERM: what is in flight ends."""
        await asyncio.gather(*(dispatcher.stop(TIMEOUT) for dispatcher in self.dispatchers.values()))
        await asyncio.gather(*self._running)
        await self.outbox.close()

    async def crash(self) -> None:
        """As a kill: what was in flight is never settled, whatever the upstream made of it."""
        while self.clock._loop.jumping.awaited:
            await asyncio.sleep(0)
        self._disk.crash()
        for dispatcher in self.dispatchers.values():
            dispatcher._stopping = True
        settling = [dispatcher._settler._task for dispatcher in self.dispatchers.values()]
        calling = [task for dispatcher in self.dispatchers.values() for task in dispatcher._tasks]
        left = [*self._running, *calling, *filter(None, settling)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.outbox.close()

    async def restart(self, *, crash: bool = False, jump: timedelta = timedelta()) -> None:
        """Stop (or crash) and start again; the wall clock may have been set meanwhile."""
        await (self.crash() if crash else self.stop())
        self.clock.jump += jump
        await self.start()

    def _wake(self, owed: frozenset[str]) -> None:
        for name in owed:
            self.dispatchers[name].wake()

    def _hear(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
        if line["event"] != "delivery.attempted":
            self.log.append({"at": self.clock.monotonic(), **line})
        raise structlog.DropEvent

    # --- what is put in and seen ----------------------------------------------------------------------------------

    async def put(self, *users: str, keyed: bool = False) -> list[str]:
        """Accept an event of each of these users, owed to every destination; the ids of what was stored anew."""
        first = len(self.users)
        made = [self._event(first + place, user) for place, user in enumerate(users)]
        self.users += users
        self.put_at.extend([self.clock.monotonic()] * len(users))
        for upstream in self.upstreams.values():
            upstream.expect(len(users))
        owed = frozenset(self.upstreams)
        entries = [Entry(each, lane_of(each), owed, dedupe=self._key(each) if keyed else None) for each in made]
        return [one.id for one in await self.outbox.append(entries) if not one.duplicate]

    async def repeat(self, number: int) -> bool:
        """Send event ``number`` again under its key; whether it was known as a repeat."""
        made = self._event(number, self.users[number])
        again = Entry(made, lane_of(made), frozenset(self.upstreams), dedupe=self._key(made))
        return bool((await self.outbox.append([again]))[0].duplicate)

    def _event(self, number: int, user: str) -> Event:
        return event(number, name=f"e{number}", user_id=user, received_at=self.clock.now())

    def _key(self, made: Event) -> Dedupe:
        return Dedupe(f"key-{made.id}", b"the same")

    def tally(self, name: str = THERE) -> DestinationTally:
        found: DestinationTally = self.outbox.ledger().destinations.get(name, DestinationTally())
        return found

    def said(self, what: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == what]

    async def until(self, condition: Callable[[], bool], most: float = 30 * DAY) -> float:
        """Let simulated time pass until it holds; the seconds that took."""
        start = self.clock.monotonic()
        while not condition():
            assert self.clock.monotonic() < start + most, {name: self.tally(name) for name in self.upstreams}
            waited = self.clock.monotonic() - start
            await asyncio.sleep(0.05 if waited < 5 else 1.0 if waited < HOUR else 60.0)
        return self.clock.monotonic() - start

    async def settled(self, most: float = 30 * DAY) -> float:
        """Let time pass until nothing is owed any more; the seconds that took."""
        return await self.until(lambda: not any(self.tally(name).waiting for name in self.upstreams), most)

    def delays(self, since: float, until: float, name: str = THERE) -> list[float]:
        """From acceptance to the upstream, of the events accepted in a span, in rising order."""
        there = self.upstreams[name].taken_at
        return sorted(there[n] - at for n, at in enumerate(self.put_at) if since <= at < until)

    def find(self, number: int) -> Found | None:
        """What became of an event."""
        return self._disk.find(f"event-{number}")

    def lost(self) -> int:
        """How many deliveries are owed, never came and are nowhere to be found: neither due, held nor dead."""
        lost = 0
        for name, upstream in self.upstreams.items():
            for number in (n for n, turn in enumerate(upstream.turns) if not turn):
                found = self.find(number)
                lost += found is None or found.fates.get(name) not in {"due", "held", "dead"}
        return lost

    def out_of_order(self, name: str = THERE) -> int:
        """How many events came first after a later one of the same user."""
        last: dict[str, int] = {}
        wrong = 0
        for number in self.upstreams[name].taken():
            user = self.users[number]
            wrong += last.get(user, -1) > number
            last[user] = max(last.get(user, -1), number)
        return wrong


@asynccontextmanager
async def world(
    place: Any,
    rule: Rule | Mapping[str, Rule],
    *,
    concurrency: int = 8,
    takes: float = 0.01,
    target: Callable[[], Target] | None = None,
    limits: Mapping[str, Any] | None = None,
    **policy: float,
) -> AsyncIterator[World]:
    """A world at work; one destination named ``there`` where there is one rule."""
    rules = {THERE: rule} if callable(rule) else rule
    made = World(place, rules, concurrency=concurrency, takes=takes, target=target, limits=limits or {}, policy=policy)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def percentile(rising: list[float], share: float) -> float:
    """Of values in rising order."""
    return rising[min(int(len(rising) * share), len(rising) - 1)]
