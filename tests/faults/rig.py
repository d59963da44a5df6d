"""One run of the whole program under faults: gateway, emulated vendors, load, and what is judged at the end."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.faults.collector import Collector
from tests.faults.driver import Driver
from tests.faults.judge import Evidence, Finding, judge
from tests.faults.oracle import Oracle
from tests.faults.verdicts import long_form
from tests.program.running import GUARD, VENDORS, Process, Stage, metrics, runs, until
from trackgate.deliver.dispatcher import CARRIED
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WAITS = frozenset({"due", "held", "dead"})
"""Fates by which a delivery that did not arrive is still accounted for."""

FRESH = 5.0
"""Seconds in which a fresh event must pass after the faults. Only the long form, on a quiet machine, holds to it."""

DRAIN = 300.0
"""Seconds after which a queue that does not drain is taken for stuck: a guard, not a measure."""

WHOLE = frozenset({"supervisor", "owner"})
"""Processes whose end is everybody's."""

QUIET = 'log_level = "warning"\n'


class Rig:
    """The parts, put together.

    Args:
        folder: everything lives here.
        seed: names the run in every event.
        workers: callers at a time.
        rate: events a second; ``None`` for as many as are answered.
        concurrency: the most calls in flight at each destination.
        processes: workers of the gateway.
        server: more lines for ``[server]``.
        timed: whether to keep when each event was sent and came in.
        more: more lines for a destination.

    """

    def __init__(
        self,
        folder: Path,
        seed: str,
        *,
        workers: int = 8,
        rate: float | None = None,
        concurrency: int = 8,
        processes: int = 1,
        server: str = "",
        timed: bool = False,
        **more: str,
    ) -> None:
        lines = {name: f"concurrency = {concurrency}\n{more.get(name, '')}" for name in VENDORS}
        self.stage = Stage(folder, f"{QUIET}workers = {processes}\n{server}", **lines)
        self.data = folder / "data"
        self.carried = CARRIED * concurrency * len(VENDORS)
        """Deliveries that a kill may find in flight, or answered and not settled: so many may come twice."""
        self.driver = Driver(Oracle(seed, workers=workers), workers=workers, rate=rate, timed=timed)
        self.collector = Collector(self.stage.sandbox.url, Oracle(seed, workers=workers), timed=timed)
        self.gateway: Process | None = None

    def start(self) -> float:
        """Start the gateway; seconds until it was ready."""
        begun = time.monotonic()
        gateway = self.adopt(self.stage.start())
        until(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 200)
        took = time.monotonic() - begun
        self.driver.aim(gateway.url)
        return took

    def adopt(self, gateway: Process) -> Process:
        """Take one that was started for the gateway."""
        self.gateway = gateway
        return gateway

    def kill(self, which: str = "supervisor") -> None:
        """``kill -9`` one of its processes; but for a worker's, wait for the end of all."""
        running = self.running
        family = running.family()
        os.kill(family[which], signal.SIGKILL)
        if which in WHOLE:
            self.driver.aim(None)
            running.process.wait(GUARD)
            until(lambda: not any(map(runs, family.values())))

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        status = self.running.stop()
        self.driver.aim(None)
        return status

    @property
    def running(self) -> Process:
        """The gateway."""
        assert self.gateway is not None, "no gateway was started"
        return self.gateway

    def ready(self) -> dict[str, Any]:
        """What ``/readyz`` says."""
        found: dict[str, Any] = httpx.get(f"{self.running.url}/readyz").json()
        return found

    def drain(self, healthy: Sequence[str] = VENDORS) -> float:
        """Wait until nothing is due at these destinations, and all that came in is read; seconds."""
        begun = time.monotonic()
        while sum(self.ready()["destinations"].get(name, {"waiting": 0})["waiting"] for name in healthy):
            if time.monotonic() - begun > DRAIN:
                raise AssertionError(f"the queue does not drain: {self.ready()}")
            time.sleep(0.1)
        self.collector.catch_up()
        return time.monotonic() - begun

    def judge(
        self,
        *,
        enough: int,
        healthy: Sequence[str] = VENDORS,
        destinations: Sequence[str] = VENDORS,
        repeats: int = 1,
    ) -> Finding:
        """Drain, send a fresh event, and judge; the load and the faults are over, the gateway runs."""
        self.driver.stop()
        self.drain(healthy)
        fresh = self._pass_fresh(healthy)
        self.collector.catch_up()
        record, seen = self.driver.record, self.collector.seen
        retried = sum(
            count for line, count in metrics(self.running).items() if line.startswith("trackgate_retried_total")
        )
        evidence = Evidence(
            destinations=destinations,
            promised=record.promised,
            was_sent=lambda number: record.was_sent(number, self.driver.workers),
            arrived=seen.arrived,
            ids=seen.ids,
            altered=seen.altered,
            spurious=seen.spurious,
            listed={name: self._listed(name) for name in destinations},
            fresh=fresh,
            retried=int(retried),
        )
        return judge(evidence, enough=enough, within=FRESH if long_form() else GUARD, repeats=repeats)

    def _pass_fresh(self, healthy: Sequence[str]) -> dict[str, float | None]:
        """Send one event: seconds until it came in, by destination."""
        begun = time.monotonic()
        event_id = self.driver.record.promised.get(self.driver.post_one())
        took: dict[str, float | None] = dict.fromkeys(healthy)
        while event_id is not None and None in took.values() and time.monotonic() - begun < GUARD:
            for call in self.stage.received(id=event_id):
                if call["vendor"] in took and took[call["vendor"]] is None:
                    took[call["vendor"]] = time.monotonic() - begun
            time.sleep(0.01)
        return took

    def _listed(self, name: str) -> frozenset[int]:
        """What was promised, did not arrive, and is found in the data directory as waiting or dead."""
        promised = self.driver.record.promised
        missing = promised.keys() - self.collector.seen.arrived[name].keys()
        with SqliteReader(self.data) as reader:
            found = {number: reader.find(promised[number]) for number in missing}
        return frozenset(number for number, one in found.items() if one and one.fates.get(name) in WAITS)

    def end(self) -> None:
        """Stop everything that was started."""
        try:
            self.driver.stop()
            self.collector.stop()
        finally:
            self.stage.end()


@contextmanager
def rig(folder: Path, seed: str, **how: Any) -> Iterator[Rig]:
    """A rig that ends with its block; ``how`` as ``Rig``."""
    made = Rig(folder, seed, **how)
    try:
        yield made
    finally:
        made.end()
