"""One timer for many deadlines: where each call has one, a timer of the event loop's own for each is dear."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """Those that run, on the event loop that runs."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def within(self, seconds: float) -> Deadline:
        """What the running task enters a block with that may take so many seconds; beyond it is cancelled.

        Raises:
            TimeoutError: from the block, in the place of the cancellation, as ``asyncio.timeout`` does.

        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # else the timer would be one of a loop that has ended
            self._loop, self._timer, self._running = loop, None, set()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel")
        return Deadline(self, task, loop.time() + seconds)

    def begin(self, deadline: Deadline) -> None:
        """It runs."""
        self._running.add(deadline)
        if self._timer is None or deadline.at < self._timer_at:
            self._set(deadline.at)

    def end(self, deadline: Deadline) -> None:
        """It is over. The timer stays: the next calls need it, and it finds nothing to do if there are none."""
        self._running.discard(deadline)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._expire)
        self._timer_at = at

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        late = [deadline for deadline in self._running if deadline.at <= now]
        self._running.difference_update(late)
        for deadline in late:
            deadline.expire()
        if self._running:
            self._set(min(deadline.at for deadline in self._running))


class Deadline:
    """One call's. ``at`` is by the loop's clock."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "at")

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[object], at: float) -> None:
        self.at = at
        self._deadlines = deadlines
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False

    def __enter__(self) -> Self:
        self._deadlines.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        # Somebody else may have cancelled the task, too: then it is cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """The time is over."""
        self._expired = True
        self._task.cancel()
