"""The one thread that writes: all requests that wait become one transaction, one fsync, one wake-up of the loop."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import apsw
from msgspec.structs import replace

from trackgate.outbox import OutboxFull, OutboxUnavailable
from trackgate.outboxes.jobs import Answered, Append, Close, Condemn, Job, NextDue, Snapshot
from trackgate.outboxes.sqlite.books import Books
from trackgate.outboxes.sqlite.check import DAMAGE
from trackgate.outboxes.sqlite.queue import Queue
from trackgate.outboxes.sqlite.sweep import EVERY, Sweep
from trackgate.outboxes.sqlite.transaction import Terms, next_due, write
from trackgate.outboxes.times import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trackgate.model import Clock
    from trackgate.outboxes.sqlite.database import Database
    from trackgate.outboxes.sqlite.limits import Limits
    from trackgate.outboxes.sqlite.room import Room

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before the first, and between the later tries to open the file again."""

LOOK_AFTER = 1.0
"""Seconds that the age of the oldest waiting event may lag behind."""
BUSY_SWEEP = 0.1
"""Seconds between two chunks of a sweep while requests keep coming."""
COMPLAIN_EVERY = 10.0
"""Seconds between two lines about a disk that stays full."""
SHORT_SWEEP = 2.0
"""Seconds between two sweeps while the disk is short of space."""

# What a statement was given can be at fault for these; for any other, the storage is.
_OWN_FAULTS = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, apsw.RangeError, apsw.SQLError)


