"""A measuring window: what a gateway accepts or delivers in it, and the processor time that this takes."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from bench.calls import BATCH
from bench.gateway import Gateway
from bench.processes import until
from bench.sink import Sink
from bench.stage import BATCH_CALLERS, CALLERS, Stage

SETTLING = 0.5
"""Seconds from the beginning of a load to the beginning of the window, at most."""
AHEAD = 2000
"""Deliveries that the sink may be behind what was accepted, while the load follows it."""


class Window(Struct, frozen=True):
    """What was seen: events a second, and the gateway's processor time for each, in microseconds."""

    rate: float
    cost: float


def accepting(stage: Stage, gateway: Gateway, *, batch: bool = False, seconds: float | None = None) -> Window:
    """Events are stored as fast as callers can send them."""
    kind, callers, each = ("batch", BATCH_CALLERS, min(BATCH, stage.options.users)) if batch else ("single", CALLERS, 1)
    count, cpu = gateway.accepted(), gateway.process.cpu()
    rate = stage.flat_out(gateway.url, stage.calls(kind), callers=callers, seconds=seconds) * each
    spent, stored = gateway.process.cpu() - cpu, gateway.accepted() - count
    gateway.check()
    return Window(rate, spent / stored * 1e6)


def delivering(sink: Sink, gateway: Gateway, names: tuple[str, ...], seconds: float) -> Window:
    """Events reach each of these destinations, while something else keeps them coming."""
    before = sink.count(*names)
    until(lambda: sink.count(*names) > before, f"nothing reaches {', '.join(names)}")
    time.sleep(min(seconds / 4, SETTLING))
    count, start, cpu = sink.count(*names), time.monotonic(), gateway.process.cpu()
    time.sleep(seconds)
    until(lambda: sink.count(*names) > count, f"nothing reaches {', '.join(names)} any more")
    events = (sink.count(*names) - count) / len(names)
    passed, spent = time.monotonic() - start, gateway.process.cpu() - cpu
    return Window(events / passed, spent / events * 1e6)


def passing(
    stage: Stage, gateway: Gateway, names: tuple[str, ...], file: Path, *, seconds: float | None = None
) -> Window:
    """As many come in as go out: callers never get far ahead of what reached each of these destinations."""
    seconds = seconds or stage.options.seconds
    ahead = ("--ahead", max(AHEAD // len(names), 1))
    follow = ("--sink", stage.sink.url, "--names", ",".join(names), *ahead)
    load = stage.generate(gateway.url, file, *follow, seconds=seconds * 1.25 + min(seconds, SETTLING))
    window = delivering(stage.sink, gateway, names, seconds)
    stage.sent(load.result(seconds))
    gateway.check()
    return window
