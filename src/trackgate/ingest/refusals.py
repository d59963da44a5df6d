"""Calls that are turned away before they are one: each is counted, many share a log line, since a flood brings many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trackgate.metrics import Metrics

EVERY = 10.0
"""Seconds between two lines, at least; what a line cannot tell yet is told then."""

REASONS = {400: "no_http", 408: "slow_headers", 431: "long_headers", 503: "too_many_connections"}


class Refusals:
    """Hears of each refusal, on the event loop."""

    def __init__(self, log: FilteringBoundLogger, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics
        metrics.may_refuse(REASONS.values())
        self._untold: Counter[str] = Counter()
        self._quiet: asyncio.TimerHandle | None = None
        """Runs while nothing may be told."""

    def __call__(self, status: int) -> None:
        """Count one, and say so: at once if the last line is long enough ago, else with all others when it is."""
        reason = REASONS[status]
        self._metrics.refused(reason)
        self._untold[reason] += 1
        if self._quiet is None:
            self._begin()

    def close(self) -> None:
        """Say what has not been said yet."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._tell()

    def _tell(self) -> None:
        if self._untold:
            self._log.warning("calls.refused", **self._untold)
            self._untold.clear()

    def _tell_again(self) -> None:
        self._quiet = None
        if self._untold:
            self._begin()

    def _begin(self) -> None:
        self._tell()
        self._quiet = asyncio.get_running_loop().call_later(EVERY, self._tell_again)
