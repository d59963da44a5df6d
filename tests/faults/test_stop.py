"""SIGTERM under load, again and again: not ready first, out in time, nothing lost."""

from __future__ import annotations

import math
import threading
import time

import httpx
import pytest

from tests.faults.rig import rig
from tests.faults.verdicts import long_form
from tests.program.running import Process

GRACES = (1, 10, 30) if long_form() else (2,)
"""Seconds."""

AFTER = 1.0
"""Seconds beyond the grace for the process to start and end; the interpreter itself takes some."""


REFUSED = 0
"""Heard where nobody takes a connection."""


class Probe(threading.Thread):
    """Asks for readiness all the time, on a connection of its own.

    ``heard`` is, in order, when (monotonic seconds) it heard what: after ``listen`` was set, while the process lived.
    """

    def __init__(self, gateway: Process) -> None:
        super().__init__(daemon=True)
        self.heard: list[tuple[float, int]] = []
        self.listen = False
        self._gateway = gateway
        self._going = True

    def run(self) -> None:
        with httpx.Client() as client:
            while self._going:
                try:
                    status = client.get(f"{self._gateway.url}/readyz").status_code
                except httpx.TransportError:
                    status = REFUSED
                if self.listen and self._gateway.process.poll() is None:
                    self.heard.append((time.monotonic(), status))
                time.sleep(0.01)

    def stop(self) -> list[tuple[float, int]]:
        self._going = False
        self.join()
        return self.heard


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("grace", GRACES)
def test_sigterm_under_load_loses_nothing(tmp_path, grace, processes, long, verdict):
    rounds = 2
    with rig(tmp_path, "stop", rate=150, processes=processes, server=f'grace = "{grace}s"\n') as its:
        its.stage.fail(status=503, times=4)
        its.driver.start()
        took, statuses, readiness, told_after = [], [], [], math.inf
        for number in range(rounds):
            its.start()
            slow = number % 2  # one destination slower than any grace: it must not use up the others'
            if slow:
                its.stage.fail(vendor="appizer", delay="60s", times=-1)
            time.sleep(2 if long else 0.5)
            probe = Probe(its.running)
            probe.start()
            probe.listen = True
            begun = time.monotonic()
            statuses.append(its.stop())
            took.append(time.monotonic() - begun)
            heard = probe.stop()
            readiness.append([status for _, status in heard])
            told_after = next((at - begun for at, status in heard if status != 200), math.inf)
            its.stage.mend()
        its.start()
        finding = its.judge(enough=rounds * 20)
        # Beside a destination that hangs, most of the stopping is waiting: not ready comes before that, not after.
        told = told_after < took[-1] / 4
        wavered = any(200 in _after_first_no(heard) for heard in readiness)
        in_time = max(took) <= grace + AFTER
        verdict(
            test=f"SIGTERM under load, {grace} s of grace, {processes} worker{'s' if processes > 1 else ''}",
            done=f"{rounds} in a row, one with a destination that hangs; {len(its.driver.record.promised)} events",
            held=not finding.wrongs and not any(statuses) and told and not wavered and (in_time or not long),
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            figure=f"exit after {', '.join(f'{seconds:.1f}' for seconds in took)} s",
            target=f"lost 0, exit 0 within {grace} s (+ {AFTER:g} s for the process itself), not ready before that",
        )
        assert not finding.wrongs
        assert statuses == [0] * rounds
        assert told, (told_after, took[-1])
        assert not wavered, readiness


def _after_first_no(heard):
    first = next((index for index, status in enumerate(heard) if status != 200), len(heard))
    return heard[first:]
