"""The time as the machine tells it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from trackgate.clock import SystemClock

if TYPE_CHECKING:
    from trackgate.model import Clock


def test_wall_clock_time_is_aware_and_utc():
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(UTC)


def test_the_monotonic_time_passes_at_least_as_long_as_a_sleep():
    clock: Clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0.02))
    assert clock.monotonic() - before >= 0.02
