"""The HTTP server: uvicorn, its signals left to us, with a bound on what a connection costs before its call is read."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from asyncio.events import TimerHandle
    from collections.abc import Generator

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than most clients and proxies keep theirs."""

TICK = 1.0
"""Seconds between two updates of the Date header."""


class Listen(Struct, frozen=True):
    """An address to listen at; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Listen:
        """Parse ``127.0.0.1:8080`` or ``[::1]:8080``.

        Raises:
            ValueError: it is no such address.

        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65_535 or not host:
            message = 'must be HOST:PORT, such as "127.0.0.1:8080"'
            raise ValueError(message)
        return cls(host.strip("[]"), int(port))

    def bind(self) -> socket.socket:
        """An open listening socket.

        Raises:
            OSError: the address is taken or not ours.

        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return socket.create_server((self.host, self.port), family=family, backlog=2048)


def address_of(sock: socket.socket) -> str:
    """Where a socket listens, as HOST:PORT."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Bounds(Struct, frozen=True, kw_only=True):
    """What one connection may cost before its call is read."""

    header_bytes: int = 32 * 1024
    header_timeout: float = 10.0
    """Seconds from the first byte of a call (or the connection) to the end of its headers."""
    connections: int = 1024


class Server(uvicorn.Server):
    """One listening socket and its application. ``serve(sockets=...)`` runs until ``stop``."""

    def __init__(self, app: Any, bounds: Bounds, grace: float) -> None:
        protocol = type("BoundProtocol", (GuardedProtocol,), {"bounds": bounds})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            limit_concurrency=bounds.connections,
            timeout_graceful_shutdown=max(int(grace), 1),
        )
        super().__init__(config)
        self._stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone; they are the program's."""
        yield

    async def main_loop(self) -> None:
        """Keep the Date header right until ``stop``; one wake-up a second."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TICK)

    def stop(self) -> None:
        """Stop accepting, finish what is under way, return from ``serve``."""
        self.should_exit = True
        self._stop.set()


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which closes a connection whose headers are too long, too slow or never end."""

    bounds: Bounds = Bounds()
    _timer: TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > self.bounds.header_bytes:
                self._refuse(b"431 Request Header Fields Too Large", b"The request's headers are too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers are not wanted, and must not add up
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._forget_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True

    def _expect_headers(self) -> None:
        self._in_headers = True
        self._forget_timer()
        self._timer = self.loop.call_later(self.bounds.header_timeout, self._too_slow)

    def _too_slow(self) -> None:
        if self._header_bytes:
            self._refuse(b"408 Request Timeout", b"The request's headers did not arrive in time.")
        else:
            self.transport.close()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes, words: bytes) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % (status, len(words)) + words)
            self.transport.close()
