"""What the evidence says, after the faults stopped: five properties, and how much was lost or came twice.

    conservation     every obligation arrived at each destination, or is listed there as due, parked or dead
    integrity        each body is, to the last value, what it must be
    nothing spurious nothing came in that nobody sent, nor one event as two
    liveness         a fresh event passes at each healthy destination
    non-vacuity      enough was promised, and something was tried twice: else the run proves nothing

An event that got no 2xx is no obligation: it may arrive or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SHOWN = 3
"""Examples of each kind of wrong that are shown."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What was seen. Events go by their numbers."""

    destinations: Sequence[str]
    promised: Mapping[int, str]
    """Those that got a 2xx, with the gateway's id."""
    was_sent: Callable[[int], bool]
    arrived: Mapping[str, Mapping[int, int]]
    """Destination -> number -> how often it said yes."""
    ids: Mapping[int, str | None]
    """The gateway's id as it came in."""
    altered: Sequence[str]
    spurious: Sequence[str]
    listed: Mapping[str, frozenset[int]]
    """Destination -> what did not arrive and is found there as due, held or dead."""
    fresh: Mapping[str, float | None]
    """Healthy destination -> seconds that a fresh event took; ``None`` where it did not arrive."""
    retried: int
    """Tries that the gateway says it had to make again."""


class Finding(Struct, frozen=True, kw_only=True):
    """What the judge says; ``obligations`` and ``duplicates`` count events x destinations."""

    obligations: int
    lost: Sequence[str]
    altered: Sequence[str]
    spurious: Sequence[str]
    stuck: Sequence[str]
    vacuous: Sequence[str]
    duplicates: int
    slowest_fresh: float

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.altered or self.spurious)

    @property
    def wrongs(self) -> list[str]:
        """Everything that is not as it must be, in words; empty where all five properties hold."""
        kinds = {
            "lost": self.lost,
            "altered": self.altered,
            "spurious": self.spurious,
            "stuck": self.stuck,
            "vacuous": self.vacuous,
        }
        return [f"{len(found)} {kind}, such as: {'; '.join(found[:SHOWN])}" for kind, found in kinds.items() if found]


def judge(evidence: Evidence, *, enough: int, within: float, repeats: int = 1) -> Finding:
    """Judge a run.

    Args:
        evidence: what was seen.
        enough: acknowledged events below which the run proves nothing.
        within: seconds that a fresh event may take.
        repeats: retries or duplicates below which the run proves nothing.

    """
    duplicates = sum(count - 1 for numbers in evidence.arrived.values() for count in numbers.values())
    return Finding(
        obligations=len(evidence.promised) * len(evidence.destinations),
        lost=_lost(evidence),
        altered=evidence.altered,
        spurious=[*evidence.spurious, *_never_sent(evidence), *_renamed(evidence)],
        stuck=[
            f"a fresh event took {'for ever' if seconds is None else f'{seconds:.1f} s'} to {name}"
            for name, seconds in evidence.fresh.items()
            if seconds is None or seconds > within
        ],
        vacuous=[
            *([f"only {len(evidence.promised)} promised, not {enough}"] if len(evidence.promised) < enough else []),
            *(["nothing was tried twice"] if evidence.retried + duplicates < repeats else []),
        ],
        duplicates=duplicates,
        slowest_fresh=max((seconds for seconds in evidence.fresh.values() if seconds is not None), default=0.0),
    )


def _lost(evidence: Evidence) -> list[str]:
    none: frozenset[int] = frozenset()
    return [
        f"number {number} ({evidence.promised[number]}) at {name}"
        for name in evidence.destinations
        for number in sorted(
            evidence.promised.keys() - evidence.arrived.get(name, {}).keys() - evidence.listed.get(name, none)
        )
    ]


def _never_sent(evidence: Evidence) -> list[str]:
    return [
        f"{name} got number {number}, which was never sent"
        for name, numbers in evidence.arrived.items()
        for number in numbers
        if not evidence.was_sent(number)
    ]


def _renamed(evidence: Evidence) -> list[str]:
    return [
        f"number {number} came in as {came}, and was promised as {evidence.promised[number]}"
        for number, came in evidence.ids.items()
        if number in evidence.promised and came != evidence.promised[number]
    ]
