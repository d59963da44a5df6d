"""What a transaction does for deliveries that come back: settled for good, held, or not tried at all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, assert_never

from trackgate.outbox import Dead, Done, Held
from trackgate.outboxes.jobs import GiveBack, Settle
from trackgate.outboxes.times import micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trackgate.outboxes.jobs import Claim, LetGo, Settled
    from trackgate.outboxes.sqlite.accounts import Account, InHand
    from trackgate.outboxes.sqlite.books import Books
    from trackgate.outboxes.sqlite.database import Database

RETRIED = frozenset({"retry", "park"})
"""The outcomes of attempts that do not end a delivery."""


def settle(database: Database, books: Books, jobs: Sequence[Settle | GiveBack], now: int) -> None:
    """Record what became of deliveries. Those that are in nobody's hand are stale and change nothing.

    Args:
        database: inside a transaction.
        books: change with it.
        jobs: in the order of their arrival.
        now: microseconds.

    """
    returns = _Returns(books, now)
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
    accounts = {books.accounts[name].id: books.accounts[name] for name in job.destinations if name in books.accounts}
    for key in [key for key in books.in_hand if key[0] in accounts]:
        gone = books.in_hand.pop(key)
        if not gone.held:
            accounts[gone.destination].give_back(gone.lane)
    database.run("let_go_there", rows=sorted(accounts))


class _Returns:
    """What came back in one transaction."""

    def __init__(self, books: Books, now: int) -> None:
        self._books = books
        self._now = now
        self._settled: list[tuple[object, ...]] = []
        self._attempts: list[tuple[object, ...]] = []
        self._buried: list[tuple[object, ...]] = []
        self._held: list[tuple[object, ...]] = []
        self._given_back: list[tuple[object, ...]] = []
        self._ended: Counter[tuple[str, str]] = Counter()
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
                self._buried.append((account.id, row.seq, reason, detail, request, None))
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
        self._given_back.append((account.id, row.seq))

    def store(self, database: Database) -> None:
        for (name, counter), number in self._ended.items():
            self._books.count("destination", name, counter, number)
        database.put("settle", self._settled)
        database.put("record_attempts", self._attempts)
        if self._buried:
            database.run("bury", rows=self._buried, at=self._now)
        if self._held:
            database.run("hold", rows=self._held)
        if self._given_back:
            database.run("give_back", rows=self._given_back)
        if self._lanes:
            database.run("order_lanes", rows=sorted(self._lanes), now=self._now)

    def _claim(self, claim: Claim) -> tuple[InHand, Account] | None:
        """The row of a delivery, once, if it is still in the hand that it was given to."""
        account = self._books.accounts.get(claim.destination)
        row = None if account is None else self._books.in_hand.get((account.id, claim.seq))
        # Another hand has it since, if it is held now and was not, or was started again.
        if account is None or row is None or row.held != claim.held or row.attempts != claim.started + 1:
            return None
        del self._books.in_hand[account.id, claim.seq]
        return row, account

    def _finish(self, row: InHand, account: Account, counter: str) -> None:
        self._settled.append((account.id, row.seq))
        self._ended[account.name, counter] += 1
        self._ended[account.name, "waiting_bytes"] -= row.size
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
        self._held.append((
            account.id, row.seq, due, held.attempts, held.parks, held.since, held.step, int(held.aside), held.reason,
        ))  # fmt: skip
        self._lanes.add((account.id, row.lane))
        if not row.held:
            account.held += 1

    def _record(self, settled: Settled, row: InHand, account: Account) -> None:
        for n, one in enumerate(settled.attempts, 1):
            self._attempts.append((
                row.seq, account.id, n, micros(one.at), one.duration, one.step, one.outcome, one.reason, one.status,
                one.reply,
            ))  # fmt: skip
            if one.outcome in RETRIED:
                self._ended[account.name, "retried"] += 1
