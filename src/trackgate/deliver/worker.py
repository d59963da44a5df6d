"""One destination's worker: takes deliveries from the outbox, sends them, settles them. Decisions are ``retry``'s."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from trackgate.deliver.pace import Pace
from trackgate.deliver.send import Tried
from trackgate.deliver.window import Window
from trackgate.model import Retry
from trackgate.outbox import Dead, Delivery, Fate, Held, OutboxError, Settlement, Standing
from trackgate.retry import Moment, RetryPolicy, aged, at_start, judge

if TYPE_CHECKING:
    from collections.abc import Callable

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

STOPPED = {"down": "went_down", "parked": "parked"}

IDLE = 60.0
"""Seconds between two looks when nothing calls for one."""

STORAGE_PAUSE = 1.0
"""Seconds between two tries while the outbox does not answer."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a worker needs to know of its destination."""

    name: str
    concurrency: int
    policy: RetryPolicy
    rate: float | None = None
    """The most deliveries that are started a second."""
    target: Callable[[], Target]
    """Reads the credentials again (a secret in a file may have been rotated)."""


class Worker:
    """Delivers what one destination is owed; it shares nothing with the others."""

    def __init__(
        self, plan: Plan, outbox: Outbox, sender: Sender, clock: Clock, log: FilteringBoundLogger, metrics: Metrics
    ) -> None:
        self._plan = plan
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._log = log.bind(destination=plan.name)
        self._metrics = metrics
        self._window = Window(plan.name, outbox, clock, plan.policy.max_delay, self._settle)
        self._pace = Pace(plan.rate, clock.monotonic())
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._fresh_probes = 0
        self._ended = asyncio.Event()
        self._probed = asyncio.Event()
        self._target = plan.target()
        self._health = at_start(Standing(), plan.concurrency, self._moment())

    @property
    def in_flight(self) -> int:
        """Calls (and settlements) under way."""
        return self._window.lanes.in_flight

    def wake(self, *, held: bool = False) -> None:
        """There may be something to do; ``held``: among what is held."""
        self._window.timer.stale |= held
        self._news.set()

    async def probe_now(self, patience: float) -> Standing:
        """Try a stopped destination with one delivery, if one waits; how it stands then, or after so many seconds."""
        if not self._health.up:
            self._probed.clear()
            self._health = replace(self._health, probe_at=self._clock.monotonic())
            self.wake()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._probed.wait(), patience)
        return self._health.standing

    async def run(self, standing: Standing) -> None:
        """Deliver until ``stop``. ``standing`` is how the destination stood when we last knew."""
        self._health = at_start(standing, self._plan.concurrency, self._moment())
        while not self._stopping:
            self._news.clear()
            seconds = min(await self._look(), self._launch())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), max(seconds, SHORTEST))
        self._ended.set()

    async def stop(self, grace: float) -> None:
        """Start nothing more, let what is in flight end within ``grace`` seconds, give the rest back."""
        self._stopping = True
        self._news.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), grace)
        with suppress(OutboxError):
            await self._outbox.give_back(self._window.lanes.drain())
            await self._outbox.stand(self._plan.name, aged(self._health, self._moment()).standing)

    # --- getting work -----------------------------------------------------------------------------------------

    async def _look(self) -> float:
        """Find something to do; return the seconds until the next look."""
        try:
            return await (self._fill() if self._health.up else self._probe())
        except OutboxError:
            return STORAGE_PAUSE
        except Exception:  # noqa: BLE001 - the outermost edge of a destination: the others must not notice
            self._log.exception("worker.stumbled")
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
        if self._window.lanes.in_flight:
            return IDLE  # the end of the call calls for the next look
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
        launched = self._launch_one(fresh=fresh)
        self._fresh_probes += fresh and launched
        return launched

    def _renew_target(self) -> None:
        try:
            self._target = self._plan.target()
        except (OSError, ValueError) as error:
            self._log.warning("secret.unreadable", error=type(error).__name__)

    # --- sending ----------------------------------------------------------------------------------------------

    def _launch(self) -> float:
        """Start as many deliveries as may be in flight; the seconds until the rate allows more, if that is why not."""
        now = self._clock.monotonic()
        if not self._health.up or self._stopping or self._health.paused_until > now:
            return IDLE
        while self._window.lanes.in_flight < self._health.slots:
            wait = self._pace.wait(now)
            if wait > 0:
                return wait
            if not self._launch_one():
                break
        if self._window.wants():
            self._news.set()
        return IDLE

    def _launch_one(self, *, fresh: bool = False) -> bool:
        delivery = None if self._stopping else self._window.start(fresh=fresh)
        if delivery is None:
            return False
        self._pace.started()
        task = asyncio.create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _deliver(self, delivery: Delivery) -> None:
        """One delivery from the call to its settlement; its lane is busy until both are done."""
        try:
            tried = await self._try(delivery)
            delivery = replace(delivery, step=tried.step)
            before = self._health.standing
            fate = self._judge(tried, delivery)
            after = self._health.standing
            await self._settle([Settlement(delivery=delivery, fate=fate, attempts=tried.attempts)])
            if isinstance(fate, Held) and not fate.aside:
                await self._window.hold_followers(delivery)
            self._window.timer.stale |= delivery.held or isinstance(fate, Held)
            self._tell(delivery, tried, fate)
            await self._stand(before, after)
        finally:
            self._window.lanes.release(delivery)
            self._probed.set()
            if (
                self._launch() < IDLE
                or self._window.timer.stale
                or self._window.timer.seconds() <= 0
                or not self._health.up
            ):
                self._news.set()

    async def _try(self, delivery: Delivery) -> Tried:
        try:
            return await self._sender.attempt(delivery, self._target)
        except Exception:  # noqa: BLE001 - the outermost edge of a delivery: it stays owed
            self._log.exception("delivery.stumbled", event_id=delivery.event.id)
            return Tried(Retry("internal_error"), delivery.step)

    def _judge(self, tried: Tried, delivery: Delivery) -> Fate:
        if isinstance(tried.result, Dead):
            return tried.result
        moment = self._moment()
        verdict = judge(tried.result, delivery, self._health, self._plan.policy, moment)
        if self._health.paused_until <= moment.monotonic < verdict.health.paused_until:
            seconds = round(verdict.health.paused_until - moment.monotonic)
            self._log.warning("destination.paused", seconds=seconds)
        self._health = verdict.health
        if isinstance(verdict.fate, Dead) and tried.call is not None:
            return replace(verdict.fate, request=self._sender.shown(tried.call))
        return verdict.fate

    async def _settle(self, settlements: list[Settlement]) -> None:
        """Record it, however long the outbox takes: what happened upstream cannot be taken back."""
        while True:
            try:
                return await self._outbox.settle(settlements)
            except OutboxError:
                await self._clock.sleep(STORAGE_PAUSE)
            except Exception:  # noqa: BLE001 - what is not settled would be in nobody's hand until the next start
                self._log.exception("settle.stumbled")
                await self._clock.sleep(STORAGE_PAUSE)

    async def _stand(self, before: Standing, after: Standing) -> None:
        """Tell and remember it if an outcome made the destination stand otherwise."""
        if (after.state, after.reason) != (before.state, before.reason):
            self._tell_of(before, after)
        elif after.paused_until == before.paused_until:
            return
        with suppress(OutboxError):
            await self._outbox.stand(self._plan.name, after)

    def _tell_of(self, before: Standing, after: Standing) -> None:
        if after.state == "up":
            self._fresh_probes = 0
            self._log.info("destination.resumed", was=before.state)
        else:
            self._log.warning(f"destination.{STOPPED[after.state]}", reason=after.reason, advice=_advice(after))

    def _tell(self, delivery: Delivery, tried: Tried, fate: Fate) -> None:
        ids = {"event_id": delivery.event.id, "source": delivery.event.source}
        for attempt in tried.attempts:
            self._metrics.attempted(self._plan.name, attempt.outcome, attempt.duration)
            tell = self._log.info if attempt.reason is None else self._log.warning
            tell(
                "delivery.attempted",
                **ids,
                step=attempt.step,
                attempt=delivery.attempts + 1,
                outcome=attempt.outcome,
                reason=attempt.reason,
                status=attempt.status,
                ms=round(attempt.duration * 1000, 1),
                notes=tried.notes,
            )
        if isinstance(fate, Dead):
            self._log.warning("delivery.died", **ids, reason=fate.reason, detail=fate.detail or None)
        elif isinstance(fate, Held) and fate.aside and not delivery.aside:
            self._log.warning("delivery.set_aside", **ids, reason=fate.reason)

    def _moment(self) -> Moment:
        return Moment(self._window.timer.now(), self._clock.monotonic(), random.random())  # noqa: S311 - jitter, no secret


def _advice(standing: Standing) -> str:
    if standing.state == "down":
        return "the upstream does not answer as it should; events wait and are sent when it does"
    return "look at this destination's key and url; events wait, and a probe finds out by itself when it is mended"
