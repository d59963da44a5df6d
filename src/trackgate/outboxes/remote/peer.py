"""A worker's connection, as the owner has it: the jobs that come in, and the answers that go out.

No more of either than the other side keeps up with. What all connections share is in ``server``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from trackgate.outboxes.jobs import Append, Promise, Take, TakeHeld, TakeLive
from trackgate.outboxes.remote.frames import (
    FULL,
    Failure,
    Frames,
    GarbledError,
    GiveUp,
    Message,
    decode_requests,
    frame,
)

if TYPE_CHECKING:
    from trackgate.outbox import Ledger
    from trackgate.outboxes.jobs import Job
    from trackgate.outboxes.remote.frames import Known, Request
    from trackgate.outboxes.remote.server import OutboxServer

MOST_ASKED = 16_384
"""Jobs of a worker that are not answered yet; with more of them, no more are read from it."""

PLACES: dict[type[Job], str] = {Append: "stored", Take: "handed", TakeLive: "handed", TakeHeld: "handed"}
"""Where in ``Message`` the answer to a job stands, if not among the plain ones."""

NOBODY = frozenset[str]()


class Peer(asyncio.Protocol):
    """A connection. Made by the server when somebody connects."""

    def __init__(self, server: OutboxServer) -> None:
        self._server = server
        self._frames = Frames()
        self._message = Message()
        self._size = 0  # bytes of events in what it is to be told
        self._appends: dict[int, _Promise] = {}
        self._waiting = 0
        self._writable = self._reading = True
        self._garbled: str | None = None
        self.lost = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # --- called by the loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self._server.welcome(self)

    def data_received(self, data: bytes) -> None:
        if self.lost:
            return
        try:
            for content in self._frames.feed(data):
                for one in decode_requests(content):
                    self._take_in(one)
        except (GarbledError, msgspec.DecodeError) as error:
            self._garbled = str(error)
            self.end()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._server.part(self, self._garbled)
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._writable = False
        self._weigh()

    def resume_writing(self) -> None:
        self._writable = True
        self.flush()

    # --- called by the server -----------------------------------------------------------------------------------

    def end(self) -> None:
        """Hear nothing more from it, and tell it nothing."""
        self.lost = True
        self._transport.abort()

    def tell(self, message: Message) -> None:
        """Have it hear something."""
        if self.lost:
            return
        try:
            self._transport.write(frame(message))
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            # A bug. Without this connection its callers hear that at once, and its successor is told anew.
            self._garbled = f"what it is to hear cannot be said: {error}"
            self.end()

    def flush(
        self,
        known: Known | None = None,
        ledger: Ledger | None = None,
        owed: frozenset[str] = NOBODY,
        retried: frozenset[str] = NOBODY,
    ) -> None:
        """Have it hear the answers to its jobs, and these; all at once later, if it does not read just now."""
        message = self._message
        message.known = known or message.known
        message.ledger = ledger or message.ledger
        message.owed |= owed
        message.retried |= retried
        if self._writable and message != Message():
            self._message, self._size = Message(), 0
            self.tell(message)
        self._weigh()

    def answered(self, number: int, place: str, answer: Any) -> None:
        """Note the answer to a job, for the next ``flush``."""
        self._waiting -= 1
        self._appends.pop(number, None)
        getattr(self._message, place).append((number, answer))
        if place == "handed":
            self._size += sum(one.size for one in answer)
            if self._size > FULL:
                self.flush(self._server.known())

    # --- what it says -------------------------------------------------------------------------------------------

    def _take_in(self, one: Request) -> None:
        if isinstance(one, GiveUp):
            for number in one.numbers:
                self._give_up(number)
            return
        number = one.answer
        if not isinstance(number, int):
            raise GarbledError("a job without a number")
        kind: type[Job] = type(one)
        promise = one.answer = _Promise(self, number, PLACES.get(kind, "plain"))
        if isinstance(one, Append):
            self._appends[number] = promise
        self._waiting += 1
        self._server.submit(self, one)

    def _give_up(self, number: int) -> None:
        if promise := self._appends.pop(number, None):  # else its answer is on the way
            promise.give_up()
            self._waiting -= 1

    def _weigh(self) -> None:
        """Read no more from it than can be answered."""
        reading = self._writable and self._waiting <= MOST_ASKED
        if reading != self._reading and not self.lost:
            self._reading = reading
            (self._transport.resume_reading if reading else self._transport.pause_reading)()


class _Promise(Promise):
    """A worker's job that waits for its answer."""

    __slots__ = ("_given_up", "_number", "_peer", "_place")

    def __init__(self, peer: Peer, number: int, place: str) -> None:
        self._peer = peer
        self._number = number
        self._place = place
        self._given_up = False

    def give_up(self) -> None:
        self._given_up = True

    def done(self) -> bool:
        return self._given_up or self._peer.lost

    cancelled = done

    def set_result(self, result: Any) -> None:
        self._peer.answered(self._number, self._place, result)

    def set_exception(self, error: BaseException) -> None:
        self._peer.answered(self._number, "failed", Failure.of(error))
