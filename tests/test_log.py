"""The log: what a line holds, what it never holds, and that nobody waits for its reader."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from trackgate.log import LineWriter, adopt_stdlib, configure
from trackgate.model import Call, Event
from trackgate.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = datetime(2026, 1, 2, 4, 4, 5, 678901, tzinfo=timezone(timedelta(hours=1)))
CANARY = "canary-of-a-user"


class StoppedClock:
    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends, closed at the end unless the test did so."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            try:
                os.close(end)
            except OSError:
                continue


def drain(fd: int) -> bytes:
    """Everything that is in a pipe whose other end is closed."""
    return b"".join(iter(lambda: os.read(fd, 65_536), b""))


def wait_for_a_loss(lines: LineWriter) -> None:
    for _ in range(2000):
        if lines._lost:
            return
        threading.Event().wait(0.01)
    pytest.fail("nothing was lost")


def written(*facts: tuple[str, dict[str, Any]], **options: Any) -> str:
    """What a log writes for these calls of ``info``."""
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock(), **options)
        for event, values in facts:
            log.info(event, **values)
        lines.close()
        os.close(into)
        return drain(out).decode()


def line(**values: Any) -> dict[str, Any]:
    """The one JSON line that these values make."""
    (only,) = written(("delivery.attempted", values)).splitlines()
    decoded: dict[str, Any] = json.loads(only)
    return decoded


def test_a_line_is_json_with_time_level_and_event_first():
    (only,) = written(("event.accepted", {"id": "e1", "source": "web", "new": True, "size": 3})).splitlines()
    assert only == (
        '{"timestamp":"2026-01-02T03:04:05.678Z","level":"info","event":"event.accepted",'
        '"id":"e1","source":"web","new":true,"size":3}'
    )


def test_what_is_bound_stands_in_every_line():
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock())
        bound = log.bind(destination="flywheel")
        bound.info("delivery.attempted")
        bound.warning("destination.parked")
        lines.close()
        os.close(into)
        decoded = [json.loads(text) for text in drain(out).splitlines()]
    assert [(each["destination"], each["level"]) for each in decoded] == [("flywheel", "info"), ("flywheel", "warning")]


def test_lines_below_the_level_are_not_written():
    assert written(("event.accepted", {}), level="warning") == ""


class Colour(Enum):
    RED = "red"


class Opaque:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Holder(Struct):
    secret: str


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (1.5, 1.5),
        (float("nan"), None),
        (float("inf"), None),
        (10**40, 10**40),
        pytest.param(10**5000, "<int>", id="thousands of digits"),
        ("\ud800 lone", "\\ud800 lone"),
        (["\ud800", 7, True, 1.5], ["\\ud800", 7, True, 1.5]),
        ("line\nbreak \x1b[31m", "line\nbreak \x1b[31m"),
        (Colour.RED, "red"),
        (Duration(3), 3.0),
        (Size(3), 3),
        (Path("/data"), "/data"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (("a", 1), ["a", 1]),
        (frozenset({"a"}), ["a"]),
        ({"user": CANARY}, "<dict>"),
        (CANARY.encode(), "<bytes>"),
        (ValueError(CANARY), "<ValueError>"),
        (Holder(CANARY), "<Holder>"),
        ([Holder(CANARY)], ["<Holder>"]),
        pytest.param(Opaque(), "<Opaque>", id="a value that cannot be shown"),
    ],
)
def test_any_value_makes_a_valid_line_and_none_but_plain_ones_show(value, shown):
    assert line(value=value)["value"] == shown
    (only,) = written(("event.accepted", {"value": value}), style="console").splitlines()
    assert CANARY not in only


def test_nothing_but_the_given_facts_is_logged():
    """An event, a call or an exception handed in by mistake shows nothing of what it holds."""
    event = Event(id="e1", vendor="x", source="web", received_at=AT, user_id=CANARY, properties={CANARY: CANARY})
    call = Call(url=f"http://h/?key={CANARY}", headers={"authorization": CANARY}, body=CANARY.encode())
    for style in ("json", "console"):
        text = written(("event.accepted", {"what": event, "call": call, "both": [event, call]}), style=style)
        assert CANARY not in text
        assert "<Event>" in text


def test_an_exception_is_its_type_and_its_place_never_its_message():
    def fail() -> None:
        raise KeyError(CANARY)

    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock())
        try:
            fail()
        except KeyError as error:
            log.exception("bug.met", id="e1")
            log.error("bug.met", exc_info=error)
        log.error("bug.met", exc_info=True)  # noqa: LOG014 - the mistake is the point
        lines.close()
        os.close(into)
        text = drain(out).decode()
    first, second, third = map(json.loads, text.splitlines())
    assert CANARY not in text
    assert first["exception"] == second["exception"] == "KeyError"
    assert first["raised_at"][-1].startswith("tests/test_log.py:")
    assert first["raised_at"][-1].endswith(" fail")
    assert "exception" not in third


def test_the_console_form_is_one_readable_line_a_fact():
    """What says nothing (an empty text or list, ``None``, ``False``) is left out; a zero says something."""
    values = {"source": "web", "reason": "no such user", "odd": "\x1b[31m\n\ud800", "count": 0}
    values |= {"empty": "", "none": None, "notes": [], "duplicate": False}
    assert written(("event.rejected", values), style="console") == (
        "03:04:05.678 info    event.rejected           "
        'source=web reason="no such user" odd="\\u001b[31m\\n\\\\ud800" count=0\n'
    )


def test_auto_is_readable_on_a_terminal_and_json_elsewhere():
    assert written(("event.accepted", {})).startswith("{")
    ours, theirs = pty.openpty()
    try:
        log, lines = configure(theirs, StoppedClock())
        log.info("event.accepted", id="e1")
        lines.close()
        assert os.read(ours, 4096) == b"03:04:05.678 info    event.accepted           id=e1\r\n"
        log, lines = configure(theirs, StoppedClock())
        log.warning("event.rejected")
        lines.close()
        assert os.read(ours, 4096) == b"03:04:05.678 \x1b[33mwarning\x1b[0m event.rejected\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_who_never_reads_stops_nobody():
    """100 000 lines into a pipe that holds a few hundred: what does not fit is dropped, and closing ends too."""
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock(), room=1000)

        def much() -> None:
            for number in range(100_000):
                log.info("event.accepted", number=number)
            lines.close(timeout=0.1)

        writing = threading.Thread(target=much, daemon=True)
        writing.start()
        writing.join(30)
        assert not writing.is_alive()
        # Read what is there, so that the writer's thread ends before its pipe does.
        reading = threading.Thread(target=drain, args=(out,), daemon=True)
        reading.start()
        lines.close(30)
        os.close(into)
        reading.join(30)


@pytest.mark.parametrize("style", ["json", "console"])
def test_what_was_dropped_is_counted_and_told_when_the_reader_goes_on(style):
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock(), style=style, room=10)
        for number in range(50_000):
            log.info("event.accepted", number=number, padding="x" * 100)
        texts: list[bytes] = []
        reading = threading.Thread(target=lambda: texts.append(drain(out)), daemon=True)
        reading.start()
        lines.close(30)
        os.close(into)
        reading.join(30)
    written_lines = texts[0].decode().splitlines()
    told = [text for text in written_lines if "log.dropped" in text]
    kept = len(written_lines) - len(told)
    assert told
    if style == "json":
        decoded = [json.loads(text) for text in told]
        assert {(each["level"], each["timestamp"]) for each in decoded} == {("warning", "2026-01-02T03:04:05.678Z")}
        assert sum(each["lines"] for each in decoded) + kept == 50_000
        assert all(json.loads(text) for text in written_lines)
    else:
        assert sum(int(text.rpartition("lines=")[2]) for text in told) + kept == 50_000


def test_a_reader_who_left_is_ignored():
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock())
        os.close(out)
        for _ in range(1000):
            log.info("event.accepted")
        lines.close(30)
        log.info("event.accepted")


def test_a_reader_who_comes_back_hears_how_much_was_lost(tmp_path):
    """A named pipe whose reader is replaced: the next line is whole, and the count of the lost ones follows."""
    path = tmp_path / "log"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    into = os.open(path, os.O_WRONLY)
    log, lines = configure(into, StoppedClock(), style="json")
    os.close(first)
    log.info("event.accepted", number=1)
    wait_for_a_loss(lines)
    second = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.info("event.accepted", number=2)
    lines.close(30)
    os.close(into)
    decoded = [json.loads(text) for text in drain(second).splitlines()]
    os.close(second)
    assert [(each["event"], each.get("number"), each.get("lines")) for each in decoded] == [
        ("event.accepted", 2, None),
        ("log.dropped", None, 1),
    ]


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing():
    with pipe() as (out, into):
        fcntl.fcntl(into, fcntl.F_SETFL, os.O_NONBLOCK)
        log, lines = configure(into, StoppedClock())
        for number in range(5000):
            log.info("event.accepted", number=number)
        texts: list[bytes] = []
        reading = threading.Thread(target=lambda: texts.append(drain(out)), daemon=True)
        reading.start()
        lines.close(30)
        os.close(into)
        reading.join(30)
    assert [json.loads(text)["number"] for text in texts[0].splitlines()] == list(range(5000))


def test_a_torn_line_spoils_none_but_itself(tmp_path, monkeypatch):
    """The disk fills up amid a line and has room again later."""
    real, full = os.write, [False]

    def write(fd: int, data: bytes) -> int:
        if full[0]:
            full[0] = False
            raise OSError(28, "No space left on device")
        full[0] = len(data) > 200
        return real(fd, data[:200])

    path = tmp_path / "log"
    into = os.open(path, os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(os, "write", write)
    log, lines = configure(into, StoppedClock())
    log.info("event.accepted", padding="x" * 500)
    wait_for_a_loss(lines)
    log.info("event.accepted", number=2)
    lines.close(30)
    os.close(into)
    torn, whole, dropped = path.read_text().splitlines()
    assert torn.endswith("x")
    assert json.loads(whole)["number"] == 2
    assert json.loads(dropped)["lines"] == 1


def test_lines_of_many_threads_stay_whole():
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock(), room=100_000)
        texts: list[bytes] = []
        reading = threading.Thread(target=lambda: texts.append(drain(out)), daemon=True)
        reading.start()

        def some(name: str) -> None:
            for number in range(1000):
                log.info("event.accepted", thread=name, number=number)

        threads = [threading.Thread(target=some, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        lines.close(30)
        os.close(into)
        reading.join(30)
    decoded = [json.loads(text) for text in texts[0].splitlines()]
    for name in "abcd":
        assert [each["number"] for each in decoded if each["thread"] == name] == list(range(1000))


def test_warnings_of_libraries_come_through_without_what_they_quote_and_the_rest_stays_out():
    library = logging.getLogger("some.library")
    with pipe() as (out, into):
        log, lines = configure(into, StoppedClock())
        undo = adopt_stdlib(log)
        try:
            library.info("a request to %s", CANARY)
            library.warning("cannot parse %r", CANARY)
            library.error("Task exception was never retrieved\nfuture: %s" % CANARY)  # noqa: UP031 - as asyncio does
            try:
                int(CANARY)
            except ValueError:
                library.exception("unexpected")
        finally:
            undo()
        lines.close()
        os.close(into)
        text = drain(out).decode()
    assert CANARY not in text
    decoded = [json.loads(each) for each in text.splitlines()]
    assert [(each["event"], each["level"], each["library"], each["message"]) for each in decoded] == [
        ("library.warned", "warning", "some.library", "cannot parse %r"),
        ("library.warned", "error", "some.library", "Task exception was never retrieved"),
        ("library.warned", "error", "some.library", "unexpected"),
    ]
    assert decoded[2]["exception"] == "ValueError"


def test_adopting_the_libraries_can_be_undone():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    with pipe() as (_, into):
        log, lines = configure(into, StoppedClock())
        undo = adopt_stdlib(log)
        assert (root.handlers[:], root.level) != before
        undo()
        lines.close()
    assert (root.handlers[:], root.level) == before


def test_what_several_processes_write_to_a_pipe_goes_in_pieces_that_are_not_torn(monkeypatch):
    """Whole lines, no more than a pipe takes at once; a line that is longer goes alone."""
    reader, fd = os.pipe()
    pieces: list[bytes] = []

    def write(_, data):
        pieces.append(bytes(data))
        return len(data)

    monkeypatch.setattr(os, "write", write)
    lines = [b"%03d %s\n" % (number, b"x" * (6000 if number == 50 else number * 7)) for number in range(100)]
    writer = LineWriter(fd, lambda _: b"", shared=True)
    for line in lines:
        writer.write(line)
    writer.close()
    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [len(piece) for piece in pieces if len(piece) > 4096] == [len(lines[50])]
    assert len(pieces) < len(lines) / 4
    monkeypatch.undo()
    os.close(reader)
    os.close(fd)
