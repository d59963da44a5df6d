"""Deliveries a second, from the ledger at each commit: no timer, and nothing on disk."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trackgate.model import Clock
    from trackgate.outbox import Ledger

WINDOW = 60.0
"""Seconds that a rate is taken over."""

APART = 1.0
"""Seconds between two samples that are kept."""


class Meter:
    """Remembers the last minute.

    Args:
        ledger: as it is at the start.
        clock: the time.

    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, Ledger]] = deque([(clock.monotonic(), ledger)])

    def note(self, ledger: Ledger) -> None:
        """A commit: the newest sample is always the latest ledger, those before it lie apart."""
        now = self._clock.monotonic()
        if len(self._samples) > 1 and now - self._samples[-2][0] < APART:
            self._samples.pop()
        self._samples.append((now, ledger))
        self._forget(now)

    def rate(self, destination: str) -> float:
        """Delivered a second over the last minute, or since the start where that is less."""
        now = self._clock.monotonic()
        self._forget(now)
        (start, before), (_, after) = self._samples[0], self._samples[-1]
        delivered = _delivered(after, destination) - _delivered(before, destination)
        return delivered / min(max(now - start, APART), WINDOW)

    def _forget(self, now: float) -> None:
        """What is over a minute old, but for the last of it: that is how it stood a minute ago."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()


def _delivered(ledger: Ledger, destination: str) -> int:
    tally = ledger.destinations.get(destination)
    return 0 if tally is None else tally.delivered
