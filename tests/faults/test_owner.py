"""Who owns a queue: one process a data directory, and a destination's queue stays its own when its name goes."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.faults.rig import rig
from tests.program.running import VENDORS, until

OTHERS = tuple(name for name in VENDORS if name != "flywheel")


def refused(its):
    """The words in which a second process on the data refuses."""
    with pytest.raises(AssertionError) as refusal:
        its.stage.start()
    return str(refusal.value)


def test_a_second_process_does_no_harm_also_while_the_first_is_frozen(tmp_path, long, verdict):
    rounds = 10 if long else 1
    with rig(tmp_path, "owner", rate=150) as its:
        its.start()
        its.stage.fail(status=503, times=4)
        its.driver.start()
        words = []
        for _ in range(rounds):
            time.sleep(0.5)
            words.append(refused(its))
            its.running.process.send_signal(signal.SIGSTOP)
            try:
                words.append(refused(its))
            finally:
                its.running.process.send_signal(signal.SIGCONT)
        finding = its.judge(enough=20 * rounds)
        clear = all(f"in use by process {its.running.process.pid}" in said for said in words)
        verdict(
            test="two processes on one data directory",
            done=f"{len(words)} second starts under load, {rounds} while the first was stopped (SIGSTOP, SIGCONT)",
            held=not finding.wrongs and clear,
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            target="each second refused with words, lost 0",
        )
        assert clear, words
        assert not finding.wrongs


def renamed(text, new):
    """The configuration with flywheel's destination under another name; ``None``: without it."""
    if new is None:
        text = re.sub(r"\[destinations\.flywheel\][^\[]*", "", text)
        return text.replace('"flywheel", "thrivestack"', '"thrivestack"')
    return text.replace("[destinations.flywheel]", f"[destinations.{new}]").replace(
        '"flywheel", "thrivestack"', f'"{new}", "thrivestack"'
    )


@pytest.mark.parametrize("new", [None, "wheel"], ids=["removed", "renamed"])
def test_a_queue_whose_name_goes_is_kept_named_with_its_count_and_drains_when_it_returns(tmp_path, new, long, verdict):
    enough = 2_000 if long else 50
    with rig(tmp_path, f"owner-{new}") as its:
        its.stage.fail(vendor="flywheel", status=503, times=-1)
        its.start()
        its.driver.post(enough)
        its.drain(OTHERS)
        waiting = its.ready()["destinations"]["flywheel"]["waiting"]
        its.stop()
        whole = its.stage.config.read_text()
        its.stage.config.write_text(renamed(whole, new))
        its.stage.mend()
        its.start()
        shown = its.ready()["destinations"]["flywheel"]
        named = until(lambda: [line for line in its.running.log() if line["event"] == "destination.parked"])
        elsewhere = its.stage.received(vendor="flywheel", status="200")
        its.kill()
        its.stage.config.write_text(whole)
        its.start()
        finding = its.judge(enough=enough)
        held = shown["state"] == "parked" and waiting == shown["waiting"] and not finding.wrongs
        verdict(
            test=f"a destination is {'removed' if new is None else 'renamed'} with its queue",
            done=f"{waiting} waited; started without the name, killed, started with it again",
            held=held,
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            target="lost 0, the start names the count, all of it delivered when the name is back",
        )
        assert waiting >= enough
        assert (shown["state"], shown["waiting"]) == ("parked", waiting)
        assert [(line["destination"], line["waiting"]) for line in named][-1:] == [("flywheel", waiting)]
        assert elsewhere == []
        assert not finding.wrongs
