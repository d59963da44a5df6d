"""Posts the oracle's events, many at a time, and remembers what was promised. It outlives every gateway."""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct, field

from tests.faults import dialects
from tests.program.running import until

if TYPE_CHECKING:
    from tests.faults.oracle import Oracle

AGAIN = 0.02
"""Seconds between two tries to connect to a gateway that is not there."""

ANSWER = 20.0
"""Seconds that a caller waits for an answer, and then counts it as none."""

NO_ANSWER = 0
"""As a status: the connection ended, or nothing came, after something of the call may have been read."""


class Reply(Struct, frozen=True):
    """The head of an answer: its status and the id that the gateway gave the event."""

    status: int
    event_id: str | None
    closes: bool


class Record(Struct):
    """What was done: ``promised`` is an event's number -> the gateway's id of it; numbers up to ``begun`` were sent.

    ``latencies`` (seconds) and ``sent_at`` (wall-clock seconds, by number) are only kept where they are asked for.
    """

    promised: dict[int, str] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    """Worker -> the highest number of its that was sent, at least in part."""
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: array[float] = field(default_factory=lambda: array("d"))
    sent_at: dict[int, float] = field(default_factory=dict)

    def was_sent(self, number: int, workers: int) -> bool:
        """Whether the event with this number was ever given to the gateway."""
        return number <= self.begun.get(number % workers, -1)


class Driver:
    """Posts from a thread of its own. Each worker posts its users' events one after the other.

    Args:
        oracle: what to post; made with as many ``workers``.
        workers: connections at a time.
        rate: events a second, all workers together; ``None`` for as many as are answered.
        timed: whether to keep ``sent_at``.

    """

    def __init__(self, oracle: Oracle, *, workers: int = 8, rate: float | None = None, timed: bool = False) -> None:
        self.record = Record()
        self.workers = workers
        self.rate = rate
        self._oracle = oracle
        self._timed = timed
        self._at: tuple[str, int] | None = None
        self._next = list(range(workers))
        self._going = False
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def aim(self, url: str | None) -> None:
        """Where the gateway is now; ``None`` while there is none."""
        parts = urlsplit(url) if url else None
        self._at = (parts.hostname or "", parts.port or 0) if parts else None

    def start(self) -> None:
        """Begin, or go on where ``stop`` left off."""
        self._going = True
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let what is under way be answered, and return; raises what went wrong in the driver itself."""
        self._going = False
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def post(self, count: int) -> None:
        """Post at least so many events, and return when each was answered or lost its connection."""
        self.start()
        enough = self.answered + count
        try:
            until(lambda: self.answered >= enough or not self._going)
        finally:
            self.stop()

    def post_one(self) -> int:
        """Post one event, now; its number."""
        return asyncio.run(self._one())

    @property
    def answered(self) -> int:
        """How many events were posted to their end, whatever it was."""
        return sum(self.record.statuses.values())

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # noqa: BLE001 - handed to whoever calls `stop`
            self._going = False
            self._failure = error

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in range(self.workers):
                group.create_task(self._work(worker))

    async def _work(self, worker: int) -> None:
        line = Line()
        due = time.monotonic() + worker / self.rate if self.rate else 0.0
        while self._going:
            if self.rate:
                # What was missed while there was no gateway is not made up for in a burst.
                due = max(due + self.workers / self.rate, time.monotonic() - 1)
                await asyncio.sleep(max(due - time.monotonic(), 0))
            if self._at is None or not await line.connect(self._at):
                await asyncio.sleep(AGAIN)
                continue
            await self._post(worker, line)
        await line.close()

    async def _one(self) -> int:
        line = Line()
        number = self._next[0]
        if self._at is None or not await line.connect(self._at):
            raise AssertionError("no gateway to post to")
        await self._post(0, line)
        await line.close()
        return number

    async def _post(self, worker: int, line: Line) -> None:
        number = self._next[worker]
        self._next[worker] += self.workers
        call = dialects.call(self._oracle.mint(number))
        self.record.begun[worker] = number
        if self._timed:
            self.record.sent_at[number] = time.time()
        start = time.monotonic()
        reply = await line.exchange(call)
        self.record.latencies.append(time.monotonic() - start)
        self.record.statuses[reply.status if reply else NO_ANSWER] += 1
        if reply and 200 <= reply.status < 300:
            self.record.promised[number] = reply.event_id or ""


class Line:
    """One connection of HTTP/1.1, kept open from call to call."""

    def __init__(self) -> None:
        self._to: tuple[str, int] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self, to: tuple[str, int]) -> bool:
        """Be connected there; whether that is so."""
        if self._streams is not None and self._to == to and not self._streams[1].is_closing():
            return True
        await self.close()
        try:
            self._streams = await asyncio.open_connection(*to)
        except OSError:
            return False
        self._to = to
        return True

    async def exchange(self, call: bytes) -> Reply | None:
        """Send a call and read its answer; ``None`` where no whole answer came."""
        if self._streams is None:
            return None
        reader, writer = self._streams
        try:
            async with asyncio.timeout(ANSWER):
                writer.write(call)
                await writer.drain()
                reply = await _read(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            await self.close()
            return None
        if reply.closes:
            await self.close()
        return reply

    async def close(self) -> None:
        """Let go of it."""
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
        self._streams = None


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(head[0].split()[1]), headers.get("trackgate-event-id"), headers.get("connection") == "close")
