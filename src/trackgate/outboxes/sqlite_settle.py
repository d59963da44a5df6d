"""What a transaction does for deliveries that come back: settled for good, held, or not tried at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from trackgate.outbox import Dead, Done, Held
from trackgate.outboxes.sqlite_jobs import GiveBack, Settle, micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trackgate.outboxes.sqlite_books import Account, Books
    from trackgate.outboxes.sqlite_database import Database
    from trackgate.outboxes.sqlite_jobs import Claim, LetGo, Settled

RETRIED = frozenset({"retry", "park"})
"""The outcomes of attempts that do not end a delivery."""


class InHand(Struct, array_like=True):
    """A row of ``in_hand``."""

    destination: int
    seq: int
    lane: int
    size: int
    held: int
    aside: int
    attempts: int


def settle(database: Database, books: Books, jobs: Sequence[Settle | GiveBack], now: int) -> None:
    """Record what became of deliveries. Those that are in nobody's hand are stale and change nothing.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        now: microseconds.

    """
    returns = _Returns(books, _in_hand(database, books, _claims(jobs)), now)
    for job in jobs:
        if isinstance(job, GiveBack):
            for one in job.claims:
                returns.give_back(one)
        else:
            for one in job.settled:
                returns.settle(one)
    returns.store(database)


def let_go(database: Database, books: Books, job: LetGo) -> None:
    """Take back what somebody had in hand who is gone; the attempts that were started stay counted.

    Args:
        database: inside a transaction.
        books: change with it.
        job: says where.

    """
    accounts = [books.accounts[name] for name in job.destinations if name in books.accounts]
    for account in accounts:
        for lane in database.rows("lanes_in_hand", int, destination=account.id):
            account.give_back(lane)
    database.run("let_go_there", rows=[account.id for account in accounts])


class _Returns:
    """What came back in one transaction."""

    def __init__(self, books: Books, in_hand: dict[tuple[str, int], InHand], now: int) -> None:
        self._books = books
        self._in_hand = in_hand
        self._now = now
        self._rows: dict[str, list[tuple[object, ...]]] = {
            "settle": [],
            "bury": [],
            "hold": [],
            "give_back": [],
            "record_attempts": [],
        }
        self._lanes: set[tuple[int, int]] = set()

    def settle(self, settled: Settled) -> None:
        claimed = self._claim(settled)
        if claimed is None:
            return
        row, account = claimed
        match settled.fate:
            case Done():
                self._finish(row, account, "delivered")
            case Dead(reason, detail, request):
                self._finish(row, account, "dead")
                self._rows["bury"].append((account.id, row.seq, reason, detail, request, None))
            case Held() as held:
                self._hold(row, account, held)
            case _:
                assert_never(settled.fate)
        self._record(settled, row, account)

    def give_back(self, claim: Claim) -> None:
        claimed = self._claim(claim)
        if claimed is None:
            return
        row, account = claimed
        if not row.held:
            account.give_back(row.lane)
        self._rows["give_back"].append((account.id, row.seq))

    def store(self, database: Database) -> None:
        for name, rows in self._rows.items():
            if rows:
                more = {"at": self._now} if name == "bury" else {}
                database.run(name, rows=rows, **more)
        if self._lanes:
            database.run("order_lanes", rows=sorted(self._lanes), now=self._now)

    def _claim(self, claim: Claim) -> tuple[InHand, Account] | None:
        """The row of a delivery, once, if it is still in the hand that it was given to."""
        row = self._in_hand.get((claim.destination, claim.seq))
        # Another hand has it since, if it is held now and was not, or was started again.
        if row is None or bool(row.held) != claim.held or row.attempts != claim.started + 1:
            return None
        del self._in_hand[claim.destination, claim.seq]
        return row, self._books.accounts[claim.destination]

    def _finish(self, row: InHand, account: Account, counter: str) -> None:
        self._rows["settle"].append((account.id, row.seq))
        self._books.count("destination", account.name, counter)
        self._books.count("destination", account.name, "waiting_bytes", -row.size)
        self._books.stale_oldest = True
        account.unsettled -= 1
        account.bytes -= row.size
        if row.held:
            account.held -= 1
            self._lanes.add((account.id, row.lane))

    def _hold(self, row: InHand, account: Account, held: Held) -> None:
        due = None if held.due is None else micros(held.due)
        if held.aside and due is None:
            due = self._now
        self._rows["hold"].append((
            account.id, row.seq, due, held.attempts, held.parks, held.since, held.step, int(held.aside), held.reason,
        ))  # fmt: skip
        self._lanes.add((account.id, row.lane))
        if not row.held:
            account.held += 1

    def _record(self, settled: Settled, row: InHand, account: Account) -> None:
        self._rows["record_attempts"].extend(
            (row.seq, account.id, n, micros(one.at), one.duration, one.step, one.outcome, one.reason, one.status,
             one.reply)
            for n, one in enumerate(settled.attempts, 1)
        )  # fmt: skip
        if retried := sum(one.outcome in RETRIED for one in settled.attempts):
            self._books.count("destination", account.name, "retried", retried)


def _claims(jobs: Iterable[Settle | GiveBack]) -> Iterable[Claim]:
    for job in jobs:
        yield from job.claims if isinstance(job, GiveBack) else job.settled


def _in_hand(database: Database, books: Books, claims: Iterable[Claim]) -> dict[tuple[str, int], InHand]:
    names = {account.id: account.name for account in books.accounts.values()}
    keys = sorted({
        (books.accounts[claim.destination].id, claim.seq)
        for claim in claims
        if claim.destination in books.accounts
    })  # fmt: skip
    rows = database.rows("in_hand", InHand, rows=keys) if keys else []
    return {(names[row.destination], row.seq): row for row in rows}
