"""A worker's place, and when it is taken again: at once, or after a pause where workers end again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from trackgate.app.child import Child

STEADY = 10.0
"""Seconds after which a worker that ends is replaced at once; one that ended sooner leaves a pause."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds; each pause is twice the one before."""


class Slot(Struct, eq=False):
    """A worker's place: who holds it since when, or from when on it is to be held again (monotonic seconds)."""

    number: int
    child: Child | None = None
    since: float = 0.0
    again_at: float = 0.0
    pause: float = 0.0
    listening: bool = False

    def fall_vacant(self, now: float) -> None:
        """Its worker ended."""
        steady = now - self.since >= STEADY
        self.pause = 0.0 if steady else min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        self.child, self.listening, self.again_at = None, False, now + self.pause
