"""One HTTP/1.1 connection: a bound on what it costs before its call is read, its calls answered in their order.

It takes the place of uvicorn's protocol class beneath uvicorn's server. Every call passes here: what is done for each
header and each call is little, and what is rare has a method of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import httptools
from msgspec import Struct

from trackgate.deadline import Deadline
from trackgate.exchange import Exchange, Flow

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from trackgate.exchange import App, Message, Receive, Send

KEEP_ALIVE = 75.0
"""Seconds that an idle connection stays open: longer than most clients and proxies keep theirs."""

CROWDED = b"Too many connections are open; try again later."
COME_BACK = b"5"
"""Seconds of Retry-After when there are too many connections."""

HOP_BY_HOP = frozenset({b"upgrade", b"connection", b"http2-settings"})
"""The headers that ask for another protocol on this connection."""


def _unheard(_status: int) -> None:
    """Nobody wants to know."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What one connection may cost before its call is read."""

    header_bytes: int = 32 * 1024
    header_timeout: float = 10.0
    """Seconds from the first byte of a call (or the connection) to the end of its headers."""
    connections: int = 1024
    spared: frozenset[bytes] = frozenset()
    """Paths that are answered however many connections there are: a probe that fails would only make it worse."""
    on_refusal: Callable[[int], None] = _unheard
    """Hears the status of each call that is turned away down here, where no application sees it."""


