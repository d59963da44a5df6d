"""Which hop a sample of the profiler counts for."""

from __future__ import annotations

import pytest

from bench.hops import ELSEWHERE, KERNEL, PLACES, hop, table
from bench.processes import ROOT

OURS = [part for _, parts in PLACES for part in parts if not part.startswith("/")]
ENTRY = "entry_SYSCALL_64_after_hwframe"


def function(path: str) -> str:
    return f"py::something:{path}"


def test_the_innermost_function_of_python_counts_with_what_it_calls_in_c():
    stack = ["PyDict_New", function("/x/src/trackgate/log.py"), function("/x/src/trackgate/ingest/intake.py")]
    assert hop(stack) == "log line"


def test_what_the_kernel_does_is_told_apart():
    stack = ["tcp_sendmsg", "ksys_write", ENTRY, "write", function("/x/site-packages/uvicorn/protocols/http.py")]
    assert hop(stack) == "kernel: write to a socket"


def test_a_call_of_the_kernel_that_does_not_stand_out_counts_for_its_caller():
    assert hop(["__x64_sys_getpid", ENTRY, "getpid", function("/x/src/trackgate/log.py")]) == "log line"


def test_where_no_function_of_python_was_at_work_it_is_the_event_loop():
    assert hop(["uv__io_poll", "uv_run"]) == ELSEWHERE


@pytest.mark.parametrize("part", OURS)
def test_every_place_of_ours_is_there(part):
    files = [str(file) for file in (ROOT / "src" / "trackgate").rglob("*.py")]
    assert any(part in file for file in files)


def test_no_place_is_hidden_by_one_before_it():
    for place, parts in PLACES:
        assert [hop([function(f"/x/src/{part}")]) for part in parts] == [place] * len(parts)


def test_the_hops_of_all_threads_add_up_to_what_an_event_costs():
    samples = [(True, "log line"), (True, "metrics"), (True, "log line"), (False, KERNEL[0][0])]
    assert table("accept", 100.0, samples).splitlines() == [
        "accept: 100 µs an event, 4 samples",
        "",
        "| event loop's thread | 75 |",
        "| --- | --- |",
        "| log line | 50.0 |",
        "| metrics | 25.0 |",
        "",
        "| the other threads | 25 |",
        "| --- | --- |",
        "| threads that wait for each other (futex) | 25.0 |",
    ]
