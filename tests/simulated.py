"""Simulated time: an event loop that, whenever nothing is left to do, jumps to its next timer.

Code under test uses asyncio as it is; days pass in milliseconds. Work on other threads (the outbox's) is waited for:
time only jumps when a short real wait brought nothing.
"""

from __future__ import annotations

import asyncio
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PATIENCE = 0.02
"""Real seconds that another thread gets to wake the loop before time jumps."""


class _JumpingSelector(selectors.DefaultSelector):
    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(5)  # a hang of the code under test shows as a loop without timers
        ready = super().select(min(timeout, PATIENCE))
        if not ready and timeout > PATIENCE:
            self.skipped += timeout - PATIENCE
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return super().time() + self._jumping.skipped


class SimulatedClock:
    """The ``Clock`` that goes with the loop; ``jump`` moves the wall clock alone."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._start = loop.time()
        self.jump = timedelta()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic()) + self.jump

    def monotonic(self) -> float:
        return self._loop.time() - self._start

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def simulate(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on a loop of its own, in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)


def clock() -> SimulatedClock:
    """The clock of the running simulated loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return SimulatedClock(loop)
