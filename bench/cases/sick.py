"""What the healthy destinations notice of a sick one: nothing, or it is told here."""

from __future__ import annotations

from bench.stage import Stage
from bench.table import Limit, Row, Series, Target
from bench.window import passing

HEALTHY = 3


def sick(stage: Stage) -> list[Row]:
    """Three healthy destinations beside a fourth that is well, refuses connections, or never answers."""
    rates: dict[str, list[float]] = {"well": [], "refuses connections": [], "never answers": []}
    names = [tuple(f"beside-{number}-{each}" for each in range(HEALTHY)) for number in range(len(rates))]
    stage.sink.tell(hangs="hold")
    with (
        stage.gateway(*names[0], "well") as well,
        stage.gateway(*names[1], dead={"refuses": stage.nowhere}) as refused,
        stage.gateway(*names[2], "hangs") as hanging,
    ):
        for _ in range(stage.options.rounds):
            for rate, gateway, each in zip(rates.values(), (well, refused, hanging), names, strict=True):
                rate.append(passing(stage, gateway, each, stage.calls()).rate)
    normal = Limit("all four well", Series.of(rates.pop("well")))
    return [
        Row(
            what=f"three healthy destinations beside one that {how}",
            series=Series.of(rate),
            unit="events/s",
            limit=normal,
            target=Target(ratio=0.95),
        )
        for how, rate in rates.items()
    ]
