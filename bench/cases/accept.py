"""The way in alone: every destination refuses connections, so that nothing is delivered meanwhile."""

from __future__ import annotations

from bench import calls
from bench.stage import Stage
from bench.table import Limit, Row, Series, Target
from bench.window import accepting

HEADROOM = 2.0
"""So many times the gateway's rate must the load generator reach, for the rate to be the gateway's own."""


def singly(stage: Stage) -> list[Row]:
    """One event a call, against the same call decoded and answered with nothing behind it."""
    with (
        stage.server("bare ASGI", "bench.limits", "asgi") as bare,
        stage.server("bare Litestar", "bench.limits", "litestar") as litestar,
        stage.gateway(dead={"down": stage.nowhere}) as gateway,
    ):
        rates: list[tuple[float, float, float]] = []
        ours = []
        for _ in range(stage.options.rounds):
            as_usual, by_ourselves = (stage.flat_out(bare, stage.calls(), wrk=wrk) for wrk in (True, False))
            rates.append((as_usual, by_ourselves, stage.flat_out(litestar, stage.calls())))
            ours.append(accepting(stage, gateway))
    bares, by_own_generator, litestars = (Series.of(series) for series in zip(*rates, strict=True))
    accepts = Series.of([window.rate for window in ours])
    stage.facts["accepts"] = accepts.median
    users = f"{stage.options.users:,} users, each a lane"
    return [
        Row(
            what="durable accepts, one event a call",
            series=accepts,
            unit="events/s",
            limit=Limit("bare Litestar `@asgi`", litestars),
            target=Target(least=5000, ratio=0.5),
            note=users,
        ),
        Row(
            what="durable accepts, one event a call, processor time",
            series=Series.of([window.cost for window in ours]),
            unit="µs an event",
        ),
        *(
            Row(
                what=what,
                series=bare_rates,
                unit="calls/s",
                limit=Limit("our accepts", accepts),
                target=Target(ratio=HEADROOM),
            )
            for what, bare_rates in (
                ("the load generator is not the bottleneck: bare ASGI under the same load", bares),
                (
                    "nor is the generator of our own, which in = out and the latencies take: bare ASGI under its load",
                    by_own_generator,
                ),
            )
        ),
    ]


def in_batches(stage: Stage) -> list[Row]:
    """As many events a call as a vendor allows, against a bare loop of group commits of the same bytes."""
    size = len(calls.body_of(calls.read(stage.calls())[0]))
    committed, ours = [], []
    with stage.gateway(dead={"down": stage.nowhere}) as gateway:
        for _ in range(stage.options.rounds):
            committed.append(stage.limit("bare commits", "commit", stage.work / "commits", "--size", size))
            ours.append(accepting(stage, gateway, batch=True))
    what = f"durable accepts through a batch endpoint, {calls.BATCH:,} events a call"
    return [
        Row(
            what=what,
            series=Series.of([window.rate for window in ours]),
            unit="events/s",
            limit=Limit(f"bare commits of 64 rows of {size} bytes", Series.of(committed)),
            target=Target(least=15_000),
        ),
        Row(what=f"{what}, processor time", series=Series.of([window.cost for window in ours]), unit="µs an event"),
    ]
