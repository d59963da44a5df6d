"""What an event costs, in and out, as its properties grow."""

from __future__ import annotations

from bench.stage import LARGE_USERS, Stage
from bench.table import Row, Series
from bench.window import passing


def properties(stage: Stage) -> list[Row]:
    """One destination, in = out, in a dialect without a limit to the properties."""
    rows = []
    users = min(stage.options.users, LARGE_USERS)
    with stage.gateway("large", vendor="appizer") as gateway:
        for size in stage.options.sizes:
            file = stage.calls("large", size)
            windows = [
                passing(stage, gateway, ("large",), file, seconds=stage.options.seconds / 2)
                for _ in range(stage.options.rounds)
            ]
            rates = Series.of([window.rate for window in windows])
            rows.append(
                Row(
                    what=f"processor time with {size:g} KB of properties, in = out, 1 destination",
                    series=Series.of([window.cost for window in windows]),
                    unit="µs an event",
                    note=f"{rates.shown()} events/s, {users:,} users",
                )
            )
    return rows
