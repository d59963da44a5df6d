"""The upstream: takes every call, counts it under the first part of its path, and answers as it was told to.

    /a/v1/track              a delivery to ``a``
    /-/count                 what each got so far
    /-/tell?a=hold           from now on ``a`` is not answered; what is held is answered when it is told otherwise
    /-/tell?a=refuse         ... gets a 503, ``a=ok`` a 202, ``a=20`` a 202 after 20 ms
    /-/watch                 from now on note when each event arrives
    /-/arrivals              event id -> nanoseconds of the monotonic clock, of the noted; and end the watch

It reads no body: what it costs is next to nothing beside the gateway.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from time import monotonic_ns
from urllib.parse import parse_qsl

import httpx
import msgspec
import uvloop

from bench.listening import listener
from bench.wire import Peer, header

TAKEN = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
EVENT_ID = b"trackgate-event-id"


class Ledger:
    """What all connections share."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = defaultdict(int)
        self.manners: dict[str, str] = {}
        self.held: dict[str, list[Callable[[], None]]] = defaultdict(list)
        self.arrivals: dict[str, int] | None = None

    def control(self, what: str, query: str) -> object:
        """Answer one of our own paths."""
        match what:
            case "tell":
                self._tell(dict(parse_qsl(query)))
            case "watch":
                self.arrivals = {}
            case "arrivals":
                noted, self.arrivals = self.arrivals, None
                return noted or {}
        return self.counts

    def _tell(self, manners: dict[str, str]) -> None:
        self.manners.update(manners)
        for name, manner in manners.items():
            if manner != "hold":
                for answer in self.held.pop(name, []):
                    answer()


class Upstream(Peer):
    """One connection from the gateway, or from who controls us."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def heard(self, head: bytes, body: bytes) -> None:
        """A delivery, or one of our own paths."""
        path = head.split(b" ", 2)[1].decode()
        name, _, rest = path[1:].partition("/")
        if name == "-":
            self._answer_control(rest)
        else:
            self._take(name, head)

    def _take(self, name: str, head: bytes) -> None:
        if self._transport.is_closing():
            return  # whoever hung up while it was held sends it again
        ledger = self._ledger
        manner = ledger.manners.get(name, "ok")
        if manner == "hold":
            ledger.held[name].append(partial(self._take, name, head))
            return
        if manner == "refuse":
            self.say(REFUSED)
            return
        ledger.counts[name] += 1
        if ledger.arrivals is not None:
            ledger.arrivals[header(head, EVENT_ID).decode()] = monotonic_ns()
        if manner == "ok":
            self.say(TAKEN)
        else:
            asyncio.get_running_loop().call_later(int(manner) / 1000, self.say, TAKEN)

    def _answer_control(self, rest: str) -> None:
        what, _, query = rest.partition("?")
        body = msgspec.json.encode(self._ledger.control(what, query))
        self.say(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)


class Sink:
    """The running sink, as the other processes see it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False)

    def count(self, *names: str) -> int:
        """Deliveries so far, to these (default: all)."""
        counts = self._ask("count", dict[str, int])
        return sum(counts.get(name, 0) for name in names or counts)

    def tell(self, **manners: str) -> None:
        """Change how destinations are answered: ``ok``, ``hold``, ``refuse`` or milliseconds."""
        self._ask("tell", dict[str, int], **manners)

    def watch(self) -> None:
        """Note when each event arrives, until ``arrivals``."""
        self._ask("watch", dict[str, int])

    def arrivals(self) -> dict[str, int]:
        """Event id -> nanoseconds of the monotonic clock."""
        return self._ask("arrivals", dict[str, int])

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _ask(self, what: str, form: type[dict[str, int]], **query: str) -> dict[str, int]:
        reply = self._client.get(f"/-/{what}", params=query).raise_for_status()
        return msgspec.json.decode(reply.content, type=form)


async def main() -> None:
    """Listen until the process is ended."""
    ledger = Ledger()
    with listener() as listening:
        server = await asyncio.get_running_loop().create_server(lambda: Upstream(ledger), sock=listening)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
