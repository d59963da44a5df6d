"""How long a caller waits for its 2xx, and how soon after it the event is at the upstream's socket.

Calls come at a fixed rate whatever the answers take, and a call's time counts from when it was due: one that had to
wait for those before it shows it. An event may be upstream before its caller has read the 2xx: less than nothing, then.
"""

from __future__ import annotations

from bench.gateway import Gateway
from bench.processes import BenchError, until
from bench.stage import Stage
from bench.table import Row, Series, Target, percentile
from bench.window import accepting, passing

IDLE = 50.0
"""Calls a second that leave the gateway idle between them."""
MILLI = 1e6
"""Nanoseconds in a millisecond."""
SHARES = {"p50": 0.5, "p99": 0.99}


def accepts(stage: Stage) -> list[Row]:
    """To the acknowledgement, at half of the rate that the way in alone can take."""
    with stage.gateway(dead={"down": stage.nowhere}) as gateway:
        if "accepts" not in stage.facts:
            stage.facts["accepts"] = accepting(stage, gateway).rate
        rate = stage.facts["accepts"] / 2
        rounds = [_acknowledged(_sent(stage, gateway, rate)) for _ in range(stage.options.rounds)]
    return _rows(
        f"acknowledgement at half of the durable accepts, nothing delivered, {rate:,.0f} events/s",
        rounds,
        Target(most=25),
    )


def half_load(stage: Stage) -> list[Row]:
    """To the acknowledgement and on to the upstream, at half of the rate at which as many come in as go out."""
    with stage.gateway("half") as gateway:
        if "steady" not in stage.facts:
            stage.facts["steady"] = passing(stage, gateway, ("half",), stage.calls()).rate
        return _both(stage, gateway, stage.facts["steady"] / 2, "at half of in = out, 1 destination", Target(most=25))


def idle(stage: Stage) -> list[Row]:
    """The same with hardly anything to do."""
    with stage.gateway("idle") as gateway:
        return _both(stage, gateway, IDLE, "when idle", None)


Samples = list[tuple[str, int, int]]
"""``bench.generator.Sent.samples``."""


def _both(stage: Stage, gateway: Gateway, rate: float, words: str, target: Target | None) -> list[Row]:
    acknowledged, added = [], []
    for _ in range(stage.options.rounds):
        _come_to_rest(gateway)
        stage.sink.watch()
        samples = _sent(stage, gateway, rate)
        _come_to_rest(gateway)
        arrivals = stage.sink.arrivals()
        if unseen := sum(event not in arrivals for event, _, _ in samples):
            raise BenchError(
                f"{unseen} of {len(samples)} events did not arrive under the id that their caller was told"
            )
        acknowledged.append(_acknowledged(samples))
        added.append([(arrivals[event] - answered) / MILLI for event, _, answered in samples])
    words = f"{words}, {rate:,.0f} events/s"
    return [
        *_rows(f"acknowledgement {words}", acknowledged, target),
        *_rows(f"from the acknowledgement to the upstream's socket {words}", added, None),
    ]


def _sent(stage: Stage, gateway: Gateway, rate: float) -> Samples:
    seconds = stage.options.seconds
    load = stage.generate(gateway.url, stage.calls(), "--rate", rate, seconds=seconds)
    samples = stage.sent(load.result(seconds)).samples
    gateway.check()
    return samples


def _acknowledged(samples: Samples) -> list[float]:
    return [(answered - due) / MILLI for _, due, answered in samples]


def _come_to_rest(gateway: Gateway) -> None:
    until(lambda: gateway.waiting() == 0, "what waits is not delivered")


def _rows(what: str, rounds: list[list[float]], target: Target | None) -> list[Row]:
    """In milliseconds; the target is for the p99."""
    return [
        Row(
            what=f"{what}, {name}",
            series=Series.of([percentile(waits, share) for waits in rounds]),
            unit="ms",
            digits=2,
            target=target if name == "p99" else None,
        )
        for name, share in SHARES.items()
    ]