class Writer:
    """The thread and its connection.

    Args:
        reopen: opens the file, now and again after each failure.
        mark: has the next start salvage the file.
        room: the free space.
        clock: the time.
        limits: as configured.
        publish: hears of every transaction, on this thread.
        say: logs a line (event, fields), from this thread.

    """

    def __init__(
        self,
        reopen: Callable[[], Database],
        mark: Callable[[], None],
        room: Room,
        clock: Clock,
        limits: Limits,
        publish: Callable[[Answered], None],
        say: Callable[..., None],
    ) -> None:
        self._reopen = reopen
        self._mark = mark
        self._room = room
        self._clock = clock
        self._limits = limits
        self._publish = publish
        self._say = say
        self._start = micros(clock.now()) - int(clock.monotonic() * 1e6)
        self.queue = Queue()
        self._sweep = Sweep(limits, say)
        self._sweeping = True
        self._next_sweep = clock.monotonic()
        self._no_sweep_until = clock.monotonic()
        self._next_oldest = clock.monotonic()
        self._next_complaint = clock.monotonic()
        self._hand = 1
        self._pause = FIRST_PAUSE
        self._retry_at = 0.0
        self._trouble: str | None = None
        self._damaged = False
        database = reopen()
        # What a power cut tore off the log's end would stay behind what is written next: after a second one it would
        # pass for commits behind damage, and be preferred to those that were fsynced. While somebody reads, it stays.
        with suppress(apsw.BusyError):
            database.checkpoint()
        self._database: Database | None = database
        self._books = self._load(database, "let_go")
        self._committed = self._books.snapshot(limits.max_backlog)
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> Snapshot:
        """Begin; what the loop should know until the first transaction."""
        known = self._committed
        self._thread.start()
        return known

    def join(self) -> None:
        """Wait for the end, after ``Close`` was answered."""
        self._thread.join()

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        closing: Job | None = None
        while closing is None:
            jobs = self.queue.fetch(self._patience())
            closing = next((job for job in jobs if isinstance(job, Close)), None)
            jobs = [job for job in jobs if not isinstance(job, Close) and not _abandoned(job)]
            if self._database is None:
                self._recover()
            for job in jobs:
                if isinstance(job, Condemn):
                    self._fail(apsw.CorruptError(job.damage))
            if jobs:
                self._answer(jobs)
            self._tidy(idle=not jobs)
        self._end(closing)

    def _patience(self) -> float:
        """Seconds until there is something to do without a request."""
        now = self._clock.monotonic()
        if self._damaged:
            return EVERY
        if self._database is None:
            return max(self._retry_at - now, 0.0)
        at = now if self._sweeping else self._next_sweep
        if self._books.stale_oldest:
            at = min(at, self._next_oldest)
        return max(at - now, 0.0)

    def _answer(self, jobs: Sequence[Job], *, anew: bool = False) -> None:
        """Do them, and publish what came of it; ``anew``: some of the events may be stored already."""
        if self._database is None:
            self._publish(Answered([(job, self._unavailable()) for job in jobs], self._snapshot()))
            return
        started = self._clock.monotonic()
        try:
            answers = self._transact(self._database, jobs, anew=anew)
        except apsw.FullError:
            self._roll_back()
            self._ran_out(jobs)
        except _OWN_FAULTS as error:
            self._roll_back()
            if isinstance(error, apsw.ConstraintError) and not anew:
                self._answer(jobs, anew=True)  # most likely an event that comes again
            else:
                self._one_by_one(jobs, error)
        except apsw.Error as error:
            self._fail(error)
            self._publish(Answered([(job, self._unavailable()) for job in jobs], self._snapshot()))
        except Exception as error:  # noqa: BLE001 - the outermost edge of this thread: whoever waits must hear of it
            self._roll_back()
            self._one_by_one(jobs, error)
        else:
            wrote = any(not isinstance(job, NextDue) for job in jobs)
            seconds = self._clock.monotonic() - started if wrote else None
            self._publish(Answered(answers, self._snapshot(), seconds))

    def _transact(self, database: Database, jobs: Sequence[Job], *, anew: bool) -> list[tuple[Job, Any]]:
        """Do the jobs, those that change something in one transaction; what fails in a job undoes them all."""
        answers: list[tuple[Job, Any]] = []
        writes = [job for job in jobs if not isinstance(job, NextDue)]
        if writes:
            now = self._now()
            terms = Terms(self._hand, now, now - int(self._limits.dedupe_window * 1e6), self._why_full, anew)
            database.begin()
            answers = write(database, self._books, writes, terms)
            if self._books.stale_oldest and self._clock.monotonic() >= self._next_oldest:
                self._look_for_oldest(database)
            self._books.write(database)
        answers += [(job, next_due(database, self._books, job)) for job in jobs if isinstance(job, NextDue)]
        if writes:
            database.commit()
            self._hand += 1  # the end of this one is known: a failure that comes later undoes nothing of it
            for destination, seq in self._books.damaged:
                self._say("event.damaged", destination=destination, seq=seq, advice="it is among the dead, never sent")
            self._books.damaged.clear()
        return answers

    # --- trouble ------------------------------------------------------------------------------------------------

    def _why_full(self, backlog: int) -> OutboxFull | None:
        if backlog >= self._limits.max_backlog:
            return OutboxFull("backlog")
        if not self._room.short():
            return None
        self._sweep_soon()
        return OutboxFull("disk")

    def _ran_out(self, jobs: Sequence[Job]) -> None:
        """The disk is full: new events are refused, and what drains the queue is tried again without ballast."""
        had_ballast = self._room.ran_out()
        self._sweep_soon()
        if had_ballast or self._clock.monotonic() >= self._next_complaint:
            self._next_complaint = self._clock.monotonic() + COMPLAIN_EVERY
            self._say("outbox.ran_out_of_space", ballast_released=had_ballast)
        appends = [job for job in jobs if isinstance(job, Append)]
        rest = [job for job in jobs if not isinstance(job, Append)]
        self._publish(Answered([(job, OutboxFull("disk")) for job in appends], self._snapshot()))
        if rest and (had_ballast or appends):
            self._answer(rest)
        elif rest:
            full = OutboxUnavailable("the disk is full, and nothing can be recorded: make room")
            self._publish(Answered([(job, full) for job in rest], self._snapshot()))

    def _one_by_one(self, jobs: Sequence[Job], error: Exception) -> None:
        """One of the jobs cannot be done: find out which, so that the others are."""
        if len(jobs) > 1:
            for job in jobs:
                self._answer([job])
            return
        self._say("outbox.stumbled", job=type(jobs[0]).__name__, error=type(error).__name__)
        self._publish(Answered([(jobs[0], error)], self._snapshot()))

    def _roll_back(self) -> None:
        """Undo the transaction, and forget what was counted in it."""
        if self._database is None:
            return
        try:
            self._database.roll_back()
            self._books = self._load(self._database)
        except apsw.Error as error:
            self._fail(error)

    def _fail(self, error: apsw.Error) -> None:
        """The storage failed: never trust this connection again."""
        if isinstance(error, DAMAGE):
            self._condemn(error)
        elif self._trouble is None:
            self._trouble = f"the outbox's file cannot be written ({type(error).__name__}): {error}"
            self._say("outbox.failed", error=type(error).__name__, detail=str(error))
        if self._database is not None:
            self._database.close()
        self._database = None
        self._retry_at = self._clock.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _condemn(self, error: apsw.Error) -> None:
        """The file is damaged: it is never written again, and the program ends, so that the next start salvages it."""
        if self._damaged:
            return
        self._damaged = True
        self._trouble = f"the outbox's file is damaged ({error}); the next start salvages what can be read"
        self._say("outbox.damaged", error=type(error).__name__, detail=str(error))
        try:
            self._mark()
        except OSError as unmarked:
            self._say("outbox.failed", error=type(unmarked).__name__, detail=str(unmarked))
        self._publish(Answered([], replace(self._committed, trouble=self._trouble, damaged=True)))

    def _recover(self) -> None:
        if self._damaged or self._clock.monotonic() < self._retry_at:
            return
        try:
            database = self._database = self._reopen()
            # What is in the write-ahead log may never have reached the disk, for all that a later fsync would say: it
            # goes into the file before anything is built on it.
            database.checkpoint()
            self._books = self._load(database, "undo_hand", hand=self._hand)
        except apsw.Error as error:
            self._fail(error)
        except (OutboxUnavailable, OSError) as error:
            self._fail(apsw.CantOpenError(str(error)))
        else:
            self._trouble, self._pause = None, FIRST_PAUSE
            self._say("outbox.recovered")
            self._publish(Answered([], self._snapshot()))

    def _unavailable(self) -> OutboxUnavailable:
        return OutboxUnavailable(self._trouble if self._damaged else f"{self._trouble}; it is tried again")

    # --- in quiet moments ---------------------------------------------------------------------------------------

    def _tidy(self, *, idle: bool) -> None:
        """What has to be done now and then, a little at a time."""
        if self._database is None:
            return
        now = self._clock.monotonic()
        try:
            if self._books.stale_oldest and now >= self._next_oldest:
                self._look_for_oldest(self._database)
                self._publish(Answered([], self._snapshot()))
            if now >= self._next_sweep or (self._sweeping and idle):
                self._go_on_sweeping(self._database, now)
        except apsw.FullError:
            self._room.ran_out()
            self._roll_back()
            self._next_oldest = now + LOOK_AFTER
        except apsw.Error as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - as in `_answer`: the thread outlives its bugs
            self._sweeping, self._next_sweep = False, now + EVERY
            self._say("outbox.stumbled", job="Sweep", error=type(error).__name__)
            self._roll_back()

    def _go_on_sweeping(self, database: Database, now: float) -> None:
        """Sweep a little, and say when to go on: at once, unless the pass is over, or found no space to write."""
        shortage = self._room.shortage()
        pause = SHORT_SWEEP if shortage else EVERY
        try:
            self._sweeping = self._sweep.chunk(database, self._books, self._now(), shortage)
            if shortage and not self._sweeping:
                # Only now does the file give back what it does not use; where somebody reads it, next time.
                database.checkpoint(wait=False)
        except apsw.FullError:
            self._roll_back()
            self._sweeping, pause = self._room.ran_out(), SHORT_SWEEP
            self._no_sweep_until = now if self._sweeping else now + pause
        self._next_sweep = now + (BUSY_SWEEP if self._sweeping else pause)

    def _sweep_soon(self) -> None:
        """Space is short: sweep as soon as there is a chance that it can."""
        self._next_sweep = min(self._next_sweep, max(self._clock.monotonic(), self._no_sweep_until))

    def _look_for_oldest(self, database: Database) -> None:
        self._books.refresh_oldest(database)
        self._next_oldest = self._clock.monotonic() + LOOK_AFTER

    def _end(self, closing: Job) -> None:
        if self._database is not None:
            try:
                self._database.checkpoint(wait=False)
            except apsw.Error as error:
                self._say("outbox.failed", error=type(error).__name__, detail=str(error))
            self._database.close()
        self._publish(Answered([(closing, None)], self._snapshot()))

    def _snapshot(self) -> Snapshot:
        """As of the last commit: after a failure, until they are loaded anew, the books may hold what never was."""
        if self._database is not None:
            self._committed = self._books.snapshot(self._limits.max_backlog)
            if self._trouble is None:
                return self._committed
        return replace(self._committed, trouble=self._trouble, damaged=self._damaged)

    def _load(self, database: Database, first: str | None = None, **values: object) -> Books:
        """The books as the file has them, after the given statement."""
        database.begin(write=first is not None)
        if first is not None:
            database.run(first, **values)
        books = Books.load(database, self._limits.backlogs)
        database.commit()
        return books

    def _now(self) -> int:
        """Wall-clock time in microseconds that does not jump while we run."""
        return self._start + int(self._clock.monotonic() * 1e6)


def _abandoned(job: Job) -> bool:
    """An append whose caller was told to come back before it began: what comes back must not be there twice."""
    return isinstance(job, Append) and job.answer.cancelled()
