"""Killed with ``kill -9`` again and again under load: nothing acknowledged is lost, and little comes twice."""

from __future__ import annotations

import random
import statistics
import time
from functools import partial

from tests.faults.rig import rig
from tests.program.running import until

TARGET = 2.0
"""Seconds from the start of the process to its readiness."""


def test_nothing_acknowledged_is_lost_by_kill_9_in_the_middle_of_it(tmp_path, long, verdict):
    rounds, rate = (200, 150) if long else (3, 150)
    with rig(tmp_path, "kill", rate=rate) as its:
        starts = [its.start()]
        its.stage.fail(status=503, times=8)
        its.driver.start()
        for _ in range(rounds):
            time.sleep(random.uniform(1, 5) if long else random.uniform(0.3, 0.8))
            its.kill()
            starts.append(its.start())
        finding = its.judge(enough=rounds * 20)
        carried = rounds * its.carried
        slowest = max(starts)
        verdict(
            test="kill -9 under load",
            done=f"{rounds} kills, {len(its.driver.record.promised)} events acknowledged",
            held=not finding.wrongs and finding.duplicates <= carried and (slowest <= TARGET or not long),
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            figure=f"ready p50 {statistics.median(starts):.2f} s, max {slowest:.2f} s;"
            f" fresh event {finding.slowest_fresh:.2f} s",
            target=f"lost 0, duplicates <= {carried} (carried at the kills), ready <= {TARGET:g} s, fresh <= 5 s",
        )
        assert not finding.wrongs
        assert finding.duplicates <= carried


def test_nothing_acknowledged_is_lost_by_kill_9_of_any_of_the_processes(tmp_path, long, verdict):
    """A worker's place is taken by another; without the owner or the supervisor all end, and the next start goes on."""
    rounds = 60 if long else 1
    victims = ["worker-0", "owner", "worker-1", "supervisor"] * rounds
    with rig(tmp_path, "processes", rate=150, processes=2) as its:
        its.start()
        its.stage.fail(status=503, times=8)
        its.driver.start()
        for victim in victims:
            until(partial(_posted, its.driver, its.driver.answered + 40))
            its.kill(victim)
            if its.running.process.poll() is None:
                until(lambda: len(its.running.family()) == 4 and its.ready()["status"] == "ready")
            else:
                its.start()
        finding = its.judge(enough=len(victims) * 30)
        carried = len(victims) * its.carried
        verdict(
            test="kill -9 of a worker, the owner, the supervisor",
            done=f"{len(victims)} kills, {len(its.driver.record.promised)} events acknowledged",
            held=not finding.wrongs and finding.duplicates <= carried,
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            figure=f"fresh event {finding.slowest_fresh:.2f} s",
            target=f"lost 0, duplicates <= {carried} (carried at the kills), fresh <= 5 s",
        )
        assert not finding.wrongs
        assert finding.duplicates <= carried


def _posted(driver, count):
    return driver.answered >= count
