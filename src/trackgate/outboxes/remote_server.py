"""The owner's side of a remote outbox: serves an open ``SqliteOutbox`` to the processes that connect to a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec

from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.remote_frames import FULL, Failure, Frames, GarbledError, GiveUp, Known, Told, asked, frame
from trackgate.outboxes.sqlite_jobs import Append, Job, LetGo, Promise, Take, TakeHeld, TakeLive

if TYPE_CHECKING:
    import socket

    from structlog.typing import FilteringBoundLogger

    from trackgate.outbox import Ledger
    from trackgate.outboxes.remote_frames import Asked
    from trackgate.outboxes.sqlite import SqliteOutbox
    from trackgate.outboxes.sqlite_jobs import Snapshot

LEDGER_EVERY = 1.0
"""Seconds between two times that a worker is told the ledger, at least: it is long, and few look at it."""

MOST_ASKED = 16_384
"""Jobs of a worker that are not answered yet; with more of them, no more are read from it."""

TRY_AGAIN = 1.0
"""Seconds between two tries to let go of what a worker had in hand, while the storage does not answer."""

PLACES: dict[type[Job], str] = {Append: "stored", Take: "handed", TakeLive: "handed", TakeHeld: "handed"}
"""Where in ``Told`` the answer to a job stands, if not among the plain ones."""

NOBODY = frozenset[str]()


class OutboxServer:
    """Serves until it is closed. Made by ``start``."""

    def __init__(self, outbox: SqliteOutbox, log: FilteringBoundLogger | None, ledger_every: float) -> None:
        self._outbox = outbox
        self._log = log
        self._ledger_every = ledger_every
        self._loop = asyncio.get_running_loop()
        self._peers: set[_Peer] = set()
        self._hands: dict[str, _Peer] = {}
        self._behind: dict[str, list[tuple[_Peer, Take | TakeLive | TakeHeld]]] = {}
        self._closed = False
        self._next_ledger = self._loop.time()
        self._telling: asyncio.TimerHandle | None = None
        self._known = _known(outbox.known)
        self._listening: asyncio.Server | None = None
        outbox.follow(self._hear)

    @classmethod
    async def start(
        cls,
        outbox: SqliteOutbox,
        listener: socket.socket,
        *,
        log: FilteringBoundLogger | None = None,
        ledger_every: float = LEDGER_EVERY,
    ) -> Self:
        """Serve.

        Args:
            outbox: open; it is closed after this, by whoever opened it.
            listener: a Unix socket that listens, closed by ``close``.
            log: for connections that end because of what came through them.
            ledger_every: seconds between two times that a worker is told the ledger, at least.

        """
        server = cls(outbox, log, ledger_every)
        server._listening = await server._loop.create_unix_server(lambda: _Peer(server), sock=listener)
        return server

    async def close(self) -> None:
        """End all connections. What their workers have in hand by then, the next start lets go of."""
        self._closed = True
        if self._telling is not None:
            self._telling.cancel()
        if self._listening is not None:
            self._listening.close()
        peers = list(self._peers)
        for peer in peers:
            peer.end()
        if peers:
            await asyncio.wait([peer.gone for peer in peers])

    # --- what the peers do --------------------------------------------------------------------------------------

    def welcome(self, peer: _Peer) -> None:
        """Somebody has connected."""
        self._peers.add(peer)
        peer.tell(Told(known=self._known, ledger=self._outbox.ledger()))

    def submit(self, peer: _Peer, job: Job) -> None:
        """Have a job done, unless it has to wait for the end of another peer."""
        if isinstance(job, Take | TakeLive | TakeHeld) and self._hands.setdefault(job.destination, peer) is not peer:
            # Were it done before what the other had in hand is let go of, that would take this one's along.
            self._behind.setdefault(job.destination, []).append((peer, job))
            return
        try:
            self._outbox.submit(job)
        except OutboxUnavailable as error:
            job.answer.set_exception(error)

    def part(self, peer: _Peer, garbled: str | None) -> None:
        """A connection has ended."""
        self._peers.discard(peer)
        if garbled is not None and self._log is not None:
            self._log.warning("outbox.connection_garbled", detail=garbled)
        if destinations := [name for name, holder in self._hands.items() if holder is peer]:
            self._let_go(destinations)

    def _let_go(self, destinations: list[str]) -> None:
        """After all that the peer asked for, since the writer takes jobs in their order."""
        if self._closed:
            return  # the next start does it
        answer = self._loop.create_future()
        answer.add_done_callback(lambda answer: self._have_let_go(destinations, answer))
        try:
            self._outbox.submit(LetGo(answer, destinations))
        except OutboxUnavailable as error:
            answer.set_exception(error)

    def _have_let_go(self, destinations: list[str], answer: asyncio.Future[None]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            if not self._closed:
                self._loop.call_later(TRY_AGAIN, self._let_go, destinations)
            return
        for name in destinations:
            del self._hands[name]
            for peer, job in self._behind.pop(name, ()):
                if not peer.lost:
                    self.submit(peer, job)
        # Whoever asked in the meantime what is due there did not hear of what was still in the other's hand.
        there = frozenset(destinations)
        for peer in self._peers:
            peer.flush(owed=there, retried=there)

    # --- what the peers hear ------------------------------------------------------------------------------------

    def known(self) -> Known:
        """As of the last commit, also while its answers are being given."""
        return _known(self._outbox.known)

    def _hear(self, snapshot: Snapshot, owed: frozenset[str], retried: frozenset[str]) -> None:
        """After each commit, when its answers were given to the peers."""
        known = _known(snapshot)
        changed = None if known == self._known else known
        self._known = known
        ledger = None
        if self._loop.time() >= self._next_ledger:
            ledger = self._outbox.ledger()
            self._next_ledger = self._loop.time() + self._ledger_every
        elif self._telling is None and not self._closed:
            self._telling = self._loop.call_at(self._next_ledger, self._tell_ledger)
        for peer in self._peers:
            peer.flush(changed, ledger, owed, retried)

    def _tell_ledger(self) -> None:
        self._telling = None
        self._next_ledger = self._loop.time() + self._ledger_every
        ledger = self._outbox.ledger()
        for peer in self._peers:
            peer.flush(None, ledger)


class _Promise(Promise):
    """A worker's job that waits for its answer."""

    __slots__ = ("_given_up", "_number", "_peer", "_place")

    def __init__(self, peer: _Peer, number: int, place: str) -> None:
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


class _Peer(asyncio.Protocol):
    """A connection."""

    def __init__(self, server: OutboxServer) -> None:
        self._server = server
        self._frames = Frames()
        self._told = Told()
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
                for one in asked.decode(content):
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

    def tell(self, told: Told) -> None:
        """Have it hear something."""
        if self.lost:
            return
        try:
            self._transport.write(frame(told))
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
        told = self._told
        told.known = known or told.known
        told.ledger = ledger or told.ledger
        told.owed |= owed
        told.retried |= retried
        if self._writable and told != Told():
            self._told, self._size = Told(), 0
            self.tell(told)
        self._weigh()

    def answered(self, number: int, place: str, answer: Any) -> None:
        """Note the answer to a job, for the next ``flush``."""
        self._waiting -= 1
        self._appends.pop(number, None)
        getattr(self._told, place).append((number, answer))
        if place == "handed":
            self._size += sum(one.size for one in answer)
            if self._size > FULL:
                self.flush(self._server.known())

    # --- what it says -------------------------------------------------------------------------------------------

    def _take_in(self, one: Asked) -> None:
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


def _known(snapshot: Snapshot) -> Known:
    return Known(snapshot.news, snapshot.live, snapshot.held)
