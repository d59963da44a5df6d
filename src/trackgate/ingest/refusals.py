"""Calls that are turned away before they are one: each is counted, many share a log line, since a flood brings many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trackgate.metrics import Metrics
    from trackgate.model import Clock

EVERY = 10.0
"""Seconds between two lines, at least."""

REASONS = {400: "no_http", 408: "slow_headers", 431: "long_headers", 503: "too_many_connections"}


class Refusals:
    """Hears of each refusal."""

    def __init__(self, clock: Clock, log: FilteringBoundLogger, metrics: Metrics) -> None:
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._untold: Counter[str] = Counter()
        self._next = clock.monotonic()

    def __call__(self, status: int) -> None:
        """Count one, and say so if the last line is long enough ago; it then tells of all since."""
        reason = REASONS[status]
        self._metrics.refused(reason)
        self._untold[reason] += 1
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._log.warning("calls.refused", **self._untold)
            self._untold.clear()
