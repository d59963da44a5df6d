"""One timer for all the calls of a client: one of the event loop's own for each would cost as much as the call itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """The deadlines that run; for one event loop."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def within(self, seconds: float) -> Deadline:
        """What the running task enters a block with that may take so many seconds; beyond it is cancelled.

        Raises:
            TimeoutError: from the block, in the place of the cancellation, as ``asyncio.timeout`` does.

        """
        # Asked once: until Python 3.12 each asking is a system call.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "only a task can be cancelled"
        return Deadline(self, task, seconds, loop.time() + seconds)

    def begin(self, deadline: Deadline) -> None:
        """It runs."""
        self._running.add(deadline)
        if self._timer is None or deadline.at < self._timer_at:
            self._set(deadline.at)

    def end(self, deadline: Deadline) -> None:
        """It is over. The timer stays: the next calls need it, and it finds nothing to do if there are none."""
        self._running.discard(deadline)

    def _set(self, at: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._expire)
        self._timer_at = at

    def _expire(self) -> None:
        assert self._loop is not None
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
