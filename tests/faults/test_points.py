"""Killed at named points in the program's own course: before and after each thing that must not be half done."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.killed import AT_SIGTERM, ONCE, POINTS
from tests.faults.rig import rig
from tests.program.running import GUARD, Process, until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

SELDOM = ONCE | AT_SIGTERM | {"sweeping", "swept", "shrinking", "after_take_held"}
"""What is come by once in a life, for certain, and not much oftener."""

SHORT = ("after_append", "after_commit", "after_send", "recovering", "before_give_back", "before_checkpoint")
"""The points of the short form."""

HITS = (2, 7, 40)
"""Where a point is come by often, the long form kills at each of these comings."""


class Doomed(Process):
    """A gateway that kills itself, perhaps before it has said where it listens."""

    module = "tests.faults.killed"

    def _announced(self) -> str | None:
        return "nowhere" if self.process.poll() == -signal.SIGKILL else super()._announced()


def doomed(name: str, hit: int, mark: Path) -> Callable[..., Process]:
    def start(folder: Path, *arguments: str) -> Process:
        return Doomed(folder, name, str(hit), str(mark), *arguments, PYTHONPATH=str(ROOT))

    return start


def waited_for(gateway: Process) -> bool:
    """Whether it ended by itself."""
    try:
        gateway.process.wait(GUARD)
    except subprocess.TimeoutExpired:
        return False
    return True


def die_at(its, name, hit, mark):
    """One life of the gateway that ends at a point."""
    mark.unlink(missing_ok=True)
    if name == "restocking":
        (its.data / "ballast").unlink(missing_ok=True)
    if name == "after_take_held":
        its.stage.fail(status=503, times=20)
    if name in AT_SIGTERM:
        its.stage.fail(delay="100ms", times=-1)  # so that there is something in hand to be given back
    gateway = its.adopt(its.stage.start(doomed(name, hit, mark)))
    its.driver.aim(gateway.url if gateway.url != "nowhere" else None)
    if name in AT_SIGTERM:
        enough = len(its.driver.record.promised) + 40
        until(lambda: len(its.driver.record.promised) >= enough)
        gateway.process.send_signal(signal.SIGTERM)
    ended = waited_for(gateway)
    its.driver.aim(None)
    its.stage.mend()
    assert ended, f"{name} was not come by {hit} times"
    assert gateway.process.returncode == -signal.SIGKILL, (name, hit, gateway.log_path.read_text()[-2000:])
    assert mark.read_text() == name


def test_every_point_is_a_place_in_the_program():
    """One that was renamed must not wait for the long form to be missed."""
    assert [name for name, point in POINTS.items() if not callable(getattr(point.owner, point.name, None))] == []


def test_nothing_acknowledged_is_lost_by_death_at_any_named_point(tmp_path, long, verdict):
    points = list(POINTS) if long else list(SHORT)
    plan = [(name, hit) for name in points for hit in ((1,) if name in SELDOM or not long else HITS)]
    with rig(tmp_path, "points", rate=200, server='retention = "1s"\ndedupe_window = "1h"\n') as its:
        its.start()
        its.driver.start()
        until(lambda: len(its.driver.record.promised) >= 30)
        its.kill()
        for name, hit in plan:
            die_at(its, name, hit, tmp_path / "mark")
        its.start()
        finding = its.judge(enough=50)
        carried = (1 + len(plan)) * its.carried
        verdict(
            test="kill at named points",
            done=f"{len(points)} of {len(POINTS)} points, each proved hit, {len(plan)} deaths,"
            f" {len(its.driver.record.promised)} events acknowledged",
            held=not finding.wrongs and finding.duplicates <= carried,
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            target=f"lost 0, duplicates <= {carried} (carried at the deaths)",
        )
        assert not finding.wrongs
        assert finding.duplicates <= carried
