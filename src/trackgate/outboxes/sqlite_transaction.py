"""What one transaction does: the requests by kind, each kind with a few statements for all of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trackgate.outboxes.sqlite_append import Refusal, append
from trackgate.outboxes.sqlite_books import REJECTED
from trackgate.outboxes.sqlite_jobs import (
    Append,
    DropDead,
    DropWaiting,
    GiveBack,
    Job,
    LetGo,
    Move,
    NextDue,
    Reject,
    RetryDead,
    Settle,
    Stand,
    Take,
    TakeHeld,
    TakeLive,
    micros,
)
from trackgate.outboxes.sqlite_operate import operate
from trackgate.outboxes.sqlite_settle import let_go, settle
from trackgate.outboxes.sqlite_take import hand_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite_books import Books
    from trackgate.outboxes.sqlite_database import Database


class Terms(Struct, frozen=True):
    """What holds for a transaction: its number, its time and since when callers' keys count (microseconds)."""

    hand: int
    now: int
    seen_since: int
    refusal: Refusal


def write(database: Database, books: Books, jobs: Sequence[Job], terms: Terms) -> list[tuple[Job, Any]]:
    """Do the jobs that change something; new events first, so that a take finds them.

    What comes back goes before what is taken, so that a lane that is held is known to be.
    """
    appends = [job for job in jobs if isinstance(job, Append)]
    returns = [job for job in jobs if isinstance(job, Settle | GiveBack)]
    takes = [job for job in jobs if isinstance(job, Take | TakeLive | TakeHeld)]
    stands = [job for job in jobs if isinstance(job, Stand)]
    rejects = [job for job in jobs if isinstance(job, Reject)]
    ends = [job for job in jobs if isinstance(job, LetGo)]
    answers: list[tuple[Job, Any]] = [(job, None) for job in (*returns, *stands, *rejects, *ends)]
    if appends:
        stored = append(database, books, appends, terms.refusal, terms.now, terms.seen_since)
        answers += zip(appends, stored, strict=True)
    if returns:
        settle(database, books, returns, terms.now)
    if takes:
        answers += zip(takes, hand_out(database, books, takes, terms.hand, terms.now), strict=True)
    for end in ends:
        let_go(database, books, end)
    if stands:
        _stand(database, books, stands)
    for job in jobs:
        if isinstance(job, RetryDead | DropDead | Move | DropWaiting):
            answers.append((job, operate(database, books, job, terms.now)))
    for job in rejects:
        for (source, reason), number in job.counts.items():
            books.count("source", source, REJECTED + reason, number)
    return answers


def next_due(database: Database, books: Books, job: NextDue) -> int | None:
    """Answer the one job that changes nothing."""
    account = books.accounts.get(job.destination)
    return database.read("next_due", int, destination=account.id) if account else None


def _stand(database: Database, books: Books, jobs: Sequence[Stand]) -> None:
    books.enter(database, [job.destination for job in jobs])
    rows = []
    for job in jobs:
        standing, account = job.standing, books.accounts[job.destination]
        times = [at and micros(at) for at in (standing.since, standing.paused_at, standing.paused_until)]
        account.standing = standing
        rows.append((account.id, standing.state, standing.reason, times[0], standing.up_seconds, *times[1:]))
    database.run("stand", rows=rows)
