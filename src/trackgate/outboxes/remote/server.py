"""The owner's side of a remote outbox: serves an open ``SqliteOutbox`` to the processes that connect to a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from trackgate.outbox import STORAGE_PAUSE, OutboxUnavailable
from trackgate.outboxes.jobs import LetGo, Take, TakeHeld, TakeLive
from trackgate.outboxes.remote.frames import Known, Message
from trackgate.outboxes.remote.peer import Peer

if TYPE_CHECKING:
    import socket

    from structlog.typing import FilteringBoundLogger

    from trackgate.outboxes.jobs import Job, Snapshot
    from trackgate.outboxes.sqlite.outbox import SqliteOutbox

LEDGER_EVERY = 1.0
"""Seconds between two times that a worker is told the ledger, at least: it is long, and few look at it."""


class OutboxServer:
    """Serves until it is closed. Made by ``start``."""

    def __init__(self, outbox: SqliteOutbox, log: FilteringBoundLogger | None, ledger_every: float) -> None:
        self._outbox = outbox
        self._log = log
        self._ledger_every = ledger_every
        self._loop = asyncio.get_running_loop()
        self._peers: set[Peer] = set()
        self._hands: dict[str, Peer] = {}
        self._behind: dict[str, list[tuple[Peer, Take | TakeLive | TakeHeld]]] = {}
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
        server._listening = await server._loop.create_unix_server(lambda: Peer(server), sock=listener)
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

    def welcome(self, peer: Peer) -> None:
        """Somebody has connected."""
        self._peers.add(peer)
        peer.tell(Message(known=self._known, ledger=self._outbox.ledger()))

    def submit(self, peer: Peer, job: Job) -> None:
        """Have a job done, unless it has to wait for the end of another peer."""
        if isinstance(job, Take | TakeLive | TakeHeld) and self._hands.setdefault(job.destination, peer) is not peer:
            # Were it done before what the other had in hand is let go of, that would take this one's along.
            self._behind.setdefault(job.destination, []).append((peer, job))
            return
        try:
            self._outbox.submit(job)
        except OutboxUnavailable as error:
            job.answer.set_exception(error)

    def part(self, peer: Peer, garbled: str | None) -> None:
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
                self._loop.call_later(STORAGE_PAUSE, self._let_go, destinations)
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


def _known(snapshot: Snapshot) -> Known:
    return Known(snapshot.news, snapshot.live, snapshot.held)
