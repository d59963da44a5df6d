"""What one transaction does: the requests by kind, each kind with a few statements for all of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trackgate.outboxes.counts import REJECTED
from trackgate.outboxes.jobs import (
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
)
from trackgate.outboxes.sqlite.append import WhyFull, append
from trackgate.outboxes.sqlite.operate import operate
from trackgate.outboxes.sqlite.settle import let_go, settle
from trackgate.outboxes.sqlite.take import hand_out
from trackgate.outboxes.times import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database


class Terms(Struct, frozen=True):
    """What holds for a transaction: its number, its time and since when callers' keys count (microseconds).

    ``anew`` says that some of its events may be stored already.
    """

    hand: int
    now: int
    seen_since: int
    why_full: WhyFull
    anew: bool


def write(database: Database, books: Books, jobs: Sequence[Job], terms: Terms) -> list[tuple[Job, Any]]:
    """Do the jobs that change something; new events first, so that a take finds them.

    What comes back goes before what is taken, so that a lane that is held is known to be.
    """
    appends: list[Append] = []
    returns: list[Settle | GiveBack] = []
    takes: list[Take | TakeLive | TakeHeld] = []
    others: list[Job] = []
    for job in jobs:
        match job:
            case Append():
                appends.append(job)
            case Settle() | GiveBack():
                returns.append(job)
            case Take() | TakeLive() | TakeHeld():
                takes.append(job)
            case _:
                others.append(job)
    answers: list[tuple[Job, Any]] = [(job, None) for job in returns]
    if appends:
        stored = append(database, books, appends, terms.why_full, terms.now, terms.seen_since, anew=terms.anew)
        answers += zip(appends, stored, strict=True)
    if returns:
        settle(database, books, returns, terms.now)
    if takes:
        answers += zip(takes, hand_out(database, books, takes, terms.hand, terms.now), strict=True)
    answers += [(job, _do(database, books, job, terms.now)) for job in others]
    return answers


def _do(database: Database, books: Books, job: Job, now: int) -> int | None:
    """One of the rarer jobs."""
    match job:
        case Stand():
            _stand(database, books, job)
        case Reject():
            for (source, reason), number in job.counts.items():
                books.count("source", source, REJECTED + reason, number)
        case LetGo():
            let_go(database, books, job)
        case RetryDead() | DropDead() | Move() | DropWaiting():
            return operate(database, books, job, now)
        case _:
            message = f"{type(job).__name__} is no job for a transaction"
            raise TypeError(message)
    return None


def next_due(database: Database, books: Books, job: NextDue) -> int | None:
    """Answer the one job that changes nothing."""
    account = books.accounts.get(job.destination)
    return database.read("next_due", int, destination=account.id) if account else None


def _stand(database: Database, books: Books, job: Stand) -> None:
    books.enter(database, [job.destination])
    standing, account = job.standing, books.accounts[job.destination]
    times = [at and micros(at) for at in (standing.since, standing.paused_at, standing.paused_until)]
    account.standing = standing
    row = (account.id, standing.state, standing.reason, times[0], standing.up_seconds, *times[1:])
    database.run("stand", rows=[row])
