"""One call and its reply as the application sees them (ASGI): the body as it comes, the reply's head with its body."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""
Headers = Sequence[tuple[bytes, bytes]]

UNREAD = 64 * 1024
"""Bytes of a body that may wait for the application; more wait in the sockets."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SORRY = b"Internal Server Error"

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

log = logging.getLogger(__name__)


class Flow:
    """A connection's transport, which either side can hold back."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self._held = False
        self.full: asyncio.Future[None] | None = None
        """While the caller does not read what is written."""

    def hold(self) -> None:
        """Read no more."""
        if not self._held:
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._held:
            self._held = False
            self.transport.resume_reading()

    def fill(self) -> None:
        """The caller does not read: nothing more is written until ``drain``."""
        if self.full is None:
            self.full = asyncio.get_running_loop().create_future()

    def drain(self) -> None:
        """There is room again, or nobody is left to write to."""
        if self.full is not None:
            self.full.set_result(None)
            self.full = None

    async def room(self) -> None:
        """Wait until the caller reads; only where it is ``full``."""
        while self.full is not None:
            await asyncio.shield(self.full)


class Exchange:
    """One call on a connection.

    Args:
        scope: ASGI's, of HTTP.
        flow: of the connection.
        keep_alive: whether the connection may stay open behind the reply.
        waits: the caller sends its body when it is told to (``Expect: 100-continue``).
        always: headers of every reply.
        on_reply: called when the last byte of the reply was written.

    """

    __slots__ = (
        "_always",
        "_begun",
        "_body",
        "_ended",
        "_flow",
        "_left",
        "_news",
        "_on_reply",
        "_start",
        "_waiter",
        "_waits",
        "answered",
        "gone",
        "keep_alive",
        "scope",
        "transport",
    )

    def __init__(
        self,
        scope: Message,
        flow: Flow,
        *,
        keep_alive: bool,
        waits: bool,
        always: Headers,
        on_reply: Callable[[], None],
    ) -> None:
        self.scope = scope
        self.transport = flow.transport
        self.keep_alive = keep_alive
        self.gone = False
        """The caller hung up."""
        self.answered = False
        """The whole reply was written."""
        self._flow = flow
        self._waits = waits
        self._always = always
        self._on_reply = on_reply
        self._body = b""
        self._ended = False
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._start: Message | None = None
        self._begun = False  # the reply's head was written
        self._left = 0  # bytes of the body that the head promised and that are still to come

    async def run(self, app: App) -> None:
        """Have the application answer; where it does not, the caller hears a 500 or its connection ends."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.answered and not self.gone and not self.transport.is_closing():
                raise RuntimeError("the application returned before its reply was whole")  # noqa: TRY301 - as its own
        except (Exception, asyncio.CancelledError) as error:
            log.error("A call was not answered as it should be.", exc_info=error)
            if not self._begun:
                self._start = None
                headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
                await self.send({"type": "http.response.start", "status": 500, "headers": headers})
                await self.send({"type": "http.response.body", "body": SORRY})
            else:
                self.transport.close()

    # --- from the caller ----------------------------------------------------------------------------------------

    def feed(self, part: bytes) -> None:
        """A part of the body came."""
        if not self.answered:
            self._body = self._body + part if self._body else part
            if len(self._body) > UNREAD:
                self._flow.hold()
            self._wake()

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._wake()

    def lose(self) -> None:
        """The caller is gone."""
        self.gone = not self.answered
        self._wake()

    def _wake(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- from the application -----------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """What came of the body since the last time; waits for it only where nothing did."""
        if self._waits:
            self._waits = False
            self.transport.write(CONTINUE)
        if not self._ended:
            self._flow.go_on()
        while not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.gone or self.answered:
            return {"type": "http.disconnect"}
        self._news = False
        part, self._body = self._body, b""
        return {"type": "http.request", "body": part, "more_body": not self._ended}

    async def send(self, message: Message) -> None:
        """Take the reply's start, then its body in one part or several."""
        if self._flow.full is not None:
            await self._flow.room()
        if self.gone:
            return
        if message["type"] == "http.response.start" and self._start is None:
            self._start = message
            self._waits = False
        elif message["type"] == "http.response.body" and self._start is not None and not self.answered:
            self._write(self._start, message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{message['type']} does not follow what was sent before")

    def _write(self, start: Message, body: bytes, *, more: bool) -> None:
        data = b""
        if not self._begun:
            data = self._head(start["status"], start["headers"], None if more else len(body))
            self._begun = True
        if self.scope["method"] != "HEAD":
            data += body
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as its content-length says")
        self.transport.write(data)
        if not more:
            self.answered = True
            self._wake()
            if not self.keep_alive:
                self.transport.close()
            self._on_reply()

    def _head(self, status: int, headers: Headers, size: int | None) -> bytes:
        """The head of the reply; where the application names no length, that of its only part is."""
        lines = [_STATUS_LINES[status]]
        length = None
        closes = False
        for name, value in (*self._always, *headers):
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            lines.append(b"%b: %b\r\n" % (name, value))
        if length is None:
            if size is None:
                raise RuntimeError("a reply in several parts needs a content-length")
            length = size
            lines.append(b"content-length: %d\r\n" % size)
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header of the reply holds a line break")
        self._left = length
        return head + b"\r\n"
