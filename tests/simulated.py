"""Simulated time: an event loop that, whenever nothing is left to do, jumps to its next timer.

Code under test uses asyncio as it is; days pass in milliseconds. While somebody waits for another thread (``awaited``
wraps what has one, such as an outbox) time stands still.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GUARD = 20.0
"""Real seconds after which a loop that nothing wakes is given up."""


class _JumpingSelector(selectors.DefaultSelector):
    skipped = 0.0
    awaited = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or (timeout > 0 and self.awaited):
            ready = super().select(GUARD)
            assert ready, "nothing is left to do, and nobody wakes the loop"
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            self.skipped += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return super().time() + self.jumping.skipped

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as the base has it
        """Without the timeout of newer Pythons: simulated, it is over before a thread can end."""
        await super().shutdown_default_executor()


class Awaited:
    """Something with a thread of its own: while one of its coroutines runs, simulated time stands still."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def counted(*args: Any, **kwargs: Any) -> Any:
            assert isinstance(self._loop, SimulatedLoop)
            self._loop.jumping.awaited += 1
            try:
                return await found(*args, **kwargs)
            finally:
                self._loop.jumping.awaited -= 1

        return counted


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
