"""What the outbox counts, kept in memory beside the file: loaded at the start, changed in step with each transaction.

After a transaction that failed they are thrown away and loaded anew.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from trackgate.outbox import Standing
from trackgate.outboxes.counts import Counts, Place
from trackgate.outboxes.jobs import Snapshot
from trackgate.outboxes.sqlite.accounts import Account, load_accounts, load_in_hand
from trackgate.outboxes.sqlite.live import might_be_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trackgate.backlog import BacklogPolicy
    from trackgate.outboxes.sqlite.accounts import InHand
    from trackgate.outboxes.sqlite.database import Database

Kind = Literal["source", "destination", "log"]
OWED_AND_SETTLED = ("owed", "delivered", "dead", "dropped")
"""What waits is the first less the others."""


class Books:
    """The counters, the destinations' accounts and the known sets of destinations."""

    def __init__(self, policies: Mapping[str, BacklogPolicy]) -> None:
        self.policies = policies
        self.accounts: dict[str, Account] = {}
        self.in_hand: dict[tuple[int, int], InHand] = {}
        """By destination and number."""
        self.sets: dict[tuple[str, ...], int] = {}
        self.stale_oldest = False
        self.damaged: list[tuple[str, int]] = []  # destination and number, until they are told of
        self._tallies: Counter[tuple[str, str, str]] = Counter()
        self._changes: Counter[tuple[str, str, str]] = Counter()

    @classmethod
    def load(cls, database: Database, policies: Mapping[str, BacklogPolicy]) -> Self:
        """Read everything, inside a transaction; ``policies`` say how much may wait for a destination."""
        books = cls(policies)
        for kind, name, counter, number in database.rows("tallies", tuple[str, str, str, int]):
            books._tallies[kind, name, counter] = number
        books.accounts = load_accounts(database)
        books.in_hand = load_in_hand(database)
        books.sets = _sets(database)
        books.refresh_oldest(database)
        return books

    def count(self, kind: Kind, name: str, counter: str, number: int = 1) -> None:
        """Add to a counter."""
        self._tallies[kind, name, counter] += number
        self._changes[kind, name, counter] += number

    def count_log(self, number: int, size: int) -> None:
        """So many events, of so many bytes, are at the end of the log."""
        self.count("log", "", "events", number)
        self.count("log", "", "bytes", size)
        self.count("log", "", "stored", size)

    def wait(self, account: Account, size: int) -> None:
        """A delivery that the cursor has passed waits at a destination again."""
        self.count("destination", account.name, "waiting_bytes", size)
        account.unsettled += 1
        account.bytes += size
        self.stale_oldest = True

    def drop_dead(self, name: str, number: int) -> None:
        """Dead ones are given up."""
        self.count("destination", name, "dead", -number)
        self.count("destination", name, "dropped", number)

    def write(self, database: Database) -> None:
        """Write what was counted since the last time, in the transaction of the facts."""
        if self._changes:
            database.put("count", [(*key, number) for key, number in self._changes.items()])
            self._changes.clear()

    def enter(self, database: Database, names: Iterable[str]) -> None:
        """Make destinations known that are not."""
        if new := [name for name in names if name not in self.accounts]:
            database.run("add_destinations", rows=new, cursor=self.last_seq)
            for id_, name, cursor in database.rows("destination_ids", tuple[int, str, int]):
                self.accounts.setdefault(name, Account(id_, name, cursor, Standing()))

    def enter_sets(self, database: Database, sets: Iterable[tuple[str, ...]]) -> None:
        """Make sets of destinations known that are not."""
        if new := [names for names in set(sets) if names not in self.sets]:
            self.enter(database, sorted({name for names in new for name in names}))
            rows = [msgspec.json.encode(names).decode() for names in new]
            database.run("add_sets", rows=rows)
            database.run("add_members", rows=rows)
            self.sets = _sets(database)

    @property
    def last_seq(self) -> int:
        """The number of the last event; it never goes back, whatever is deleted."""
        return self._tallies["log", "", "events"]

    @property
    def log_bytes(self) -> int:
        """Where the log ends: the bytes of all events ever."""
        return self._tallies["log", "", "bytes"]

    @property
    def stored_bytes(self) -> int:
        """The bytes of the events that are still there."""
        return self._tallies["log", "", "stored"]

    def fresh(self, account: Account) -> int:
        """How many events a destination is owed and was never handed."""
        owed, *settled = (self._tallies["destination", account.name, counter] for counter in OWED_AND_SETTLED)
        return owed - sum(settled) - account.unsettled

    def see_whether_fresh(self, account: Account) -> None:
        """Once counters and place are right again."""
        if not self.fresh(account):
            account.fresh_from = None

    def nearly_full(self, size: int) -> bool:
        """Whether so many bytes more could reach the limit of a destination."""
        return any(
            policy.max is not None and self._waiting_bytes(name) + size >= policy.max
            for name, policy in self.policies.items()
        )

    def full(self, name: str) -> Literal["refuse", "shed"] | None:
        """What to do with a new event because so much waits for a destination already; ``None``: keep it."""
        policy = self.policies.get(name)
        if policy is None or policy.max is None or self._waiting_bytes(name) < policy.max:
            return None
        return policy.full

    def backlog(self) -> int:
        """Bytes that some destination still waits for.

        Counted from above, since what two destinations hold counts twice; but never more than there is.
        """
        fresh = max((self._fresh_bytes(account) for account in self.accounts.values()), default=0)
        return min(fresh + sum(account.bytes for account in self.accounts.values()), self.stored_bytes)

    def counts(self, limit: int) -> Counts:
        """Everything counted, at this moment."""
        return Counts(
            tallies=dict(self._tallies),
            places=tuple(Place(one.name, one.standing, one.held, one.oldest) for one in self.accounts.values()),
            backlog=self.backlog(),
            limit=limit,
            policies=self.policies,
        )

    def snapshot(self, limit: int) -> Snapshot:
        """What the event loop needs to know."""
        accounts = self.accounts.values()
        return Snapshot(
            counts=self.counts(limit),
            news=frozenset(one.name for one in accounts if one.fresh_from is not None or one.returned),
            live=frozenset(one.name for one in accounts if might_be_live(self, one)),
            held=frozenset(one.name for one in accounts if one.held),
        )

    def refresh_oldest(self, database: Database) -> None:
        """Look up how long each destination's oldest event waits: too dear for every commit."""
        oldest = dict(database.rows("oldest", tuple[str, int]))
        for account in self.accounts.values():
            account.oldest = oldest.get(account.name)
        self.stale_oldest = False

    def _waiting_bytes(self, name: str) -> int:
        return self._tallies["destination", name, "waiting_bytes"]

    def _fresh_bytes(self, account: Account) -> int:
        return 0 if account.fresh_from is None else self.log_bytes - account.fresh_from


def _sets(database: Database) -> dict[tuple[str, ...], int]:
    return {tuple(names): id_ for id_, names in database.rows("sets", tuple[int, list[str]])}
