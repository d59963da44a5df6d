"""The log: one wide line a fact, named in the past tense with dots (``event.accepted``), JSON or readable.

A line never waits for its reader: it is put into a bounded queue that a thread of its own writes out. What does not
fit is dropped and counted, and a ``log.dropped`` line with the count follows as soon as the reader goes on.

What is logged is what stands in the call, flat: a value that is no plain one (a body, an event, an exception) shows as
its type alone, and an exception as its type and where it was raised, never its message, which may quote what a caller
sent.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import stat
import sys
import threading
import time
from datetime import UTC, date, datetime
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from structlog.typing import EventDict

    from trackgate.model import Clock

Style = Literal["json", "console", "auto"]
Level = Literal["debug", "info", "warning", "error"]

ROOM: Final = 10_000
"""Lines that may wait for the reader: some 5 MB."""

GATHER: Final = 0.005
"""Seconds that the first of some lines waits for others: waking this thread for each one costs those who log more than
the line itself."""

FRAMES: Final = 12
"""The innermost frames of a traceback that are kept."""

COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
UNCOLOURED: Final = "\x1b[0m"
"""On a terminal, the levels that want to be seen stand out."""

_CHUNK = 64 * 1024
_ENCODER = msgspec.json.Encoder()
_UNTORN = 4096
"""Bytes that a pipe takes in one piece (``PIPE_BUF``), whoever else writes to it. A file takes any number."""
_PLAIN = frozenset({str, int, float, bool, type(None)})


class LineWriter:
    """Writes lines to a file descriptor from a thread of its own.

    Args:
        fd: where to; it stays open when this is closed.
        dropped: words the line that tells how many were dropped.
        room: lines that may wait.
        shared: whether other processes write there too, whose lines must not be torn.

    """

    def __init__(self, fd: int, dropped: Callable[[int], bytes], room: int = ROOM, *, shared: bool = False) -> None:
        self._fd = fd
        self._untorn = shared and not stat.S_ISREG(os.fstat(fd).st_mode)
        self._dropped = dropped
        self._room = room
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lost = 0
        self._lock = threading.Lock()
        self._torn = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue a line that ends in a line break, or drop it where there is no room. Never blocks; any thread."""
        if self._waiting.qsize() < self._room:
            self._waiting.put(line)
        else:
            self._lose(1)

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, for at most ``timeout`` seconds. Lines that come later are not written."""
        self._waiting.put(None)
        self._thread.join(timeout)

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._lost += lines

    def _run(self) -> None:
        going = True
        while going:
            lines, going = self._next()
            written = [self._put(piece) for piece in self._pieces(lines)]
            if written and all(written):
                self._confess()

    def _next(self) -> tuple[list[bytes], bool]:
        """The lines that wait, a chunk at most, and whether there will be more; blocks until there is something."""
        lines: list[bytes] = []
        size = 0
        line = self._waiting.get()
        if line is not None:
            time.sleep(GATHER)
        while line is not None:
            lines.append(line)
            size += len(line)
            if size >= _CHUNK or self._waiting.empty():
                return lines, True
            line = self._waiting.get()
        return lines, False

    def _pieces(self, lines: list[bytes]) -> Iterator[list[bytes]]:
        """What is written at once: all of it, or so many whole lines as nobody else's line can come between."""
        piece: list[bytes] = []
        size = 0
        for line in lines:
            if piece and self._untorn and size + len(line) > _UNTORN:
                yield piece
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            yield piece

    def _confess(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost and not self._put([self._dropped(lost)]):
            self._lose(lost - 1)

    def _put(self, lines: list[bytes]) -> bool:
        """Write the lines out; where the reader is gone or the disk is full they count as dropped."""
        left = memoryview(b"".join([b"\n", *lines] if self._torn else lines))
        try:
            while left:
                left = left[self._write_some(left) :]
        except OSError:
            self._lose(min(bytes(left).count(b"\n"), len(lines)))
            return False
        return True

    def _write_some(self, data: memoryview) -> int:
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:  # somebody who shares the descriptor made it non-blocking
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll()
            return 0
        self._torn = data[written - 1] != ord("\n")
        return written


def configure(
    fd: int,
    clock: Clock,
    *,
    style: Style = "auto",
    level: Level = "info",
    room: int = ROOM,
    shared: bool = False,
) -> tuple[FilteringBoundLogger, LineWriter]:
    """A log that writes to ``fd``, and the writer behind it, to be closed at the end.

    Args:
        fd: a file descriptor, e.g. 2.
        clock: stamps the lines.
        style: ``auto`` is ``console`` on a terminal, else ``json``.
        level: the least severe that is written.
        room: lines that may wait for the reader.
        shared: whether other processes log there too.

    """
    console = style == "console" or (style == "auto" and os.isatty(fd))
    render = partial(_console, colours=COLOURS if os.isatty(fd) else {}) if console else _json

    def say(level: str, event: str, facts: EventDict) -> bytes:
        return render(clock.now(), level, event, facts)

    def dropped(lines: int) -> bytes:
        return say("warning", "log.dropped", {"lines": lines})

    writer = LineWriter(fd, dropped, room, shared=shared)
    log: FilteringBoundLogger = structlog.wrap_logger(
        writer, processors=[], wrapper_class=_logger(level, say), context_class=dict
    ).bind()
    return log, writer


def _logger(level: Level, say: Callable[[str, str, EventDict], bytes]) -> type[FilteringBoundLogger]:
    """Of structlog, with one step in the place of its chain: each event has its line, so a line has to be cheap."""

    def method(name: str) -> Callable[..., None]:
        def tell(self: Any, event: str, **facts: Any) -> None:
            self._logger.write(say(name, event, {**self._context, **facts}))

        return tell

    filtering = structlog.make_filtering_bound_logger(level)
    levels = ("debug", "info", "warning", "error", "critical")
    heard = levels[levels.index(level) :]
    return cast("type[FilteringBoundLogger]", type("Logger", (filtering,), {name: method(name) for name in heard}))


def adopt_stdlib(log: FilteringBoundLogger) -> Callable[[], None]:
    """Send what libraries log at warning or above through ``log``, and nothing else; returns how to undo it.

    Only the first line of the message's template is kept, not what was put into it: libraries quote what they choke on.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = [_Adopted(log)]
    root.setLevel(logging.WARNING)

    def undo() -> None:
        root.handlers[:] = handlers
        root.setLevel(level)

    return undo


class _Adopted(logging.Handler):
    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = str(record.msg).partition("\n")[0][:200]
        tell = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        tell("library.warned", library=record.name, message=message, exc_info=record.exc_info)


def _json(at: datetime, level: str, event: str, facts: EventDict) -> bytes:
    line = {"timestamp": _stamp(at), "level": level, "event": event, **_plain(facts)}
    try:
        return _ENCODER.encode(line) + b"\n"
    except ValueError:  # a lone surrogate, an integer of thousands of digits
        return _ENCODER.encode({_sound(key): _sound(value) for key, value in line.items()}) + b"\n"


def _console(at: datetime, level: str, event: str, facts: EventDict, colours: Mapping[str, str]) -> bytes:
    """Only what says something: no nulls, no empty lists, no ``False``."""
    said = {key: value for key, value in _plain(facts).items() if value or type(value) in {int, float}}
    pairs = " ".join(f"{key}={_bare(value)}" for key, value in said.items())
    clock = at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]
    shown = f"{level:<7}"
    if level in colours:
        shown = f"{colours[level]}{shown}{UNCOLOURED}"
    return f"{clock} {shown} {_bare(event):<24} {pairs}".rstrip().encode("utf-8", "backslashreplace") + b"\n"


def _stamp(at: datetime) -> str:
    return f"{_second(int(at.timestamp()))}.{at.microsecond // 1000:03}Z"


@lru_cache(maxsize=4)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _plain(facts: EventDict) -> EventDict:
    """The facts as plain values, an exception taken apart."""
    error = facts.pop("exc_info", None)
    for key, value in facts.items():
        if type(value) not in _PLAIN:
            facts[key] = _shown(value)
    return {**facts, **_exception(error)} if error else facts


def _shown(value: object) -> Any:
    match value:
        case list() | tuple() | set() | frozenset():
            return [item if type(item) in _PLAIN else _shown(item) for item in value]
        case Enum():
            return _shown(value.value)
        case bool() | None:
            return value
        case str() | PurePath():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case date():
            return value.isoformat()
        case _:
            return f"<{type(value).__name__}>"


def _exception(error: object) -> EventDict:
    raised = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
    if not isinstance(raised, BaseException):
        return {}
    return {"exception": type(raised).__qualname__, "raised_at": list(_frames(raised.__traceback__))[-FRAMES:]}


def _frames(traceback: TracebackType | None) -> Iterable[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f"{'/'.join(PurePath(code.co_filename).parts[-2:])}:{traceback.tb_lineno} {code.co_name}"
        traceback = traceback.tb_next


def _bare(value: object) -> str:
    """A value as a terminal may show it: JSON where it holds more than printable words."""
    if isinstance(value, str) and value.isprintable() and value and " " not in value and '"' not in value:
        return value
    text = msgspec.json.encode(_sound(value)).decode()
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _sound(value: Any) -> Any:
    """The value with nothing in it that JSON cannot say."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case bool() | float() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else "<int>"
        case list():
            return [_sound(item) for item in value]
        case _:
            return str(value)
