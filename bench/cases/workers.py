"""Several processes: what they reach together, and how much of each processor second that costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from bench.cases.steady import counted
from bench.gateway import Gateway
from bench.stage import Stage
from bench.table import Limit, Row, Series, Target
from bench.window import Window, accepting, passing

SEVERAL = 2
"""Workers that are compared with one."""

LEAST = 0.8
"""Of the events of a processor second with one worker, the share that several have to keep."""

ENOUGH = 4
"""Cores with which several workers have room to reach more than one does."""

SHOWN = 1.0
"""Microseconds an event: less cannot be told from nothing, since the kernel counts in ticks."""

FANS = (1, 4)
"""Destinations of in = out."""


def workers(stage: Stage) -> list[Row]:
    """Several workers against one, in turns: events a processor second of all the gateway's processes, and in all."""
    rows = _compared(stage, "durable accepts", (), lambda gateway: accepting(stage, gateway))
    for number in FANS:
        names = tuple(f"workers-{number}-{each}" for each in range(number))
        rows += _compared(stage, f"in = out, {counted(number)}", names, partial(_passing, stage, names))
    return rows


def _yield(window: Window) -> float:
    """Events a processor second."""
    return 1e6 / max(window.cost, SHOWN)


def _passing(stage: Stage, names: tuple[str, ...], gateway: Gateway) -> Window:
    return passing(stage, gateway, names, stage.calls())


def _compared(stage: Stage, what: str, names: tuple[str, ...], look: Callable[[Gateway], Window]) -> list[Row]:
    dead = {} if names else {"down": stage.nowhere}
    with (
        stage.gateway(*names, dead=dead) as one,
        stage.gateway(*names, dead=dead, workers=SEVERAL) as several,
    ):
        ours = [(look(one), look(several)) for _ in range(stage.options.rounds)]
        memory = [gateway.process.apart() for gateway in (one, several)]
    alone, together = (Series.of(windows) for windows in zip(*((a.rate, b.rate) for a, b in ours), strict=True))
    cheap, dear = (Series.of(costs) for costs in zip(*((_yield(a), _yield(b)) for a, b in ours), strict=True))
    return [
        Row(
            what=f"{what}, {SEVERAL} workers, by the processor time of all processes",
            series=dear,
            unit="events/processor s",
            limit=Limit("one process", cheap),
            target=Target(ratio=LEAST),
            note=f"{memory[1]:.0f} MiB (PSS), one process {memory[0]:.0f} MiB",
        ),
        Row(
            what=f"{what}, {SEVERAL} workers",
            series=together,
            unit="events/s",
            limit=Limit("one process", alone),
            target=Target(ratio=1.0) if (os.cpu_count() or 1) >= ENOUGH else None,
        ),
    ]
