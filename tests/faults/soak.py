"""``python -m tests.faults.soak [SECONDS]``: an hour at half load, and then whether anything grew; ``docs/soak.md``.

The warm-up is a number of events at full load, not a share of the time: it fills the page cache and what else grows
with the queue, which half load would take a good part of the hour to do, and it says what half of the full load is.
After it memory must rise by less than a MiB an hour (a straight line fitted to the samples), file descriptors must not
rise, and the database must give its space back once the queue is drained and what it kept is old.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from tests.faults.report import page
from tests.faults.rig import Rig, rig
from tests.faults.verdicts import Verdict, write_down
from trackgate.outboxes.sqlite.database import FILE

if TYPE_CHECKING:
    from tests.faults.judge import Finding

HOUR = 3600.0
PAGE = Path(__file__).parents[2] / "docs" / "soak.md"
COMMAND = "make soak"

WARM_UP = 20_000
"""Events at full load."""
BURST = 15.0
"""Seconds of full load between two drains: what a slow reader of the emulated vendors can still catch up with."""
SETTLING = 0.05
"""The share of the samples that is not fitted: the warm-up's events are being forgotten."""
SAMPLES = 720
RETENTION = 60
"""Seconds that a settled event is kept, so that forgetting goes on all the time."""
FORGETTING = 300.0
"""Seconds within which, after the drain, the space must be given back."""

SLOPE = 1.0
"""MiB an hour."""
DESCRIPTORS = 4
"""By how many there may be more at the end."""
DATABASE = 8.0
"""MiB that the file may keep when everything is settled and forgotten."""

SERVER = f'retention = "{RETENTION}s"\ndedupe_window = "{RETENTION}s"\n'


class Sample(Struct, frozen=True):
    """At ``at`` seconds: the gateway's memory and database in MiB, and its open file descriptors."""

    at: float
    memory: float
    descriptors: int
    database: float


def sample(its: Rig, begun: float) -> Sample:
    """Look at the gateway."""
    process = Path("/proc") / str(its.running.process.pid)
    pages = int((process / "statm").read_text().split()[1])
    return Sample(
        at=time.monotonic() - begun,
        memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        descriptors=len(list((process / "fd").iterdir())),
        database=(its.data / FILE).stat().st_size / 2**20,
    )


def warm_up(its: Rig) -> float:
    """Full load, in bursts; events a second that went in and out for good, with the rig on the same machine."""
    begun = time.monotonic()
    while len(its.driver.record.promised) < WARM_UP:
        its.driver.start()
        time.sleep(BURST)
        its.driver.stop()
        its.drain()
    return len(its.driver.record.promised) / (time.monotonic() - begun)


def soak(its: Rig, seconds: float, rate: float) -> list[Sample]:
    """Load it for so long at so many events a second, and look at it now and then."""
    its.driver.rate = rate
    its.stage.fail(status=503, times=4)
    begun = time.monotonic()
    its.driver.start()
    samples = []
    while time.monotonic() - begun < seconds:
        time.sleep(seconds / SAMPLES)
        samples.append(sample(its, begun))
    its.driver.stop()
    return samples


def settle_down(its: Rig) -> float:
    """Wait until what is settled is forgotten and its space given back; the database's MiB then."""
    end = time.monotonic() + FORGETTING
    while time.monotonic() < end and sample(its, 0).database > DATABASE:
        time.sleep(1)
    return sample(its, 0).database


def verdicts(finding: Finding, samples: list[Sample], after: float, done: str) -> list[Verdict]:
    """What was found, in four rows."""
    fitted = samples[int(len(samples) * SETTLING) :]
    slope = statistics.linear_regression([one.at for one in fitted], [one.memory for one in fitted]).slope * HOUR
    quarter = max(len(fitted) // 4, 1)
    first = statistics.median(one.descriptors for one in fitted[:quarter])
    last = statistics.median(one.descriptors for one in fitted[-quarter:])
    most = max(one.database for one in samples)
    sampled = f"{len(fitted)} samples after {WARM_UP:,} events at full load"
    return [
        Verdict(
            test="soak: nothing lost",
            done=done,
            held=not finding.wrongs,
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            figure="; ".join(finding.wrongs),
            target="lost 0",
        ),
        Verdict(
            test="soak: memory",
            done=sampled,
            held=slope < SLOPE,
            figure=f"{slope:+.2f} MiB/h; {fitted[0].memory:.1f} to {fitted[-1].memory:.1f} MiB",
            target=f"< {SLOPE:g} MiB/h",
        ),
        Verdict(
            test="soak: file descriptors",
            done=sampled,
            held=last - first <= DESCRIPTORS,
            figure=f"{first:g} in the first quarter, {last:g} in the last",
            target=f"not over {DESCRIPTORS} more",
        ),
        Verdict(
            test="soak: database",
            done=f"retention {RETENTION} s",
            held=after <= DATABASE,
            figure=f"{most:.1f} MiB at the most, {after:.1f} MiB after the drain",
            target=f"<= {DATABASE:g} MiB within {FORGETTING:g} s of the drain",
        ),
    ]


def main(seconds: float) -> int:
    """Run, write the page, print it; 1 if a promise broke."""
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), "soak", server=SERVER) as its:
        its.start()
        rate = warm_up(its) / 2
        sys.stdout.write(f"half load is {rate:.0f} events/s; {seconds / 60:.0f} minutes of it\n")
        sys.stdout.flush()
        samples = soak(its, seconds, rate)
        finding = its.judge(enough=WARM_UP + int(seconds * rate / 4))
        after = settle_down(its)
    done = f"{seconds / 60:.0f} minutes at {rate:.0f} events/s, half of what this machine carries with the rig on it"
    found = verdicts(finding, samples, after, done)
    for verdict in found:
        write_down(verdict)
    text = page(f"Soak test: {seconds / 60:.0f} minutes at half load", COMMAND, found)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    sys.stdout.write(text)
    return int(not finding.kept)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else HOUR))
