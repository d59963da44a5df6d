"""Where the processor time of one event goes, hop by hop: the kernel samples the gateway while it works.

    python -m bench.hops accept      one event a call, nothing delivered meanwhile
    python -m bench.hops drain       a backlog to one destination
    python -m bench.hops steady      in = out, one destination

What an event costs is measured first, as the benchmark does it; then once more under Linux' perf, for the shares. A
sample counts for the innermost function of Python that was at work, with what that called in C; what the kernel did is
told apart. It takes perf, the right to use it, and Python 3.12 or newer, which tells perf the names of its functions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from bench.gateway import Gateway
from bench.processes import ROOT, BenchError
from bench.stage import Options, Stage
from bench.window import AHEAD

WORK = ROOT / "build" / "hops"
SETTLING = 2.0
"""Seconds from the beginning of the load to the first look."""
SPARE = 8.0
"""Seconds that the load may outlast the window."""
BACKLOG = 250_000
"""Events that wait before they are drained."""

HERTZ = 900
"""Samples a second of processor time; nothing that the gateway does at intervals keeps step with it."""
STACK = 8192
"""Bytes of the stack that a sample keeps: enough for its innermost functions."""

KERNEL = (
    ("threads that wait for each other (futex)", re.compile("futex")),
    ("write to a socket", re.compile("ksys_write|sock_write|sendmsg")),
    ("poll and read", re.compile("ksys_read|recvmsg|epoll")),
    ("write to the disk", re.compile("fdatasync|fsync|pwrite|pread")),
)
"""What the kernel does, by a function on its way there."""

PLACES = (
    ("uvicorn, and our bounds on it", ("/uvicorn/", "trackgate/server.py", "trackgate/alarm.py")),
    (
        "the call's headers and body, its door, the reply",
        ("ingest/web.py", "ingest/asgi.py", "ingest/doors.py", "trackgate/wire.py"),
    ),
    ("route, lane, entry", ("trackgate/ingest/intake.py", "trackgate/routing.py")),
    ("the vendor's format, decoded or encoded", ("trackgate/vendor", "trackgate/payload.py", "trackgate/fidelity.py")),
    ("log line", ("trackgate/log.py", "/structlog/")),
    ("metrics", ("trackgate/metrics.py", "/prometheus_client/")),
    ("HTTP client", ("trackgate/clients/",)),
    ("lanes, slots, verdict", ("trackgate/deliver/", "trackgate/lanes.py", "trackgate/retry.py")),
    ("clock and deadlines", ("trackgate/clock.py", "trackgate/deadlines.py")),
    ("SQLite, and the values for it", ("outboxes/sqlite/database.py", "outboxes/sqlite/rows.py")),
    ("new events", ("outboxes/sqlite/append.py",)),
    ("what is handed out", ("outboxes/sqlite/take.py", "outboxes/sqlite/live.py", "outboxes/sqlite/tail.py")),
    ("what comes back", ("outboxes/sqlite/settle.py",)),
    ("the outbox's thread and its books", ("sqlite/writer.py", "sqlite/transaction.py", "sqlite/books.py")),
    ("to the outbox and back", ("outboxes/",)),
)
"""Hop -> parts of the paths of the files that belong to it; the first that fits counts."""

ELSEWHERE = "the event loop, and what is left"


@click.command()
@click.argument("case", type=click.Choice(["accept", "drain", "steady"]))
@click.option("--seconds", default=4.0, show_default=True, help="Of each of the two windows.")
def main(case: str, seconds: float) -> None:
    """Say where the processor time of one event goes; in Markdown, in microseconds."""
    if shutil.which("perf") is None or not hasattr(sys, "activate_stack_trampoline"):
        raise click.ClickException("it takes Linux' perf, and Python 3.12 or newer")
    try:
        with Stage(Options(), WORK) as stage:
            with at_work(stage, case, seconds, named=False) as (gateway, count):
                cost = _cost(gateway, count, seconds)
            with at_work(stage, case, seconds, named=True) as (gateway, _):
                samples = _sampled(stage.work / "perf.data", gateway.process.pid, seconds)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    click.echo(table(case, cost, samples))


@contextmanager
def at_work(stage: Stage, case: str, seconds: float, *, named: bool) -> Iterator[tuple[Gateway, Callable[[], int]]]:
    """A gateway under load, and how many events it has got through; ``named``: perf knows its functions."""
    environ = {"PYTHONPERFSUPPORT": str(int(named))}
    if case == "drain":
        stage.sink.tell(late="hold")
        with stage.backlog(BACKLOG) as data, stage.gateway("late", data=data, environ=environ) as gateway:
            stage.sink.tell(late="ok")
            time.sleep(SETTLING)
            yield gateway, lambda: stage.sink.count("late")
            if not gateway.waiting():
                raise BenchError("the backlog ran out: look for fewer --seconds")
        return
    whole = SETTLING + seconds + SPARE
    if case == "accept":
        with stage.gateway(dead={"down": stage.nowhere}, environ=environ) as gateway:
            stage.generate(gateway.url, stage.calls(), seconds=whole)
            time.sleep(SETTLING)
            yield gateway, gateway.accepted
            gateway.check()
        return
    with stage.gateway("steady", environ=environ) as gateway:
        follow = ("--sink", stage.sink.url, "--names", "steady", "--ahead", AHEAD)
        stage.generate(gateway.url, stage.calls(), *follow, seconds=whole)
        time.sleep(SETTLING)
        yield gateway, lambda: stage.sink.count("steady")
        gateway.check()


def _cost(gateway: Gateway, count: Callable[[], int], seconds: float) -> float:
    """Microseconds of processor time an event."""
    events, cpu = count(), gateway.process.cpu()
    time.sleep(seconds)
    return (gateway.process.cpu() - cpu) / (count() - events) * 1e6


def _sampled(data: Path, pid: int, seconds: float) -> list[tuple[bool, str]]:
    """Of each sample whether it hit the event loop's thread, and the hop."""
    how = ("-q", "-e", "cpu-clock", "-F", HERTZ, "-m", 1024, "--call-graph", f"dwarf,{STACK}")
    try:
        _perf("record", *how, "-p", pid, "-o", data, "--", "sleep", seconds)
        said = _perf("script", "-i", data, "-F", "tid,ip,sym")
    finally:
        Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)  # noqa: S108 - where Python writes it and perf reads it
    samples = [sample.strip().splitlines() for sample in said.split("\n\n") if sample.strip()]
    return [(int(tid) == pid, hop([line.split(maxsplit=1)[-1] for line in stack])) for tid, *stack in samples]


def _perf(*arguments: object) -> str:
    done = subprocess.run(["perf", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"perf {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def hop(stack: Sequence[str]) -> str:
    """Where a sample belongs, by the functions on its stack, the innermost first."""
    if any(function.startswith("entry_SYSCALL") for function in stack):
        for name, sign in KERNEL:
            if any(map(sign.search, stack)):
                return f"kernel: {name}"
    python = next((function for function in stack if function.startswith("py::")), "")
    return next((place for place, parts in PLACES if any(part in python for part in parts)), ELSEWHERE)


def table(case: str, cost: float, samples: Sequence[tuple[bool, str]]) -> str:
    """The hops of each thread, the dearest first.

    Args:
        case: what was measured.
        cost: microseconds an event.
        samples: whether it hit the event loop's thread, and the hop.

    """
    lines = [f"{case}: {cost:.0f} µs an event, {len(samples):,} samples", ""]
    for who, mine in (("event loop's thread", True), ("the other threads", False)):
        hops = Counter(name for on_loop, name in samples if on_loop is mine)
        lines += [f"| {who} | {hops.total() / len(samples) * cost:.0f} |", "| --- | --- |"]
        lines += [f"| {name} | {number / len(samples) * cost:.1f} |" for name, number in hops.most_common()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
