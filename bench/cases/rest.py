"""What a gateway costs that has nothing to do."""

from __future__ import annotations

import time

from bench.stage import Stage
from bench.table import Row, Series, Target

CALM = 1.0
"""Seconds after its start, at most, in which it may still be busy with that."""


def rest(stage: Stage) -> list[Row]:
    """Processor time, writes to the disk and memory, over one long window: short ones would round to nothing."""
    window = stage.options.rest
    with stage.gateway("unused") as gateway:
        process = gateway.process
        time.sleep(min(CALM, window))
        start, cpu, written = time.monotonic(), process.cpu(), process.written()
        time.sleep(window)
        share = (process.cpu() - cpu) / (time.monotonic() - start) * 100
        bytes_written, resident = process.written() - written, process.resident()
    note = f"one window of {window:g} s"
    return [
        Row(
            what="at rest, processor",
            series=Series.of([share]),
            unit="% of a core",
            digits=2,
            target=Target(most=0.5),
            note=note,
        ),
        Row(
            what="at rest, written to disk",
            series=Series.of([bytes_written]),
            unit="bytes",
            target=Target(most=0),
            note=note,
        ),
        Row(what="at rest, memory", series=Series.of([resident]), unit="MiB", target=Target(most=100)),
    ]
