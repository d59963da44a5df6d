"""The HTTP server: uvicorn, its signals left to us, with a bound on what a connection costs before its call is read."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trackgate.address import Address
from trackgate.alarm import Alarm
from trackgate.model import Reply
from trackgate.wire import give

if TYPE_CHECKING:
    from collections.abc import Generator

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than most clients and proxies keep theirs."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

CROWDED = Reply(
    status=503,
    headers={"content-type": "text/plain", "retry-after": "5", "connection": "close"},
    body=b"Too many connections are open; try again later.",
)
"""What a call beyond the bound on connections hears; Retry-After is in seconds."""

HOP_BY_HOP = frozenset({b"upgrade", b"connection", b"http2-settings"})
"""The headers that ask for another protocol on this connection."""


def bind(address: Address) -> socket.socket:
    """An open listening socket.

    Raises:
        OSError: the address is taken or not ours; the message says what to do.

    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # The protocol is stated because asyncio turns Nagle's algorithm off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        words = f"{address} cannot be listened at ({error.strerror})"
        raise OSError(f"{words}: choose another address, or stop what has it") from None
    return listener


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens; the port that was chosen, where any free one was asked for."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


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


class Server(uvicorn.Server):
    """One listening socket and its application. ``serve(sockets=...)`` runs until ``stop``."""

    def __init__(self, app: Any, bounds: Bounds, grace: float) -> None:
        protocol = type("BoundProtocol", (GuardedProtocol,), {"bounds": bounds, "at_call": staticmethod(self._date)})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(int(grace), 1),
        )
        super().__init__(config)
        self._stop = asyncio.Event()
        self._dated = 0

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone; they are the program's."""
        yield

    async def main_loop(self) -> None:
        """Wait for ``stop``, and for nothing else: uvicorn looks at the clock ten times a second, also when idle."""
        await self._stop.wait()

    def stop(self) -> None:
        """Stop accepting, finish what is under way, return from ``serve``."""
        self.should_exit = True
        self._stop.set()

    def _date(self) -> None:
        """Have the replies to the calls that come now say the second that it is."""
        now = int(time.time())
        if now != self._dated:
            self._dated = now
            self.server_state.default_headers = [(b"date", formatdate(now, usegmt=True).encode())]


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which closes a connection whose headers are too long, too slow or never end."""

    bounds: Bounds = Bounds()
    at_call: Callable[[], None]
    """What is to be done before each call is answered."""
    _in_headers = True
    _between = False
    """Whether the last call has come whole, and no byte of the next one."""
    _unended = 0
    """Bytes of a head whose end has not come yet."""
    _fields = 0
    """Bytes of the request line and the header fields that have come."""
    _messages = 0
    """Calls whose last byte has come."""
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._alarm = Alarm()
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._alarm.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        messages = self._messages
        self._parse(data)
        # Where a call ended in it, it is not all of one head; what began behind that is measured with its fields.
        if self._in_headers and messages == self._messages:
            self._unended += len(data)
            if self._unended > self.bounds.header_bytes:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = False
        self._fields = 0
        self._expect_headers()

    def on_url(self, url: bytes) -> None:
        self._fields += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are not wanted, and must not add up
            self._fields += len(name) + len(value) + len(b": \r\n")
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._fields > self.bounds.header_bytes:
            self._refuse_head()
        self._in_headers = False
        self._unended = 0
        self._alarm.clear()
        if self._refused or self._upgrading:
            return
        crowded = len(self.connections) > self.bounds.connections and self.url not in self.bounds.spared
        self.app = _crowded if crowded else self.config.loaded_app
        if crowded:
            self.bounds.on_refusal(503)
        self.at_call()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._messages += 1
        self._in_headers = self._between = True
        if self._refused or self._upgrading:
            return
        if self.cycle.response_complete:
            self._alarm.set(KEEP_ALIVE, self.transport.close)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """What uvicorn does then, but for its timer: a new one for each reply took a twentieth of an event's time."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._between:
            self._alarm.set(KEEP_ALIVE, self.transport.close)
        elif not self._in_headers:
            # Turned away unread: the rest of the body, which goes nowhere, gets as long as headers do.
            self._expect(self.transport.close)

    @property
    def _upgrading(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as asked:
            if self._upgrading:
                self._decline_upgrade(data[asked.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, b"Bad Request", b"This is no valid HTTP/1.1 request.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the call again as if it had not asked for another protocol (Java's HttpClient asks for h2c each time).

        The parser passes over the body of such a call.
        """
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        head += [name + b": " + value for name, value in self.headers if name not in HOP_BY_HOP]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def _expect_headers(self) -> None:
        self._in_headers = True
        self._expect(self._too_slow)

    def _expect(self, otherwise: Callable[[], None]) -> None:
        self._alarm.set(self.bounds.header_timeout, otherwise)

    def _too_slow(self) -> None:
        if self._unended or self._fields:
            self._refuse(408, b"Request Timeout", b"The request's headers did not arrive in time.")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        self._refuse(431, b"Request Header Fields Too Large", b"The request's headers are too long.")

    def _refuse(self, status: int, name: bytes, words: bytes) -> None:
        if not self._refused:
            self.bounds.on_refusal(status)
        self._refused = True
        if not self.transport.is_closing():
            head = b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % (status, name, len(words)) + words)
            self.transport.close()


async def _crowded(_scope: Any, _receive: Any, send: Any) -> None:
    await give(send, CROWDED)
