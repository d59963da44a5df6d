"""The embedded outbox: SQLite in the data directory, behind the ``Outbox`` protocol.

One process owns the directory. This is its face on the event loop; all writing is done by ``writer`` on one
thread, which answers many requests with one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Never, Self

import apsw

from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.face import CLOSING, Face
from trackgate.outboxes.jobs import (
    Append,
    Close,
    Condemn,
    DropDead,
    DropWaiting,
    Job,
    Move,
    RetryDead,
    Snapshot,
)
from trackgate.outboxes.sqlite.check import Check
from trackgate.outboxes.sqlite.database import Database
from trackgate.outboxes.sqlite.lock import own
from trackgate.outboxes.sqlite.reader import SqliteReader
from trackgate.outboxes.sqlite.room import Room
from trackgate.outboxes.sqlite.salvage import make_sound, mark
from trackgate.outboxes.sqlite.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from trackgate.model import Clock
    from trackgate.outbox import Ledger, Selection
    from trackgate.outboxes.jobs import Answered
    from trackgate.outboxes.sqlite.limits import Limits

MOST_WAITING = 64 * 2**20
"""Bytes of new events that may wait for the writer: while a disk stalls, its callers give up, and their events stay."""

Follower = Callable[[Snapshot, frozenset[str], frozenset[str]], None]
"""Hears what is known, which destinations are newly owed something, and which have dead ones that are due again."""

CommitHook = Callable[[float, int], None]
"""Hears how long a commit took (seconds), and how many requests shared it."""


class SqliteOutbox(Face):
    """An outbox in a directory. Made by ``open``; everything else is as ``Outbox`` says."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        room: Room,
        start: Callable[[Callable[[Answered], None]], Writer],
        let_go: Callable[[], None],
    ) -> None:
        super().__init__()
        self._directory = directory
        self._limits = limits
        self._room = room
        self._let_go = let_go
        self._note_commit: CommitHook = _unnoted
        self._follower: Follower = _alone
        self._closing: asyncio.Future[None] | None = None
        self._damaged = asyncio.Event()
        self._check: Check | None = None
        self._writer = start(self._publish)
        self._queue = self._writer.queue
        self._known = self._writer.start()

    @classmethod
    async def open(
        cls,
        directory: Path,
        clock: Clock,
        limits: Limits,
        *,
        log: FilteringBoundLogger | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Open the outbox of a data directory, or make it. A damaged one is salvaged first (``salvage``).

        Args:
            directory: made, for us alone, if it is not there.
            clock: the time.
            limits: what bounds it.
            log: for the storage's failures.
            vfs: SQLite's virtual file system, by name: a faulty disk, for tests.

        Raises:
            OutboxUnavailable: another process owns the directory, its file is of a newer Trackgate, not ours or
                beyond saving, or the storage failed.

        """
        room = Room(directory, limits.min_free, clock)
        say = _teller(asyncio.get_running_loop(), log)
        let_go = own(directory)

        def start(publish: Callable[[Answered], None]) -> Writer:
            return Writer(
                lambda: Database.open(directory, vfs=vfs), lambda: mark(directory), room, clock, limits, publish, say
            )

        try:
            whole = make_sound(directory, clock, say, vfs=vfs)
            outbox = cls(directory, limits, room, start, let_go)
        except (apsw.Error, OSError) as error:
            let_go()
            raise OutboxUnavailable(f"the outbox in {directory} cannot be opened: {error}") from None
        except BaseException:
            let_go()
            raise
        if not whole:
            outbox._check = Check(directory, clock.monotonic, outbox._doubt, say, vfs=vfs)
        return outbox

    # --- operators' orders ---------------------------------------------------------------------------------------

    async def retry_dead(self, selection: Selection, limit: int) -> int:
        return await self._with_dead(RetryDead, selection, limit)

    async def drop_dead(self, selection: Selection, limit: int) -> int:
        return await self._with_dead(DropDead, selection, limit)

    async def move(self, old: str, new: str, limit: int) -> int:
        moved: int = await self._ask(Move(self._promise(), old, new, limit))
        return moved

    async def drop_waiting(self, destination: str, limit: int) -> int:
        dropped: int = await self._ask(DropWaiting(self._promise(), destination, limit))
        return dropped

    # --- the end ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        if self._closing is None:
            self._write_rejected()
            self._ended = CLOSING
            self._closing = self._loop.create_future()
            if self._check is not None:
                await asyncio.to_thread(self._check.close)  # as long as it reads, the log cannot be emptied
            self._hand_on(Close(self._closing))
            await self._closing
            self._writer.join()
            self._let_go()
        await asyncio.shield(self._closing)

    async def until_damaged(self) -> Never:
        """Wait for as long as the file is sound.

        Raises:
            OutboxUnavailable: it is damaged; nothing is stored or handed out until the next ``open`` has salvaged it.

        """
        await self._damaged.wait()
        raise OutboxUnavailable(self._known.trouble)

    def healthy(self) -> str | None:
        """Why new events would be refused now; ``None`` where they would be taken."""
        if self._ended is not None:
            return self._ended
        if self._known.trouble:
            return self._known.trouble
        if self._known.counts.backlog >= self._limits.max_backlog:
            return "the backlog has reached `server.max_backlog`"
        return "the disk has less than `server.min_free` left" if self._room.short() else None

    # --- requests and answers -----------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        if self._ended is not None:
            raise OutboxUnavailable(self._ended)
        if isinstance(job, Append) and self._queue.waiting_bytes() > MOST_WAITING:
            raise OutboxUnavailable("the disk does not keep up with what comes in")
        self._hand_on(job)

    def _hand_on(self, job: Job) -> None:
        if self._queue.submit(job) == 1:
            self._loop.call_soon(self._queue.hand_over)

    @property
    def known(self) -> Snapshot:
        return self._known

    def _counted(self) -> Ledger:
        return self._known.counts.ledger

    def on_commit(self, note: CommitHook) -> None:
        """Call ``note``, on the event loop, after each commit."""
        self._note_commit = note

    def follow(self, hear: Follower) -> None:
        """Have somebody hear, on the event loop, what is known after each commit, when its jobs were answered."""
        self._follower = hear

    async def _with_dead(self, kind: type[RetryDead | DropDead], selection: Selection, limit: int) -> int:
        """Choose on a thread of its own: to look through a million dead would keep everybody else waiting."""
        while chosen := await asyncio.to_thread(self._choose, selection, limit):
            done: int = await self._ask(kind(self._promise(), chosen))
            if done:
                return done  # else somebody else was faster
        return 0

    def _choose(self, selection: Selection, limit: int) -> list[tuple[str, int]]:
        with SqliteReader(self._directory) as reader:
            return reader.choose(selection, limit)

    def _publish(self, answered: Answered) -> None:
        """Called on the writer's thread: one wake-up of the loop for all that a transaction answered."""
        with suppress(RuntimeError):  # the loop was closed before the outbox: nobody waits any more
            self._loop.call_soon_threadsafe(self._hear, answered)

    def _doubt(self, damage: str) -> None:
        """Called on the check's thread, which found something."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._condemn, damage)

    def _condemn(self, damage: str) -> None:
        if self._ended is None:  # else the next start looks again
            self.submit(Condemn(self._unasked(), damage))

    def _hear(self, answered: Answered) -> None:
        self._known = answered.snapshot
        if answered.snapshot.damaged:
            self._damaged.set()
        for job, answer in answered.answers:
            if job.answer.done():
                continue
            if isinstance(answer, BaseException):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
        if answered.seconds is not None:
            self._note_commit(answered.seconds, len(answered.answers))
        owed, retried = answered.newly_owed(), answered.retried()
        if owed:
            self._wake(owed)
        if retried:
            self._wake_for_held(retried)
        self._follower(answered.snapshot, owed, retried)


def _teller(loop: asyncio.AbstractEventLoop, log: FilteringBoundLogger | None) -> Callable[..., None]:
    """How the writer's thread logs: on the event loop, so that it waits for nobody."""

    def say(event: str, **fields: object) -> None:
        if log is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(partial(log.warning, event, **fields))

    return say


def _alone(_known: Snapshot, _owed: frozenset[str], _retried: frozenset[str]) -> None:
    """Nobody follows."""


def _unnoted(_seconds: float, _requests: int) -> None:
    """Nobody notes the commits."""
