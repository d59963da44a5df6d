"""One destination's dispatcher: takes deliveries from the outbox, sends and settles them. Decisions are ``retry``'s."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from trackgate.deadlines import Deadlines
from trackgate.deliver.pace import Pace
from trackgate.deliver.send import Tried
from trackgate.deliver.settling import Judged, Settler
from trackgate.deliver.window import Window
from trackgate.model import Retry
from trackgate.outbox import STORAGE_PAUSE, Dead, Delivery, Fate, Held, OutboxError, Settlement, Standing
from trackgate.retry import Moment, RetryPolicy, aged, at_start, hurried, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from structlog.typing import FilteringBoundLogger

    from trackgate.deliver.send import Sender
    from trackgate.metrics import Metrics
    from trackgate.model import Clock
    from trackgate.outbox import Outbox
    from trackgate.vendor import Target

FRESH_PROBES = 32
"""While stopped, this many probes may bring in an event that was never tried, by turns with the held ones. Then few do:
each makes its lane a held one, which is dearer to drain."""

FRESH_LATER = 64
"""From then on one probe in so many: those who wait behind many poisonous events are reached in the end, too."""

SHORTEST = 0.001
"""Seconds between two looks, at least."""

CARRIED = 4
"""Deliveries that are carried at once, at most, as a multiple of the calls in flight that are configured: those calls,
and what was answered and is not settled yet. So many may be sent twice after a ``kill -9``, and at so many a storage
that does not answer stops the calls."""

IDLE = 60.0
"""Seconds between two looks when nothing calls for one."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a dispatcher needs to know of its destination."""

    name: str
    concurrency: int
    policy: RetryPolicy
    rate: float | None = None
    """The most deliveries that are started a second."""
    target: Callable[[], Target]
    """Reads the credentials again (a secret in a file may have been rotated)."""
    known_target: Target | None = None
    """What it said before, for as long as it says nothing; ``None``: then there is no dispatcher."""


