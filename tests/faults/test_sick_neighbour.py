"""One destination is dead, or hangs, for a whole run: the other three must not notice.

Healthy and sick runs take turns on the same machine, each with a gateway and a queue of its own, so that only what they
have in common is compared: ratios, of neighbours in time.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from tests.faults.rig import rig
from tests.program.running import VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.faults.judge import Finding

SICK = "flywheel"
OTHERS = tuple(name for name in VENDORS if name != SICK)

RATE = 100.0
"""Events a second: what the machine carries with room to spare, so that waiting shows."""

WARM_UP = 2.0
"""Seconds of a phase that are not measured."""

THROUGHPUT = 0.95
P99 = 1.10
"""What the ratios, sick to healthy, must be at least and at most."""


class Phase(Struct, frozen=True):
    """What one run gave at the three others: deliveries a second, and the 99th percentile from call to arrival."""

    throughput: float
    p99: float
    finding: Finding


@contextmanager
def place(kind: str) -> Iterator[str | None]:
    """Where the sick destination is: nobody listens there, or nobody answers."""
    if kind == "healthy":
        yield None
        return
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "hanging":
            taken.listen(1024)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def run(folder: Path, kind: str, seconds: float, line: str = "") -> Phase:
    with rig(folder, kind, rate=RATE, timed=True, **{SICK: line}) as its, place(kind) as url:
        if url is not None:
            text = its.stage.config.read_text()
            its.stage.config.write_text(text.replace(f"{its.stage.sandbox.url}/{SICK}", url))
        its.start()
        begun = time.time()
        its.driver.start()
        time.sleep(seconds)
        its.driver.stop()
        finding = its.judge(enough=20, healthy=VENDORS if url is None else OTHERS, repeats=0)
        sent, seen = its.driver.record.sent_at, its.collector.seen.at
        since, end = begun + min(WARM_UP, seconds / 2), begun + seconds
        waits = [
            at - sent[number] for name in OTHERS for number, at in seen[name].items() if since < sent[number] < end
        ]
        came = sum(since < at < end for name in OTHERS for at in seen[name].values())
        return Phase(came / (end - since), statistics.quantiles(waits, n=100)[98], finding)


def ratios(of: Sequence[float], to: Sequence[float]) -> tuple[float, str]:
    """The median, and it in words with its spread."""
    each = [one / other for one, other in zip(of, to, strict=True)]
    return statistics.median(each), f"{statistics.median(each):.3f} ({min(each):.3f} to {max(each):.3f})"


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_the_other_three_get_everything_beside_a_sick_one(tmp_path, kind, long, verdict):
    turns, seconds = (5, 15.0) if long else (0, 2.0)
    folders = (tmp_path / str(number) for number in count())
    healthy = [run(next(folders), "healthy", seconds)] if long else []
    sick: list[Phase] = [] if long else [run(next(folders), kind, seconds, 'timeout = "500ms"\n')]
    for _ in range(turns):
        sick.append(run(next(folders), kind, seconds))
        healthy.append(run(next(folders), "healthy", seconds))
    findings = [phase.finding for phase in [*sick, *healthy]]
    wrongs = [words for finding in findings for words in finding.wrongs]
    figure, quick = "", True
    if long:  # each sick one beside the healthy one before it
        throughput, throughput_said = ratios([p.throughput for p in sick], [p.throughput for p in healthy[:turns]])
        p99, p99_said = ratios([p.p99 for p in sick], [p.p99 for p in healthy[:turns]])
        _, noise = ratios([p.p99 for p in healthy[1:]], [p.p99 for p in healthy[:turns]])
        figure = (
            f"throughput x{throughput_said}, p99 x{p99_said}; p99 of healthy runs to each other x{noise},"
            f" {statistics.median(p.p99 for p in healthy) * 1000:.0f} ms"
        )
        quick = throughput >= THROUGHPUT and p99 <= P99
    verdict(
        test=f"a {kind} destination beside three others",
        done=f"{len(sick)} sick and {len(healthy)} healthy runs of {seconds:g} s by turns, {RATE:g} events/s",
        held=not wrongs and quick,
        obligations=sum(finding.obligations for finding in findings),
        lost=sum(len(finding.lost) for finding in findings),
        duplicates=sum(finding.duplicates for finding in findings),
        figure=figure,
        target=f"at the others lost 0, throughput x >= {THROUGHPUT}, p99 x <= {P99} (medians of ratios)",
    )
    assert wrongs == []
