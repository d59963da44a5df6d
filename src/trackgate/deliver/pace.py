"""A fixed most of deliveries per second, smoothed: a bucket that holds a tenth of a second's worth."""

from __future__ import annotations

BURST = 0.1
"""Seconds' worth of deliveries that may start at once after a quiet moment (one at least)."""


class Pace:
    """When the next delivery may start, by the monotonic clock.

    Args:
        rate: deliveries a second, or ``None`` for as many as there are.
        now: monotonic seconds.

    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._rate = rate
        self._most = max(rate * BURST, 1.0) if rate is not None else 0.0
        self._left = self._most
        self._as_of = now

    def wait(self, now: float) -> float:
        """Seconds until the next delivery may start; 0 where it may now."""
        if self._rate is None:
            return 0.0
        self._left = min(self._left + max(now - self._as_of, 0.0) * self._rate, self._most)
        self._as_of = now
        return max((1.0 - self._left) / self._rate, 0.0)

    def started(self) -> None:
        """One was started."""
        self._left -= 1.0
