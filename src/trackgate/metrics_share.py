"""What one process of several has counted, as plain values, and the sum of it all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from prometheus_client import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

BEGINNINGS = "_created"
"""How the samples end that are times: of several beginnings the first is shown."""


class Sample(Struct, frozen=True, array_like=True):
    """One figure, as its process shows it."""

    name: str
    labels: dict[str, str]
    value: float

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What it is of."""
        return self.name, tuple(self.labels.items())


Share = dict[str, list[Sample]]
"""Name of a metric -> its samples, those of a histogram's labels together and in their order."""


def share_of(families: Iterable[Metric]) -> Share:
    """What a process has counted."""
    return {each.name: [Sample(one.name, dict(one.labels), one.value) for one in each.samples] for each in families}


def summed(families: Iterable[Metric], shares: Sequence[Share]) -> Iterator[Metric]:
    """The metrics of this process, those of the others added."""
    for family in families:
        samples = [[Sample(one.name, dict(one.labels), one.value) for one in family.samples]]
        samples += [share[family.name] for share in shares if family.name in share]
        total = Metric(family.name, family.documentation, family.type)
        for sample in _added(samples).values():
            total.add_sample(sample.name, sample.labels, sample.value)
        yield total


def _added(parts: Iterable[Iterable[Sample]]) -> Mapping[object, Sample]:
    found: dict[object, Sample] = {}
    for part in parts:
        for sample in part:
            before = found.get(sample.key)
            found[sample.key] = sample if before is None else _both(before, sample)
    return found


def _both(one: Sample, other: Sample) -> Sample:
    value = min(one.value, other.value) if one.name.endswith(BEGINNINGS) else one.value + other.value
    return Sample(one.name, one.labels, value)
