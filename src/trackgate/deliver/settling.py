"""Records what became of one destination's deliveries, and tells it once it is recorded.

One request to the outbox at a time: whatever is judged while that is under way goes with the next, in the order of the
judgements. So the busier a destination is, the more settlements share a commit, and no call waits for one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from trackgate.outbox import STORAGE_PAUSE, Dead, Held, OutboxError, Settlement, Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from trackgate.metrics import Metrics
    from trackgate.model import Clock
    from trackgate.outbox import Outbox

STOPPED = {"down": "went_down", "parked": "parked"}


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

    def add(self, judged: Judged) -> None:
        """Have it recorded, with the next that are."""
        self._judged.append(judged)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record them, however long the outbox takes: what happened upstream cannot be taken back."""
        while True:
            try:
                return await self._outbox.settle(settlements)
            except OutboxError:
                await self._clock.sleep(STORAGE_PAUSE)
            except Exception:  # noqa: BLE001 - what is not settled would be in nobody's hand until the next start
                self._log.exception("settle.stumbled")
                await self._clock.sleep(STORAGE_PAUSE)

    async def idle(self) -> None:
        """Wait until everything that was added is recorded and told. Cancelled, it gives the rest up."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._judged:
            judged, self._judged = self._judged, []
            await self.settle([one.settlement for one in judged])
            try:
                await self._recorded(judged)
            except Exception:  # noqa: BLE001 - they are recorded; those that come after them must be, too
                self._log.exception("settle.stumbled")

    async def _recorded(self, judged: Sequence[Judged]) -> None:
        """Tell them; how the destination stands is remembered, whatever comes of that."""
        try:
            await self._settled(judged)
            for one in judged:
                self._tell(one)
        finally:
            await self._stand(judged)

    async def _stand(self, judged: Sequence[Judged]) -> None:
        """Tell each change in how the destination stands, and remember the last."""
        changes = [(one.stood, one.stands) for one in judged if one.stands is not None]
        for before, after in changes:
            if (after.state, after.reason) != (before.state, before.reason):
                self._tell_change(before, after)
        if changes:
            with suppress(OutboxError):
                await self._outbox.stand(self._name, changes[-1][1])

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
