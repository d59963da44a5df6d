"""Something that is to happen at a time, and that is put off and called off far more often than it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """One at a time, on one timer, which is looked at when it fires and not set anew with each call."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        self._at = 0.0
        self._otherwise: Callable[[], None] | None = None  # ``None``: nothing does

    def set(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """Have something happen after so many seconds, in the place of what was set before."""
        self._at = self._loop.time() + seconds
        self._otherwise = otherwise
        if self._timer is None or self._at < self._fires_at:
            self._start()

    def clear(self) -> None:
        """Nothing is to happen."""
        self._otherwise = None

    def close(self) -> None:
        """Nothing will ever happen."""
        self._otherwise = None
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._otherwise is None:
            return
        if self._loop.time() < self._at:
            self._start()
            return
        otherwise, self._otherwise = self._otherwise, None
        otherwise()
