"""Records what became of one destination's deliveries, and tells it once it is recorded.

One request to the outbox at a time: whatever is judged while that is under way goes with the next, in the order of the
judgements. So the busier a destination is, the more settlements share a commit, and no call waits for one. A standing
is recorded beside them: where that fails, they go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from trackgate.outbox import STORAGE_PAUSE, Dead, Held, OutboxError, Settlement, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from trackgate.metrics import Metrics
    from trackgate.model import Clock
    from trackgate.outbox import Outbox

STOPPED = {"down": "went_down", "parked": "parked"}

Result = TypeVar("Result")


class Judged(Struct, frozen=True, kw_only=True):
    """A try whose outcome was judged; ``notes`` are the codes of the conversion.

    ``stood`` and ``stands`` are how the destination stood before the judgement and after it; ``stands`` is ``None``
    where there is nothing to remember of it.
    """

    settlement: Settlement
    notes: tuple[str, ...] = ()
    stood: Standing
    stands: Standing | None = None


class Settler:
    """The settlements of one destination.

    Args:
        name: the destination's.
        outbox: where they are recorded.
        clock: the time.
        log: bound to the destination.
        metrics: count the attempts.
        settled: called with those that were recorded, the oldest first, before they are told.

    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: Metrics,
        settled: Callable[[Sequence[Judged]], Awaitable[None]],
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._settled = settled
        self._judged: list[Judged] = []
        self._task: asyncio.Task[None] | None = None
        self._standing = Standing()  # the newest, recorded once ``_remembering`` is done
        self._remembering: asyncio.Task[None] | None = None

    def add(self, judged: Judged) -> None:
        """Have it recorded, with the next that are."""
        if judged.stands is not None:
            self.remember(judged.stands)
        self._judged.append(judged)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record them, however long the outbox takes: what happened upstream cannot be taken back."""
        await self._insist(lambda: self._outbox.settle(settlements))

    def remember(self, standing: Standing) -> None:
        """Have it recorded how the destination stands; what was not recorded by then need not be any more."""
        self._standing = standing
        if self._remembering is None or self._remembering.done():
            self._remembering = asyncio.create_task(self._remember())

    async def remembered(self) -> None:
        """Wait until the standing is recorded."""
        if self._remembering is not None:
            await asyncio.wait([self._remembering])

    async def idle(self) -> None:
        """Wait until everything that was added is recorded and told. Cancelled, it gives the rest up."""
        await asyncio.gather(*(each for each in (self._task, self._remembering) if each is not None))

    async def _insist(self, record: Callable[[], Awaitable[Result]]) -> Result:
        while True:
            try:
                return await record()
            except OutboxError:
                await self._clock.sleep(STORAGE_PAUSE)
            except Exception:  # noqa: BLE001 - what is not recorded would be in nobody's hand until the next start
                self._log.exception("settle.stumbled")
                await self._clock.sleep(STORAGE_PAUSE)

    async def _remember(self) -> None:
        recorded = None
        while recorded is not self._standing:
            recorded = await self._insist(self._stand)

    async def _stand(self) -> Standing:
        standing = self._standing
        await self._outbox.stand(self._name, standing)
        return standing

    async def _run(self) -> None:
        while self._judged:
            judged, self._judged = self._judged, []
            await self.settle([one.settlement for one in judged])
            try:
                await self._recorded(judged)
            except Exception:  # noqa: BLE001 - they are recorded; those that come after them must be, too
                self._log.exception("settle.stumbled")

    async def _recorded(self, judged: Sequence[Judged]) -> None:
        """Tell them; each change in how the destination stands is told, whatever comes of that."""
        try:
            await self._settled(judged)
            for one in judged:
                self._tell(one)
        finally:
            self._tell_changes(judged)

    def _tell_changes(self, judged: Sequence[Judged]) -> None:
        for one in judged:
            before, after = one.stood, one.stands
            if after is not None and (after.state, after.reason) != (before.state, before.reason):
                self._tell_change(before, after)

    def _tell_change(self, before: Standing, after: Standing) -> None:
        if after.state == "up":
            self._log.info("destination.resumed", was=before.state)
        else:
            self._log.warning(f"destination.{STOPPED[after.state]}", reason=after.reason, advice=_advice(after))

    def _tell(self, judged: Judged) -> None:
        settlement = judged.settlement
        delivery, fate = settlement.delivery, settlement.fate
        event_id, source = delivery.event.id, delivery.event.source
        for attempt in settlement.attempts:
            self._metrics.attempted(self._name, attempt.outcome, attempt.duration)
            tell = self._log.info if attempt.reason is None else self._log.warning
            tell(
                "delivery.attempted",
                event_id=event_id,
                source=source,
                step=attempt.step,
                attempt=delivery.attempts + 1,
                outcome=attempt.outcome,
                reason=attempt.reason,
                status=attempt.status,
                ms=round(attempt.duration * 1000, 1),
                notes=judged.notes,
            )
        if isinstance(fate, Dead):
            self._log.warning(
                "delivery.died", event_id=event_id, source=source, reason=fate.reason, detail=fate.detail or None
            )
        elif isinstance(fate, Held) and fate.aside and not delivery.aside:
            self._log.warning("delivery.set_aside", event_id=event_id, source=source, reason=fate.reason)


def _advice(standing: Standing) -> str:
    if standing.state == "down":
        return "the upstream does not answer as it should; events wait and are sent when it does"
    return "look at this destination's key and url; events wait, and a probe notices by itself when it is fixed"
