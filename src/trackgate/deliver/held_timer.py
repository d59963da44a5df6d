"""When the next held delivery of a destination falls due, by a clock that does not jump."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackgate.model import Clock
    from trackgate.outbox import Outbox

NEVER = float("inf")


class HeldTimer:
    """Knows the next due time without asking the outbox each time.

    Due times are wall-clock times, because they outlive the process; inside it they follow the monotonic clock from
    the wall-clock time at the start. Where the first lies further ahead than any wait can be (the wall clock was set
    back between two runs) it is due after the longest wait, and time goes on from there: what lies behind it keeps its
    distance, and what comes to be held meanwhile does not go before it for ever.

    Args:
        clock: both clocks.
        longest: seconds; the longest wait between two tries.

    """

    def __init__(self, clock: Clock, longest: float) -> None:
        self._clock = clock
        self._longest = longest
        self._origin = clock.now() - timedelta(seconds=clock.monotonic())
        self._due: datetime | None = None
        self._due_at = NEVER
        self.stale = True

    @property
    def origin(self) -> datetime:
        """The wall-clock time at which the monotonic clock stood at 0."""
        return self._origin

    def now(self) -> datetime:
        """Wall-clock time that never jumps."""
        return self._origin + timedelta(seconds=self._clock.monotonic())

    def seconds(self) -> float:
        """Until the next held delivery is due; infinite where none waits for a time."""
        return self._due_at - self._clock.monotonic()

    def reached(self) -> datetime:
        """The time to take held deliveries by: now, or a due time that rounding has just not reached."""
        return max(self.now(), self._due) if self._due is not None else self.now()

    async def refresh(self, outbox: Outbox, destination: str) -> None:
        """Ask the outbox, if something changed since the last time."""
        if not self.stale:
            return
        self.stale = False  # before we ask: what changes meanwhile makes it stale again
        try:
            self._due = await outbox.next_due(destination)
        except BaseException:
            self.stale = True
            raise
        if self._due is None:
            self._due_at = NEVER
        else:
            wait = (self._due - self.now()).total_seconds()
            if wait > self._longest:
                self._origin += timedelta(seconds=wait - self._longest)
                wait = self._longest
            self._due_at = self._clock.monotonic() + max(wait, 0.0)
