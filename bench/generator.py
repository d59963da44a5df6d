"""Callers in a process of their own, on raw sockets: at full speed, at a fixed rate, or no further ahead than told.

    python -m bench.generator URL FILE --seconds 2 --connections 64
    ... --rate 2000                            so many calls a second, however long the answers take
    ... --calls 100                            no more than so many
    ... --sink URL --names a,b --ahead 1000    never 1000 events ahead of what the sink got for each of a and b

Prints what came of it as JSON (``Sent``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import cycle, islice
from pathlib import Path
from time import monotonic_ns
from urllib.parse import urlsplit

import click
import msgspec
import uvloop
from msgspec import Struct

from bench import calls
from bench.wire import Peer, header

TICK = 0.001
"""Seconds between two looks at what is due: at a fixed rate calls come in groups, one a tick."""
LOOK = 0.005
"""Seconds between two questions to the sink."""
PATIENCE = 10.0
"""Seconds for the last answers."""
EVENT_ID = b"trackgate-event-id"


class Sent(Struct, kw_only=True):
    """What came of it. ``answered`` counts successes only, ``refused`` statuses from 400 on, ``broken`` no answer."""

    answered: int = 0
    refused: int = 0
    broken: int = 0
    seconds: float = 0.0
    samples: list[tuple[str, int, int]] = []
    """At a fixed rate: event id, when the call was due and when its answer came, nanoseconds of the monotonic clock."""


class Caller(Peer):
    """One connection: one call at a time."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load
        self._due: int | None = None

    def call(self, request: bytes, due: int) -> None:
        """Send a call that was due at ``due`` (nanoseconds)."""
        self._due = due
        self.say(request)

    def heard(self, head: bytes, body: bytes) -> None:
        """The answer; the connection is free again."""
        due, self._due = self._due, None
        if due is not None:
            self._load.answered(self, head, due)

    def connection_lost(self, exc: Exception | None) -> None:
        """A call that was not answered by now never will be."""
        self._load.lost(self, called=self._due is not None)


class Load:
    """What is to be sent and the connections to send it on.

    Args:
        requests: sent over and over, from some place on.
        seconds: how long.
        rate: calls a second; ``None`` for as fast as the answers come.
        most: calls in all.

    """

    def __init__(self, requests: list[bytes], seconds: float, rate: float | None, most: float) -> None:
        self._requests = islice(cycle(requests), monotonic_ns() % len(requests), None)
        self._seconds = seconds
        self._rate = rate
        self._most = most
        self._free: deque[Caller] = deque()
        self._due: deque[int] = deque()
        self._ticks = 0
        self._launched = 0
        self._flying = 0
        self._over = False
        self.allowed = most
        """Calls that may have been sent in all, by now."""
        self.sent = Sent()

    async def run(self, host: str, port: int, connections: int) -> Sent:
        """Send for the given time; wait for the last answers."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            self._free.append((await loop.create_connection(lambda: Caller(self), host, port))[1])
        start = monotonic_ns()
        while (passed := monotonic_ns() - start) < self._seconds * 1e9 and self._ended < self._most:
            self._fall_due(start, passed)
            self.launch()
            await asyncio.sleep(TICK)
        self._over = True
        self._fall_due(start, self._seconds * 1e9)  # also what the last look came too late for
        self.launch()
        self.sent.seconds = (monotonic_ns() - start) / 1e9
        in_time = self.sent.answered
        await self._rest(loop.time() + PATIENCE)
        if self._rate is None:  # at a fixed rate every call counts that fell due in time
            self.sent.answered = in_time
        return self.sent

    def launch(self) -> None:
        """Send what is due and allowed on the connections that are free."""
        while self._free and self._launched < self.allowed and (self._due or (self._rate is None and not self._over)):
            self._launched += 1
            self._flying += 1
            self._free.popleft().call(next(self._requests), self._due.popleft() if self._due else 0)

    def answered(self, caller: Caller, head: bytes, due: int) -> None:
        """An answer came."""
        self._flying -= 1
        if head.split(b" ", 2)[1] >= b"400":
            self.sent.refused += 1
        else:
            self.sent.answered += 1
            if self._rate is not None:
                self.sent.samples.append((header(head, EVENT_ID).decode(), due, monotonic_ns()))
        self._free.append(caller)
        self.launch()

    def lost(self, caller: Caller, *, called: bool) -> None:
        """A connection ended."""
        if called:
            self._flying -= 1
            self.sent.broken += 1
        elif caller in self._free:
            self._free.remove(caller)

    @property
    def _ended(self) -> int:
        return self.sent.answered + self.sent.refused + self.sent.broken

    def _fall_due(self, start: int, passed: float) -> None:
        """A call is due at its time, however long those before it take: one that is sent late has waited."""
        while self._rate is not None and (tick := int(self._ticks * TICK * 1e9)) <= passed:
            self._ticks += 1
            number = int(self._rate * self._ticks * TICK) - int(self._rate * (self._ticks - 1) * TICK)
            self._due.extend([start + tick] * number)

    async def _rest(self, end: float) -> None:
        loop = asyncio.get_running_loop()
        while (self._flying or self._due) and loop.time() < end:  # noqa: ASYNC110 - a look a tick suffices
            await asyncio.sleep(TICK)
        self.sent.broken += self._flying + len(self._due)


class Follower(Peer):
    """Asks the sink again and again what it got, and lets the load get no further ahead of that than it may."""

    def __init__(self, load: Load, names: list[str], ahead: int) -> None:
        super().__init__()
        self._load = load
        self._names = names
        self._ahead = ahead
        self._before: int | None = None
        self._load.allowed = 0

    def ask(self) -> None:
        """What did it get so far?"""
        self.say(b"GET /-/count HTTP/1.1\r\nhost: sink\r\n\r\n")

    def heard(self, head: bytes, body: bytes) -> None:
        """Allow more, and ask again in a while."""
        counts = msgspec.json.decode(body, type=dict[str, int])
        got = sum(counts.get(name, 0) for name in self._names)
        self._before = got if self._before is None else self._before
        self._load.allowed = self._ahead + (got - self._before) // len(self._names)
        self._load.launch()
        asyncio.get_running_loop().call_later(LOOK, self.ask)


@click.command()
@click.argument("url")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, default=2.0)
@click.option("--connections", type=int, default=64)
@click.option("--rate", type=float)
@click.option("--calls", "most", type=float, default=float("inf"))
@click.option("--sink")
@click.option("--names", default="")
@click.option("--ahead", type=int, default=1000)
def main(
    url: str,
    file: Path,
    seconds: float,
    connections: int,
    rate: float | None,
    most: float,
    sink: str | None,
    names: str,
    ahead: int,
) -> None:
    """Send the calls of FILE to URL."""

    async def run() -> Sent:
        load = Load(calls.read(file), seconds, rate, most)
        if sink is not None:
            loop = asyncio.get_running_loop()
            _, follower = await loop.create_connection(lambda: Follower(load, names.split(","), ahead), *_place(sink))
            follower.ask()
        return await load.run(*_place(url), connections)

    click.echo(msgspec.json.encode(uvloop.run(run())))


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


if __name__ == "__main__":
    main()