class Dispatcher:
    """Delivers what one destination is owed; it shares nothing with the others."""

    def __init__(
        self, plan: Plan, outbox: Outbox, sender: Sender, clock: Clock, log: FilteringBoundLogger, metrics: Metrics
    ) -> None:
        self._plan = plan
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._log = log.bind(destination=plan.name)
        self._settler = Settler(plan.name, outbox, clock, self._log, metrics, self._settled)
        self._window = Window(plan.name, outbox, clock, plan.policy.max_delay, self._settler.settle)
        self._pace = Pace(plan.rate, clock.monotonic())
        self._news = asyncio.Event()
        self._deadlines = Deadlines()
        self._in_vain = False  # the last look into the outbox failed: the next one is not made at once
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0
        self._stopping = False
        self._fresh_probes = 0
        self._ended = asyncio.Event()
        self._probed = asyncio.Event()
        if plan.known_target is None:
            self._target = plan.target()
        else:
            self._target = plan.known_target
            self._renew_target()
        self._health = at_start(Standing(), plan.concurrency, self._moment())

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._calls

    def wake(self, *, held: bool = False) -> None:
        """There may be something to do; ``held``: among what is held."""
        self._window.timer.stale |= held
        self._news.set()

    async def probe_now(self, patience: float) -> Standing:
        """Try a stopped destination with one delivery, if one waits; how it stands then, or after so many seconds.

        The pause that its upstream asked for is ended; where it is up, everything flows.
        """
        moment = self._moment()
        if not self._stopping and not self._flows(moment.monotonic):
            self._probed.clear()
            self._health = hurried(self._health, moment)
            self._settler.remember(self._health.standing)
            self.wake()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._settler.remembered()
                    await self._probed.wait()
        return self._health.standing

    async def run(self, standing: Standing) -> None:
        """Deliver until ``stop``. ``standing`` is how the destination stood when we last knew."""
        self._health = at_start(standing, self._plan.concurrency, self._moment())
        while not self._stopping:
            self._news.clear()
            seconds = min(await self._look(), self._launch(self._clock.monotonic()))
            if self._health.up and not self._window.lanes.busy:
                self._probed.set()  # no answer will come
            with suppress(TimeoutError), self._deadlines.within(max(seconds, SHORTEST)):
                await self._news.wait()
        self._ended.set()

    async def stop(self, grace: float) -> None:
        """Start nothing more, let the calls in flight end within ``grace`` seconds, give back what was not tried.

        What was answered is settled, for which the storage has as long again.
        """
        self._stopping = True
        self._news.set()
        await _end(self._tasks, grace)
        await _end({asyncio.ensure_future(self._settler.idle()), asyncio.ensure_future(self._ended.wait())}, grace)
        with suppress(OutboxError):
            await self._outbox.give_back(self._window.lanes.drain())
            await self._outbox.stand(self._plan.name, aged(self._health, self._moment()).standing)

    # --- getting work -----------------------------------------------------------------------------------------

    async def _look(self) -> float:
        """Find something to do; return the seconds until the next look."""
        self._in_vain = False
        try:
            return await (self._fill() if self._health.up else self._probe())
        except OutboxError:
            self._in_vain = True
        except Exception:  # noqa: BLE001 - the outermost edge of a destination: the others must not notice
            self._in_vain = True
            self._log.exception("destination.stumbled")
        return STORAGE_PAUSE

    async def _fill(self) -> float:
        pause = self._health.paused_until - self._clock.monotonic()
        if pause > 0:
            return pause
        await self._window.fill()
        return min(max(self._window.timer.seconds(), 0.0), IDLE) if self._window.hungry() else IDLE

    async def _probe(self) -> float:
        """While stopped: at the appointed time, one delivery; of a lane that failed and of others by turns."""
        now = self._clock.monotonic()
        wait = max(self._health.probe_at - now, self._pace.wait(now))
        if self._window.lanes.busy:
            return IDLE  # the settlement of what is under way calls for the next look
        if wait > 0:
            return wait
        self._renew_target()
        fresh = self._health.probes % (2 if self._fresh_probes < FRESH_PROBES else FRESH_LATER) == 0
        found = await self._find(fresh=fresh) or await self._find(fresh=not fresh)
        if not found:
            self._probed.set()
        return self._plan.policy.probe if found else IDLE

    async def _find(self, *, fresh: bool) -> bool:
        """Launch a probe: an event that was never tried, or the held one that waited longest."""
        await self._window.fill_one(fresh=fresh)
        probe = self._start(fresh=fresh)
        if probe is None:
            return False
        self._fresh_probes += fresh
        self._open_slot(probe)
        return True

    def _renew_target(self) -> None:
        try:
            self._target = self._plan.target()
        except (OSError, ValueError) as error:
            self._log.warning("secret.unreadable", error=type(error).__name__)

    # --- sending ----------------------------------------------------------------------------------------------

    def _launch(self, now: float) -> float:
        """Start as many deliveries as may be; the seconds until the rate allows more.

        ``now`` is one for all: between two looks at the clock a wait can end.
        """
        if not self._flows(now):
            return IDLE
        while (delivery := self._next(now)) is not None:
            self._open_slot(delivery)
        if self._window.wants() and not self._in_vain:
            self._news.set()
        return self._pace.wait(now) or IDLE

    def _flows(self, now: float) -> bool:
        return self._health.up and not self._stopping and self._health.paused_until <= now

    def _next(self, now: float) -> Delivery | None:
        """Hand out the next delivery, if its call may start now."""
        if self._calls >= self._health.slots or self._window.lanes.busy >= CARRIED * self._plan.concurrency:
            return None
        return self._start() if self._flows(now) and self._pace.wait(now) <= 0 else None

    def _start(self, *, fresh: bool = False) -> Delivery | None:
        delivery = None if self._stopping else self._window.start(fresh=fresh)
        if delivery is not None:
            self._pace.started()
            self._calls += 1
        return delivery

    def _open_slot(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery | None) -> None:
        """Make one call after the other while there is one to make; their lanes are busy until they are settled."""
        while delivery is not None:
            try:
                tried = await self._try(delivery)
                self._settler.add(self._judge(tried, delivery))
            except BaseException:
                self._window.lanes.release(delivery)
                self._news.set()
                raise
            finally:
                self._calls -= 1
            now = self._clock.monotonic()
            delivery = self._next(now)
            if self._launch(now) < IDLE:
                self._news.set()

    async def _try(self, delivery: Delivery) -> Tried:
        try:
            return await self._sender.attempt(delivery, self._target)
        except Exception:  # noqa: BLE001 - the outermost edge of a delivery: it stays owed
            self._log.exception("delivery.stumbled", event_id=delivery.event.id)
            return Tried(Retry("internal_error"), delivery.step)

    def _judge(self, tried: Tried, delivery: Delivery) -> Judged:
        if tried.step != delivery.step:
            delivery = replace(delivery, step=tried.step)
        stood = self._health.standing
        settlement = Settlement(delivery=delivery, fate=self._fate(tried, delivery), attempts=tried.attempts)
        stands = self._health.standing
        if self._health.up:
            self._fresh_probes = 0
        changed = (stands.state, stands.reason, stands.paused_until) != (stood.state, stood.reason, stood.paused_until)
        return Judged(settlement=settlement, notes=tried.notes, stood=stood, stands=stands if changed else None)

    def _fate(self, tried: Tried, delivery: Delivery) -> Fate:
        if isinstance(tried.result, Dead):
            return tried.result
        moment = self._moment()
        verdict = judge(tried.result, delivery, self._health, self._plan.policy, moment)
        if self._health.paused_until <= moment.monotonic < verdict.health.paused_until:
            seconds = round(verdict.health.paused_until - moment.monotonic)
            advice = f"its vendor asked for it (Retry-After); trackgate resume {self._plan.name} ends it"
            self._log.warning("destination.paused", seconds=seconds, advice=advice)
        self._health = verdict.health
        if isinstance(verdict.fate, Dead) and tried.call is not None:
            return replace(verdict.fate, request=self._sender.shown(tried.call))
        return verdict.fate

    async def _settled(self, judged: Sequence[Judged]) -> None:
        """They are recorded: what waits behind a held one has to wait in the outbox, and their lanes may go on."""
        settlements = [one.settlement for one in judged]
        held = [one.delivery for one in settlements if isinstance(one.fate, Held) and not one.fate.aside]
        timer = self._window.timer
        try:
            await self._window.hold_followers(held)
        finally:
            timer.stale |= any(one.delivery.held or isinstance(one.fate, Held) for one in settlements)
            for one in settlements:
                self._window.lanes.release(one.delivery)
            self._probed.set()
            launched = self._launch(self._clock.monotonic())
            if launched < IDLE or timer.stale or timer.seconds() <= 0 or not self._health.up:
                self._news.set()

    def _moment(self) -> Moment:
        return Moment(self._window.timer.origin, self._clock.monotonic(), random.random())  # noqa: S311 - jitter, no secret


async def _end(tasks: Collection[asyncio.Task[Any]], grace: float) -> None:
    """Wait for them for so many seconds; cancel those that have not ended by then."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
