"""What a backlog of a million costs: the start, memory, each event in and out; and how fast it drains."""

from __future__ import annotations

import time
from functools import partial

from bench.gateway import Gateway
from bench.processes import BenchError, until
from bench.stage import Stage
from bench.table import Limit, Row, Series, Target
from bench.window import Window, accepting, delivering

SMALLER = 10
"""The backlogs compared: none to speak of, a part of so much of the large one, and the large one."""
SHARE = 0.9
"""Of what a round brought in, so much is taken out again: what waits stays as much as it was."""
LOOK = 0.5
"""Seconds that a gateway is watched to see whether it rests."""
AT_REST = 0.04
"""Of a core."""
IN_FLIGHT = (32, 64)
"""Calls in flight of the bare client loop; the gateway's default is the first."""


def start(stage: Stage) -> list[Row]:
    """Ready again after a kill, and the memory that it takes."""
    waiting = stage.options.waiting
    ready, resident = [], []
    with stage.backlog(waiting) as data:
        for _ in range(stage.options.rounds):
            with stage.gateway(dead={"late": stage.nowhere}, data=data) as gateway:
                ready.append(gateway.ready_after)
                time.sleep(min(stage.options.seconds / 2, 1.0))
                resident.append(gateway.process.resident())
    words = f"with {waiting:,} events waiting"
    return [
        Row(what=f"ready {words}, after a kill", series=Series.of(ready), unit="s", digits=2, target=Target(most=2)),
        Row(what=f"memory {words}", series=Series.of(resident), unit="MiB", target=Target(most=150)),
    ]


def cost(stage: Stage) -> list[Row]:
    """Processor time of one event in, and of one out, as more and more wait."""
    rows = []
    seconds = stage.options.seconds / 2
    for waiting in (0, stage.options.waiting // SMALLER, stage.options.waiting):
        stage.sink.tell(late="hold")
        with stage.backlog(waiting) as data, stage.gateway("late", data=data) as gateway:
            until(partial(_rests, gateway), "the gateway does not come to rest after its start")
            ins, outs = [], []
            for _ in range(stage.options.rounds):
                stage.sink.tell(late="hold")
                window = accepting(stage, gateway, seconds=seconds)
                ins.append(window.cost)
                outs.append(_taken(stage, gateway, max(int(window.rate * seconds * SHARE), 1)))
        words = f"processor time with {waiting:,} waiting"
        rows += [
            Row(what=f"{words}, an event in", series=Series.of(ins), unit="µs"),
            Row(what=f"{words}, a delivery", series=Series.of(outs), unit="µs"),
        ]
    return rows


def _rests(gateway: Gateway) -> bool:
    """Whether it has done what it does once after a start: it looks through its file, for as long as that is long."""
    cpu = gateway.process.cpu()
    time.sleep(LOOK)
    return gateway.process.cpu() - cpu <= AT_REST * LOOK


def _taken(stage: Stage, gateway: Gateway, events: int) -> float:
    """Microseconds of processor time for each delivery, while the sink takes about so many."""
    count, cpu = stage.sink.count("late"), gateway.process.cpu()
    stage.sink.tell(late="ok")
    until(lambda: stage.sink.count("late") - count >= events, f"the sink does not get {events} events")
    stage.sink.tell(late="hold")
    gateway.check()
    return (gateway.process.cpu() - cpu) / (stage.sink.count("late") - count) * 1e6


def _hold_anew(stage: Stage) -> None:
    """Let go of the calls that are held and hold the next: the gateway gives up on one that it waits too long for."""
    stage.sink.tell(late="ok")
    stage.sink.tell(late="hold")


def drain(stage: Stage) -> list[Row]:
    """As fast as one destination takes them, against a bare loop of upstream calls to the same sink."""
    limits: dict[int, list[float]] = {number: [] for number in IN_FLIGHT}
    ours: list[float] = []
    windows: list[Window] = []
    with stage.backlog(stage.options.waiting) as data, stage.gateway("late", data=data) as gateway:
        for _ in range(stage.options.rounds):
            bare = ("client", f"{stage.sink.url}/bare/v1/track", stage.calls(), "--in-flight")
            for number, rates in limits.items():
                _hold_anew(stage)
                rates.append(stage.limit("bare client", *bare, number))
            _hold_anew(stage)
            ours.append(stage.limit("our client", *bare, IN_FLIGHT[0], "--engine", "ours"))
            stage.sink.tell(late="ok")
            windows.append(delivering(stage.sink, gateway, ("late",), stage.options.seconds))
            gateway.check()
            if not gateway.waiting():
                raise BenchError("the backlog ran out before the window ended: let more wait (--waiting)")
        peak = gateway.process.peak()
    bounds = [Limit(f"bare pyreqwest loop, {number} in flight", Series.of(rates)) for number, rates in limits.items()]
    required = Target(least=8000, ratio=0.5)
    own = Limit(f"bare loop of the gateway's own client, {IN_FLIGHT[0]} in flight", Series.of(ours))
    return [
        Row(
            what="deliveries while a backlog drains to one destination",
            series=Series.of([window.rate for window in windows]),
            unit="events/s",
            limit=bound,
            target=target,
            note=f"{peak:.0f} MiB at the most",
        )
        for bound, target in ((bounds[0], required), (bounds[1], required), (own, None))
    ] + [
        Row(
            what="deliveries while a backlog drains to one destination, processor time",
            series=Series.of([window.cost for window in windows]),
            unit="µs a delivery",
        ),
        Row(
            what=f"the gateway's own client alone, {IN_FLIGHT[0]} in flight",
            series=own.series,
            unit="calls/s",
            limit=bounds[0],
        ),
    ]
