"""One timer for all the calls of a client: a timer of the event loop's for each would cost as much as the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """Those that run.

    Args:
        loop: the one that the calls are made on. Until Python 3.12, to ask which one runs is a system call.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def within(self, seconds: float) -> Deadline:
        """What the running task enters a block with that may take so many seconds; beyond it is cancelled.

        Raises:
            TimeoutError: from the block, in the place of the cancellation, as ``asyncio.timeout`` does.

        """
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel")
        return Deadline(self, task, seconds, self._loop.time() + seconds)

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
        self._timer = self._loop.call_at(at, self._expire)
        self._timer_at = at

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = [deadline for deadline in self._running if deadline.at <= now]
        self._running.difference_update(late)
        for deadline in late:
            deadline.expire()
        if self._running:
            self._set(min(deadline.at for deadline in self._running))


class Deadline:
    """One call's. ``at`` is by the loop's clock."""

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[object], seconds: float, at: float) -> None:
        self.seconds = seconds
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

    def heed_cancellation(self) -> None:
        """Be cancelled, if we were: for what answers a cancellation that meets a finished step with its result."""
        if self._task.cancelling():
            raise asyncio.CancelledError
