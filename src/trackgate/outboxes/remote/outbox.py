"""The outbox in a process that does not have the data directory: every job goes to the one that has, over a socket.

That one serves it (``server``); what passes between them is in ``frames``. What the owner's process does
alone (operators' orders, readiness) is not here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, Self

import msgspec

from trackgate.outbox import Ledger, OutboxUnavailable
from trackgate.outboxes.face import CLOSING, Face
from trackgate.outboxes.jobs import Append
from trackgate.outboxes.remote.frames import (
    FULL,
    MOST_FRAME,
    Frames,
    GarbledError,
    GiveUp,
    Known,
    decode_message,
    frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackgate.outboxes.jobs import Job
    from trackgate.outboxes.remote.frames import Message

MOST_WAITING = 16 * 2**20
"""Bytes of new events whose callers may wait for the owner at a time."""

LARGEST = MOST_FRAME // 2
"""Bytes of the events of one append, more than any call may bring: what else is in its frame has room beside them."""

LOST = "the process that has the data directory is gone"


class RemoteOutbox(Face):
    """An outbox somewhere else. Made by ``open``; everything else is as ``Outbox`` says.

    Once the connection is lost it stays lost: everything that waits or is asked gets ``OutboxUnavailable``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connection = _Connection(self._hear, self._lose, self._send)
        self._known = Known()
        self._ledger = Ledger(sources={}, destinations={})
        self._numbers = count(1)
        self._promises: dict[int, asyncio.Future[Any]] = {}
        self._leaving: deque[Job] = deque()
        self._given_up: list[int] = []
        self._sending = False
        self._sent = 0  # the number of the last job that was
        self._waiting_bytes = 0
        self._welcome: asyncio.Future[None] = self._loop.create_future()
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, path: str) -> Self:
        """Connect to the socket of that path, and hear how things stand.

        Raises:
            OSError: nobody listens there.
            OutboxUnavailable: the socket was removed, or whoever listened there went away.

        """
        outbox = cls()
        try:
            await outbox._loop.create_unix_connection(lambda: outbox._connection, path)
        except FileNotFoundError:
            name = Path(path).name
            message = f"{name} was removed from the data directory, and nothing replaces it: restart the gateway"
            raise OutboxUnavailable(message) from None
        try:
            await outbox._welcome
        except BaseException:
            outbox._connection.close()
            raise
        return outbox

    # --- the end ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """See everything through that was asked for, and part: what is in our hand then comes again, counted."""
        self._write_rejected()
        while waiting := [promise for promise in self._promises.values() if not promise.done()]:
            await asyncio.wait(waiting)
        if self._ended is None:
            self._ended = CLOSING
        self._connection.close()
        await self._lost.wait()

    async def until_lost(self) -> Never:
        """Wait for as long as the owner's process is there.

        Raises:
            OutboxUnavailable: it is not, or what came from it made no sense; this outbox is of no use any more.

        """
        await self._lost.wait()
        raise OutboxUnavailable(self._ended)

    # --- requests -----------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        if self._ended is not None:
            raise OutboxUnavailable(self._ended)
        if isinstance(job, Append):
            if self._waiting_bytes > MOST_WAITING:
                raise OutboxUnavailable("the process that has the data directory does not keep up with what comes in")
            if job.size > LARGEST:
                raise OutboxUnavailable(f"{job.size} bytes of events are too many to pass on at once")
        number = next(self._numbers)
        self._promises[number] = job.answer
        job.answer = number
        self._leaving.append(job)
        self._send_soon()

    async def _ask(self, job: Job) -> Any:
        answer: asyncio.Future[Any] = job.answer
        self.submit(job)
        if not isinstance(job, Append):
            return await answer
        self._waiting_bytes += job.size
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(job.answer)
            raise
        finally:
            self._waiting_bytes -= job.size

    def _give_up(self, number: int) -> None:
        """What has not left is not sent; what has is not to be stored, if nobody has begun with it."""
        if self._promises.pop(number, None) is not None and number <= self._sent:
            self._given_up.append(number)
            self._send_soon()

    def _send_soon(self) -> None:
        """Once for all that is asked in this turn of the loop."""
        if not self._sending:
            self._sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = False
        while self._connection.writable and (said := self._next_said()):
            try:
                self._connection.write(frame(said))
            except BaseException:
                self._connection.abort()  # else whoever waits for the answers to these would wait for ever
                raise

    def _next_said(self) -> list[Job | GiveUp]:
        said: list[Job | GiveUp] = []
        if self._given_up:
            said.append(GiveUp(self._given_up))
            self._given_up = []
        size = 0
        while self._leaving and size < FULL:
            job = self._leaving.popleft()
            if isinstance(job, Append):
                promise = self._promises.get(job.answer)
                if promise is None or promise.cancelled():
                    continue
                size += job.size
            self._sent = job.answer
            said.append(job)
        return said

    # --- answers ------------------------------------------------------------------------------------------------

    @property
    def known(self) -> Known:
        return self._known

    def _counted(self) -> Ledger:
        return self._ledger

    def _hear(self, message: Message) -> None:
        if message.known is not None:
            self._known = message.known
        if message.ledger is not None:
            self._ledger = message.ledger
            if not self._welcome.done():
                self._welcome.set_result(None)
        for number, answer in chain(message.stored, message.handed, message.plain):
            if waits := self._waiting_for(number):
                waits.set_result(answer)
        for number, failure in message.failed:
            if waits := self._waiting_for(number):
                waits.set_exception(failure.error())
        if message.owed:
            self._wake(message.owed)
        if message.retried:
            self._wake_for_held(message.retried)

    def _waiting_for(self, number: int) -> asyncio.Future[Any] | None:
        promise = self._promises.pop(number, None)
        return None if promise is None or promise.done() else promise

    def _lose(self) -> None:
        if self._ended is None:
            self._ended = LOST
        self._lost.set()
        self._leaving.clear()
        promises = [self._welcome, *self._promises.values()]
        self._promises.clear()
        for promise in promises:
            if not promise.done():
                promise.set_exception(OutboxUnavailable(self._ended))


class _Connection(asyncio.Protocol):
    """The owner's process, as far as it is known here."""

    def __init__(self, hear: Callable[[Message], None], lose: Callable[[], None], go_on: Callable[[], None]) -> None:
        self._hear = hear
        self._lose = lose
        self._go_on = go_on
        self._frames = Frames()
        self.writable = False

    def write(self, data: bytearray) -> None:
        """Send a frame."""
        self._transport.write(data)

    def close(self) -> None:
        """Send what is to be sent, and part."""
        self._transport.close()

    def abort(self) -> None:
        """Part at once."""
        self.writable = False
        self._transport.abort()

    # --- called by the loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self.writable = True

    def data_received(self, data: bytes) -> None:
        try:
            for content in self._frames.feed(data):
                self._hear(decode_message(content))
        except (GarbledError, msgspec.DecodeError):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable = False
        self._lose()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._go_on()
