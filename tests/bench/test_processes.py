"""What the benchmark measures with: callers, upstream, and that nothing of it is left behind."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest

from bench import calls
from bench.generator import Sent
from bench.machine import file_system, wrk_version
from bench.processes import ROOT, BenchError, Process, until
from bench.stage import Stage

GENEROUS = 30.0
"""Seconds: a guard against hanging, for what ends by itself."""


def send(stage, *arguments, seconds=GENEROUS):
    """What the generator says after calls to the sink itself."""
    load = stage.generate(stage.sink.url, stage.calls(), *arguments, seconds=seconds)
    return msgspec.convert(load.result(seconds), Sent)


def test_a_call_is_due_at_its_time_however_late_the_answers_are(stage):
    """Twice as many calls as the one connection can make: each but the first has to wait, and its wait is counted."""
    stage.sink.tell(single="20")
    sent = send(stage, "--rate", 100, "--connections", 1, seconds=0.2)
    stage.sink.tell(single="ok")
    dues = [due for _, due, _ in sent.samples]
    assert sent.answered == len(dues) == 20
    assert {later - due for due, later in pairwise(dues)} == {10_000_000}
    waits = [answered - due for _, due, answered in sent.samples]
    assert waits == sorted(waits)


def test_callers_get_no_further_ahead_of_the_sink_than_told(stage):
    sent = send(stage, "--sink", stage.sink.url, "--names", "never", "--ahead", 7, seconds=0.2)
    assert (sent.answered, sent.broken) == (7, 0)


def test_what_is_started_has_its_bytecode_as_an_installed_program_has(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    writes = "import sys; print(str(not sys.dont_write_bytecode).lower())"
    assert Process(tmp_path, "0", [sys.executable, "-c", writes]).result(GENEROUS) is True


def test_callers_send_as_many_calls_as_told(stage):
    before = stage.sink.count("single")
    assert send(stage, "--calls", 25).answered == 25
    assert stage.sink.count("single") - before == 25


def test_a_refused_call_is_no_answer(stage):
    stage.sink.tell(single="refuse")
    sent = send(stage, seconds=0.1)
    stage.sink.tell(single="ok")
    assert sent.refused > 0 == sent.answered
    with pytest.raises(BenchError, match="refused"):
        Stage.sent(msgspec.to_builtins(sent))


def test_callers_whose_calls_are_refused_end_when_all_are_made(stage):
    stage.sink.tell(single="refuse")
    sent = send(stage, "--calls", 3)
    stage.sink.tell(single="ok")
    assert (sent.refused, sent.answered) == (3, 0)
    assert sent.seconds < GENEROUS


def test_what_is_held_is_answered_when_the_sink_is_told(stage):
    before = stage.sink.count("single")
    stage.sink.tell(single="hold")
    load = stage.generate(stage.sink.url, stage.calls(), "--calls", 3, "--connections", 3, seconds=GENEROUS)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{stage.sink.url}/single/v1/track", timeout=0.5, trust_env=False)
    assert stage.sink.count("single") == before
    stage.sink.tell(single="ok")
    assert Stage.sent(load.result(GENEROUS)).answered == 3
    assert stage.sink.count("single") - before == 3, "who hung up got none"


@pytest.mark.skipif(wrk_version() is None, reason="wrk is not installed here")
def test_wrk_sends_the_same_calls(stage):
    before = stage.sink.count("single")
    assert stage.flat_out(stage.sink.url, stage.calls(), seconds=1) > 0
    assert stage.sink.count("single") > before
    assert "wrk" in stage.commands


def test_every_user_is_a_lane_of_its_own():
    users = {msgspec.json.decode(calls.body_of(call))["user_id"] for call in calls.single(50)}
    assert len(users) == 50
    (batch,) = calls.batches(50)
    assert {event["user_id"] for event in msgspec.json.decode(calls.body_of(batch))} == users


@pytest.mark.parametrize("size", [0.3, 1.0, 30.0])
def test_properties_are_as_large_as_told(size):
    assert size * 900 - 100 < len(msgspec.json.encode(calls.properties(size))) <= size * 1000


def test_nothing_outlives_the_benchmark(tmp_path):
    """Not even where it is killed."""
    lines = [
        "import sys, time",
        "from pathlib import Path",
        "from bench.processes import Process, python",
        "sink = Process(Path(sys.argv[1]), '0', python('bench.sink'))",
        "sink.url()",
        "print(sink.pid, flush=True)",
        "time.sleep(600)",
    ]
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        sink = Path("/proc") / bench.stdout.readline().strip()
        assert sink.exists()
        bench.kill()
    until(lambda: not sink.exists(), "the sink outlives who started it")


def test_the_file_system_of_the_data_is_known():
    assert file_system(Path("/proc/self")) == "proc"
