"""One connection to an upstream: HTTP/1.1, one call at a time.

The bytes of a reply are taken apart by httptools, which is llhttp, the parser of Node.js.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import httptools

from trackgate.clients.engine import ExchangeError, words_of
from trackgate.model import NoReply

if TYPE_CHECKING:
    from trackgate.clients.engine import Reading

MAX_HEAD = 64 * 1024
"""Bytes of a reply beside its body that are read: its head, the interim replies before it, what frames its chunks."""

MOMENT = 0.05
"""Seconds after a reply in which the next call goes out without a look at whether the upstream hung up meanwhile."""

NOT_HTTP = NoReply("protocol", "what the upstream sent is not HTTP/1.1")
TOO_LONG = NoReply("protocol", f"the head of the reply is longer than the {MAX_HEAD} bytes that are read")
HUNG_UP = NoReply("network", "the upstream closed the connection without a reply")
NOT_TAKEN = NoReply("network", "the upstream accepted the call before it had the whole of it, and took no more")


class Connection(asyncio.Protocol):
    """Made by the event loop. It is among the ``open_ones`` from its beginning to its end, whoever ends it."""

    def __init__(self, open_ones: set[Connection]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_ones = open_ones
        self._parser = httptools.HttpResponseParser(self)
        self._reading: Reading | None = None
        """The reply that is awaited; ``None`` between calls."""
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._fields: list[tuple[str, str]] = []
        self._beside_body = 0
        self._in_body = False
        self._premature = False  # the upstream accepted a call of which we had not sent all
        self._rest_sent: asyncio.Future[None] | None = None
        self._persists = False  # as the head of the reply says
        self._kept = False  # its end has come, and the next call may be made
        self._idle_since = 0.0

    # --- calls --------------------------------------------------------------------------------------------------

    async def exchange(self, request: bytes, reading: Reading) -> None:
        """Send a call, and put into ``reading`` what comes back. Unless all went well, the connection is closed.

        Raises:
            ExchangeError: it ended otherwise than with a whole reply.

        """
        if self._transport.is_closing():
            raise ExchangeError(HUNG_UP)
        self._reading = reading
        self._answered = self._loop.create_future()
        self._beside_body = 0
        self._in_body = self._premature = self._kept = False
        self._transport.write(request)
        kept = False
        try:
            await self._answered
            if self._premature:
                await self._send_rest()
            kept = self._kept
        except BaseException:
            if self._premature:
                reading.take_back()
            raise
        finally:
            self._reading = None
            self._idle_since = self._loop.time()
            if not kept:
                self.close()  # also if we are cancelled at the moment at which the reply is whole

    def is_usable(self) -> bool:
        """Whether another call may go out: after a while without one, the upstream may be about to hang up."""
        if not self._kept or self._transport.is_closing():
            return False
        return self._loop.time() - self._idle_since < MOMENT or not self._has_news()

    def is_idle_for(self, seconds: float) -> bool:
        """Whether there was no call for so long."""
        return self._loop.time() - self._idle_since >= seconds

    def close(self) -> None:
        """Hang up at once."""
        self._transport.abort()

    async def _send_rest(self) -> None:
        """Let a call that was accepted ahead of time go out in full: what we cut off, the upstream cannot have."""
        if self not in self._open_ones:
            raise ExchangeError(NOT_TAKEN)
        self._transport.set_write_buffer_limits(0)
        if self._transport.get_write_buffer_size():
            self._rest_sent = self._loop.create_future()
            await self._rest_sent

    def _has_news(self) -> bool:
        """Whether the socket has bytes, or an end, that the event loop has not come to."""
        looked_at = select.poll()
        looked_at.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(looked_at.poll(0))

    # --- what the event loop tells ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        if self._reading is None:
            self._kept = False
            self.close()  # nobody asked: it would be taken for the beginning of the next reply
            return
        self._beside_body += len(data)
        try:
            with suppress(httptools.HttpParserUpgrade):
                self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._end(error.__context__ or error)
        except httptools.HttpParserError:
            self._end(ExchangeError(NOT_HTTP))
        if self._beside_body > MAX_HEAD:
            self._end(ExchangeError(TOO_LONG))

    def resume_writing(self) -> None:
        if self._rest_sent is not None and not self._rest_sent.done():
            self._rest_sent.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._kept = False
        self._open_ones.discard(self)
        if self._rest_sent is not None and not self._rest_sent.done():
            self._rest_sent.set_exception(ExchangeError(NOT_TAKEN))
        if self._reading is None:
            return
        if exc is None and self._in_body and not self._has_length():
            self._reading.finish()
            self._end()
        elif isinstance(exc, OSError):
            self._end(ExchangeError(NoReply("network", words_of(exc) or "the connection broke")))
        else:
            self._end(ExchangeError(HUNG_UP))

    # --- what the parser tells ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A reply begins, or an interim one, or one that nobody asked for, behind the end of one."""
        self._fields = []
        self._kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; those behind the body are not wanted."""
        if not self._in_body:
            self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head has come, unless it is an interim one, which says nothing."""
        status = self._parser.get_status_code()
        if self._reading is None or (100 <= status < 200 and status != 101):
            return
        self._in_body = True
        unsent = self._transport.get_write_buffer_size() > 0
        self._premature = unsent and 200 <= status < 300
        # One that came before its call was sent is the last on its connection.
        self._persists = status >= 200 and not unsent and self._parser.should_keep_alive()
        self._reading.begin(status, self._fields)

    def on_body(self, body: bytes) -> None:
        """A piece of the body. What is longer than is read is not waited for."""
        self._beside_body -= len(body)
        if self._reading is not None and not self._reading.feed(body):
            self._end()

    def on_message_complete(self) -> None:
        """A reply is whole."""
        if self._reading is not None and self._in_body:
            self._reading.finish()
            self._kept = self._persists
            self._end()

    def _has_length(self) -> bool:
        return any(name.lower() in {"content-length", "transfer-encoding"} for name, _ in self._fields)

    def _end(self, error: BaseException | None = None) -> None:
        """The exchange is over."""
        self._reading = None
        if self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)
