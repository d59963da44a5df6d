"""The embedded outbox: SQLite in the data directory, behind the ``Outbox`` protocol.

One process owns the directory. This is its face on the event loop; all writing is done by ``sqlite_writer`` on one
thread, which answers many requests with one commit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Never, Self

import apsw

from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.sqlite_check import Check
from trackgate.outboxes.sqlite_counts import with_rejected
from trackgate.outboxes.sqlite_database import Database
from trackgate.outboxes.sqlite_jobs import (
    Append,
    Close,
    Condemn,
    DropDead,
    DropWaiting,
    GiveBack,
    Job,
    Move,
    NextDue,
    Reject,
    RetryDead,
    Settle,
    Stand,
    Take,
    TakeHeld,
    TakeLive,
    claim,
    ready,
    settled,
)
from trackgate.outboxes.sqlite_lock import own
from trackgate.outboxes.sqlite_reader import SqliteReader
from trackgate.outboxes.sqlite_room import Room
from trackgate.outboxes.sqlite_salvage import make_sound, mark
from trackgate.outboxes.sqlite_times import micros, moment
from trackgate.outboxes.sqlite_writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from trackgate.model import Clock
    from trackgate.outbox import Appended, Delivery, Entry, Ledger, Selection, Settlement, Standing
    from trackgate.outboxes.sqlite_jobs import Answered
    from trackgate.outboxes.sqlite_limits import Limits

WITHIN = 1.0
"""Seconds after which a call turned away is written down, if nothing else is written before."""

MOST_WAITING = 64 * 2**20
"""Bytes of new events that may wait for the writer: while a disk stalls, its callers give up, and their events stay."""


class SqliteOutbox:
    """An outbox in a directory. Made by ``open``; everything else is as ``Outbox`` says."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        room: Room,
        start: Callable[[Callable[[Answered], None]], Writer],
        let_go: Callable[[], None],
        on_commit: Callable[[float, int], None] | None,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._room = room
        self._let_go = let_go
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._wake: Callable[[frozenset[str]], None] = _nobody
        self._wake_for_held: Callable[[frozenset[str]], None] = _nobody
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._flush: asyncio.TimerHandle | None = None
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
        on_commit: Callable[[float, int], None] | None = None,
        log: FilteringBoundLogger | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Open the outbox of a data directory, or make it. A damaged one is salvaged first (``sqlite_salvage``).

        Args:
            directory: made, for us alone, if it is not there.
            clock: the time.
            limits: what bounds it.
            on_commit: hears, on the event loop, how long each commit took (seconds) and how many requests shared it.
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
            outbox = cls(directory, limits, room, start, let_go, on_commit)
        except (apsw.Error, OSError) as error:
            let_go()
            raise OutboxUnavailable(f"the outbox in {directory} cannot be opened: {error}") from None
        except BaseException:
            let_go()
            raise
        if not whole:
            outbox._check = Check(directory, clock.monotonic, outbox._doubt, say, vfs=vfs)
        return outbox

    # --- the protocol -------------------------------------------------------------------------------------------

    async def append(self, entries: Sequence[Entry]) -> Sequence[Appended]:
        if self._queue.waiting_bytes() > MOST_WAITING:
            raise OutboxUnavailable("the disk does not keep up with what comes in")
        rows = [ready(entry) for entry in entries]
        return await self._ask(Append(self._promise(), rows, sum(row.size for row in rows))) if rows else []

    async def take(self, destination: str, limit: int) -> Sequence[Delivery]:
        # A round may bring nothing because all of it had to join what its lanes hold.
        while self.has_news(destination):
            if taken := await self._take(Take(self._promise(), destination, limit)):
                return taken
        return []

    async def take_live(self, destination: str, limit: int) -> Sequence[Delivery]:
        if not self.has_live(destination):
            return []
        return await self._take(TakeLive(self._promise(), destination, limit))

    async def take_held(
        self, destination: str, now: datetime, limit: int, *, undue: bool = False
    ) -> Sequence[Delivery]:
        if destination not in self._known.held:
            return []
        return await self._take(TakeHeld(self._promise(), destination, limit, None if undue else micros(now)))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if settlements:
            await self._ask(Settle(self._promise(), [settled(one) for one in settlements]))

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._ask(GiveBack(self._promise(), [claim(one) for one in deliveries]))

    async def next_due(self, destination: str) -> datetime | None:
        if destination not in self._known.held:
            return None
        due = await self._ask(NextDue(self._promise(), destination))
        return None if due is None else moment(due)

    async def stand(self, destination: str, standing: Standing) -> None:
        await self._ask(Stand(self._promise(), destination, standing))

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

    def has_news(self, destination: str) -> bool:
        return destination in self._known.news

    def has_live(self, destination: str) -> bool:
        return destination in self._known.live

    def on_append(self, wake: Callable[[frozenset[str]], None]) -> None:
        self._wake = wake

    def on_retry(self, wake: Callable[[frozenset[str]], None]) -> None:
        self._wake_for_held = wake

    def count_rejected(self, source: str, reason: str, count: int = 1) -> None:
        self._rejected[source, reason] += count
        if self._flush is None and self._closing is None:
            self._flush = self._loop.call_later(WITHIN, self._write_rejected)

    def ledger(self) -> Ledger:
        ledger = self._known.counts.ledger
        return with_rejected(ledger, self._rejected) if self._rejected else ledger

    async def close(self) -> None:
        if self._closing is None:
            self._write_rejected()
            self._closing = self._loop.create_future()
            if self._check is not None:
                await asyncio.to_thread(self._check.close)  # as long as it reads, the log cannot be emptied
            self._submit(Close(self._closing))
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
        if self._closing is not None:
            return "the outbox is closing"
        if self._known.trouble:
            return self._known.trouble
        if self._known.counts.backlog >= self._limits.max_backlog:
            return "the backlog has reached `server.max_backlog`"
        return "the disk has less than `server.min_free` left" if self._room.short() else None

    # --- requests and answers -----------------------------------------------------------------------------------

    def _promise(self) -> asyncio.Future[Any]:
        if self._closing is not None:
            raise OutboxUnavailable("the outbox is closing")
        return self._loop.create_future()

    def _submit(self, job: Job) -> None:
        if self._queue.submit(job) == 1:
            self._loop.call_soon(self._queue.hand_over)

    async def _ask(self, job: Job) -> Any:
        self._submit(job)
        return await job.answer

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

    async def _take(self, job: Take | TakeLive | TakeHeld) -> list[Delivery]:
        """Have deliveries handed out; if whoever asked is gone by then, they are given back."""
        self._submit(job)
        try:
            taken: list[Delivery] = await asyncio.shield(job.answer)
        except asyncio.CancelledError:
            job.answer.add_done_callback(self._put_back)
            raise
        return taken

    def _put_back(self, answer: asyncio.Future[list[Delivery]]) -> None:
        if answer.cancelled() or answer.exception() is not None or self._closing is not None:
            return  # at the next start nothing is in anybody's hand
        if taken := answer.result():
            unasked = self._loop.create_future()
            unasked.add_done_callback(_seen)
            self._submit(GiveBack(unasked, [claim(one) for one in taken]))

    def _publish(self, answered: Answered) -> None:
        """Called on the writer's thread: one wake-up of the loop for all that a transaction answered."""
        with suppress(RuntimeError):  # the loop was closed before the outbox: nobody waits any more
            self._loop.call_soon_threadsafe(self._hear, answered)

    def _doubt(self, damage: str) -> None:
        """Called on the check's thread, which found something."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._condemn, damage)

    def _condemn(self, damage: str) -> None:
        if self._closing is None:  # else the next start looks again
            unasked = self._loop.create_future()
            unasked.add_done_callback(_seen)
            self._submit(Condemn(unasked, damage))

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
        if self._on_commit is not None and answered.seconds is not None:
            self._on_commit(answered.seconds, len(answered.answers))
        if owed := answered.newly_owed():
            self._wake(owed)
        if names := answered.retried():
            self._wake_for_held(names)

    # --- calls turned away --------------------------------------------------------------------------------------

    def _write_rejected(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None
        if self._rejected and self._closing is None:
            counts = dict(self._rejected)
            written = self._promise()
            written.add_done_callback(lambda answer: self._forget_rejected(counts, answer))
            self._submit(Reject(written, counts))

    def _forget_rejected(self, counts: dict[tuple[str, str], int], answer: asyncio.Future[None]) -> None:
        if answer.exception() is None:
            self._rejected -= Counter(counts)
        if self._rejected and self._flush is None and self._closing is None:
            self._flush = self._loop.call_later(WITHIN, self._write_rejected)


def _teller(loop: asyncio.AbstractEventLoop, log: FilteringBoundLogger | None) -> Callable[..., None]:
    """How the writer's thread logs: on the event loop, so that it waits for nobody."""

    def say(event: str, **fields: object) -> None:
        if log is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(partial(log.warning, event, **fields))

    return say


def _nobody(_: frozenset[str]) -> None:
    """Nobody is to be woken."""


def _seen(answer: asyncio.Future[Any]) -> None:
    """Nobody waits for this one; an error in it is no news."""
    if not answer.cancelled():
        answer.exception()