class Connection(asyncio.Protocol):
    """Parses calls, refuses heads that are too long, too slow or never end, and hands the rest to the application.

    Args:
        app: answers each call (ASGI).
        bounds: what the connection may cost.
        state: uvicorn's, of its server: all its connections and tasks, and the headers of every reply.

    """

    def __init__(self, app: App, bounds: Bounds, state: ServerState) -> None:
        self._app = app
        self._bounds = bounds
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._parser = self._new_parser()
        self._calls: deque[tuple[Exchange, App]] = deque()  # unanswered; the first is being answered
        self._exchange: Exchange | None = None  # the last one that began
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._waits = False
        self._in_headers = True
        self._begun = False  # a head has, and has not ended
        self._unended = 0  # bytes of a head whose end has not come yet
        self._came = 0  # bytes since before the head began: it is no longer than that
        self._messages = 0  # calls whose last byte has come
        self._refused = False
        self._upgrading = False
        self._deadline = Deadline()
        self._awaits_head = False  # the deadline is a head's

    # --- the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flow = Flow(self._transport)
        self._server = _address(transport.get_extra_info("sockname"))
        self._client = _address(transport.get_extra_info("peername"))
        self._state.connections.add(self)  # type: ignore[arg-type] # of uvicorn's own classes
        self._deadline.set(self._bounds.header_timeout, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._deadline.close()
        for exchange, _ in self._calls:
            exchange.lose()
        self._flow.drain()
        del self._parser, self._exchange  # which know this connection: nobody has to look for the circle

    def data_received(self, data: bytes) -> None:
        messages = self._messages
        self._came += len(data)
        self._parse(data)
        if not self._in_headers:
            self._came = 0
            return
        # Where a call ended in it, it is not all of one head; what began behind that is measured when it is whole.
        if messages == self._messages:
            self._unended += len(data)
            if self._unended > self._bounds.header_bytes:
                self._refuse_head()
        if not self._begun and not self._unended:
            self._came = 0
        elif not self._awaits_head:
            self._awaits_head = True
            self._deadline.set(self._bounds.header_timeout, self._too_slow)

    def pause_writing(self) -> None:
        self._flow.fill()

    def resume_writing(self) -> None:
        self._flow.drain()

    def shutdown(self) -> None:
        """Close behind the call in hand (uvicorn's server says so when it stops)."""
        if self._calls:
            self._calls[-1][0].keep_alive = False
        else:
            self._transport.close()

    # --- the parser ---------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._waits = False
        self._in_headers = self._begun = True
        self._awaits_head = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are not wanted, and must not add up
            name = name.lower()
            self._headers.append((name, value))
            if name == b"expect":
                self._waits = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        if self._came > self._bounds.header_bytes and self._head_size() > self._bounds.header_bytes:
            self._refuse_head()
        self._in_headers = self._begun = self._awaits_head = False
        self._unended = 0
        self._deadline.clear()
        self._upgrading = self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"
        if not self._refused and not self._upgrading:
            self._take()

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None and not self._refused:
            self._exchange.feed(body)

    def on_message_complete(self) -> None:
        self._messages += 1
        self._in_headers = True
        if self._exchange is None or self._refused or self._upgrading:
            return
        self._exchange.end()
        if not self._calls:
            self._deadline.set(KEEP_ALIVE, self._transport.close)

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What comes behind a call that closes the connection is no reason not to answer that call.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            if self._upgrading:
                self._decline_upgrade(data[asked.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, b"Bad Request", b"This is no valid HTTP/1.1 request.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the call again as if it had not asked for another protocol (Java's HttpClient asks for h2c each time).

        The parser passes over the body of such a call.
        """
        head = [self._parser.get_method() + b" " + self._url + b" HTTP/" + self._parser.get_http_version().encode()]
        head += [name + b": " + value for name, value in self._headers if name not in HOP_BY_HOP]
        self._parser = self._new_parser()
        self._parse(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    # --- calls --------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        """The head is whole: answer the call, or line it up behind the one before."""
        crowded = len(self._state.connections) > self._bounds.connections and self._url not in self._bounds.spared
        if crowded:
            self._bounds.on_refusal(503)
        version = self._parser.get_http_version()
        self._exchange = Exchange(
            self._scope(version),
            self._flow,
            keep_alive=version != "1.0" and self._parser.should_keep_alive(),
            waits=self._waits,
            always=self._state.default_headers,
            on_reply=self._replied,
        )
        self._calls.append((self._exchange, _crowded if crowded else self._app))
        if len(self._calls) > 1:
            self._flow.hold()
        else:
            self._answer(*self._calls[0])

    def _scope(self, version: str) -> Message:
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": "http",
            "method": self._parser.get_method().decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self._headers,
        }

    def _answer(self, exchange: Exchange, app: App) -> None:
        task = self._loop.create_task(exchange.run(app))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _replied(self) -> None:
        """The first of the calls was answered: the next one, else wait for one."""
        self._calls.popleft()
        if self._transport.is_closing():
            return
        self._flow.go_on()
        if self._calls:
            self._answer(*self._calls[0])
        elif not self._in_headers:
            # Turned away unread: the rest of the body, which goes nowhere, gets as long as headers do.
            self._deadline.set(self._bounds.header_timeout, self._transport.close)
        elif not self._awaits_head:
            self._deadline.set(KEEP_ALIVE, self._transport.close)

    # --- refusals -----------------------------------------------------------------------------------------------

    def _too_slow(self) -> None:
        if self._unended or self._begun:
            self._refuse(408, b"Request Timeout", b"The request's headers did not arrive in time.")
        else:
            self._transport.close()

    def _refuse_head(self) -> None:
        self._refuse(431, b"Request Header Fields Too Large", b"The request's headers are too long.")

    def _refuse(self, status: int, name: bytes, words: bytes) -> None:
        if not self._refused:
            self._bounds.on_refusal(status)
        self._refused = True
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(head % (status, name, len(words)) + words)
            self._transport.close()


def _address(named: object) -> tuple[str, int] | None:
    """Host and port of a socket; ``None`` of one that has none (a Unix socket)."""
    return (str(named[0]), int(named[1])) if isinstance(named, tuple) else None


async def _crowded(_scope: Message, _receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(CROWDED)).encode()),
        (b"retry-after", COME_BACK),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": CROWDED, "more_body": False})
