"""``python -m bench``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import httpx

from bench import report
from bench.cases import CASES
from bench.machine import described
from bench.processes import ROOT, BenchError
from bench.stage import Options, Stage
from bench.table import Missing, Row

WORK = ROOT / "build" / "bench"
PROC = Path("/proc/self/stat")
FAILED = 1
"""Exit status: not everything could be measured. A target that is missed is a figure like any other."""


@click.command()
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)), help="Only this; may be repeated.")
@click.option("--list", "listed", is_flag=True, help="Say what there is to measure.")
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of each figure; the median is shown."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60.0), default=2.0, show_default=True, help="Of each measuring window."
)
@click.option(
    "--rest", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds of the window at rest."
)
@click.option(
    "--waiting", type=click.IntRange(1), default=1_000_000, show_default=True, help="Events of the large backlog."
)
@click.option("--users", type=click.IntRange(1), default=10_000, show_default=True, help="Users that events are of.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=9.0,
    show_default=True,
    help="After this no further case begins.",
)
@click.option("--work", default=WORK, type=click.Path(path_type=Path), help="Where its data is put.")
def main(
    names: Sequence[str],
    rounds: int,
    seconds: float,
    rest: float,
    waiting: int,
    users: int,
    minutes: float,
    work: Path,
    *,
    listed: bool,
) -> None:
    """Measure the gateway beside the limits of this machine.

    The table goes to standard output and, where all cases ran as they are by default, into docs/benchmark.md.
    """
    if listed:
        for name, case in CASES.items():
            click.echo(f"{name:<12} {(case.__doc__ or '').splitlines()[0]}")
        return
    options = Options(rounds=rounds, seconds=seconds, rest=rest, users=users, waiting=waiting)
    end = time.monotonic() + minutes * 60
    if not PROC.exists():
        raise click.ClickException("it asks /proc what a process costs: run it on Linux, where /proc is mounted")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"nothing can be put into --work: {error}") from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # so that what was started is ended and put away
    with Stage(options, work) as stage:
        facts = described(stage.cores, stage.work)
        rows = {name: measured(name, stage, end) for name in dict.fromkeys(names or CASES)}
        text = report.written(facts, rows, stage)
    click.echo(text)
    if not names and options == Options():
        report.keep(text)
    if any(isinstance(row, Missing) for measurements in rows.values() for row in measurements):
        sys.exit(FAILED)


def measured(name: str, stage: Stage, end: float) -> Sequence[Row | Missing]:
    """The rows of a case, or why there are none."""
    start = time.monotonic()
    if start > end:
        return [Missing(name, "no time was left")]
    click.echo(f"{name} ...", err=True)
    try:
        rows: Sequence[Row | Missing] = CASES[name](stage)
    except (BenchError, httpx.HTTPError, OSError) as error:
        click.echo(f"{name} failed: {error}", err=True)
        return [Missing(name, str(error).splitlines()[0])]
    click.echo(f"{name} took {time.monotonic() - start:.0f} s", err=True)
    return rows


if __name__ == "__main__":
    main()
