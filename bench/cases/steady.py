"""In = out: as many events are accepted as are delivered, to one destination and to several."""

from __future__ import annotations

from bench.processes import GUARD
from bench.stage import Stage
from bench.table import Limit, Row, Series, Target
from bench.window import passing

TARGETS = {1: Target(least=4000), 4: Target(least=1500)}
"""By the number of destinations."""
FORWARDED = 16
"""Connections that a forwarder gets its calls on: it is busy with so many, and with more they wait for its client's."""
WARM_UP = 200
"""Calls that a forwarder gets before it is measured: it is slow until all of its connections are open."""


def destinations(stage: Stage) -> list[Row]:
    """What an event costs as it is handed to more and more destinations."""
    rows = []
    peaks = []
    for number in stage.options.fans:
        names = tuple(f"steady-{number}-{each}" for each in range(number))
        seconds = stage.options.seconds if number in TARGETS else stage.options.seconds / 2
        with stage.gateway(*names) as gateway:
            windows = [
                passing(stage, gateway, names, stage.calls(), seconds=seconds) for _ in range(stage.options.rounds)
            ]
            peaks.append(gateway.process.peak())
        rates = Series.of([window.rate for window in windows])
        if number == 1:
            stage.facts["steady"] = rates.median
        costs = Series.of([window.cost for window in windows])
        rows += [
            Row(
                what=f"in = out, {counted(number)}",
                series=rates,
                unit="events/s",
                target=TARGETS.get(number),
                note=f"{rates.median * number:,.0f} deliveries/s, {peaks[-1]:.0f} MiB at the most",
            ),
            Row(
                what=f"in = out, {counted(number)}, processor time",
                series=costs,
                unit="µs an event",
                note=f"{costs.median / number:,.0f} µs a delivery",
            ),
        ]
    return [*rows, Row(what="memory under all of these, at the most", series=Series.of([max(peaks)]), unit="MiB")]


def forwarder(stage: Stage) -> list[Row]:
    """Against what a user would otherwise write: Litestar and httpx, nothing on disk."""
    return [_beside_forwarder(stage, number) for number in TARGETS]


def _beside_forwarder(stage: Stage, number: int) -> Row:
    names = tuple(f"compared-{number}-{each}" for each in range(number))
    urls = " ".join(f"{stage.sink.url}/forwarded-{number}-{each}" for each in range(number))
    theirs, ours = [], []
    with (
        stage.server("forwarder", "bench.forwarder", UPSTREAMS=urls) as other,
        stage.gateway(*names) as gateway,
    ):
        stage.generate(other, stage.calls(), "--connections", FORWARDED, "--calls", WARM_UP, seconds=GUARD).result(
            GUARD
        )
        for _ in range(stage.options.rounds):
            theirs.append(stage.flat_out(other, stage.calls(), callers=FORWARDED) * number)
            ours.append(passing(stage, gateway, names, stage.calls()).rate * number)
    return Row(
        what=f"in = out, {counted(number)}, beside a plain forwarder",
        series=Series.of(ours),
        unit="deliveries/s",
        limit=Limit("Litestar + httpx, nothing on disk", Series.of(theirs)),
        target=Target(ratio=10),
    )


def counted(number: int) -> str:
    """So many destinations, in words."""
    return f"{number} destination{'s' if number > 1 else ''}"
