"""What the outbox counts, kept in memory beside the file: loaded at the start, changed in step with each transaction.

After a transaction that failed they are thrown away and loaded anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Literal, Self

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trackgate.backlog import BacklogPolicy
from trackgate.outbox import DestinationTally, Ledger, SourceTally, Standing
from trackgate.outboxes.sqlite_jobs import Snapshot, moment
from trackgate.outboxes.sqlite_live import might_be_live
from trackgate.outboxes.sqlite_tail import Tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trackgate.outboxes.sqlite_database import Database

Kind = Literal["source", "destination", "log"]
REJECTED = "rejected:"
"""A source's counters of calls turned away are this and the reason."""


class Account(Struct):
    """A destination: where it stands in the log, and what is unsettled there.

    ``fresh_from`` is the place (bytes) in the log of the first event that it is owed and was never handed; ``None``
    where there is none. ``tail`` is there while live events go ahead of a backlog, ``last_owed`` (since the start) the
    number of the last event that it is owed.
    """

    id: int
    name: str
    cursor: int
    standing: Standing
    unsettled: int = 0
    bytes: int = 0
    held: int = 0
    returned: int = 0
    fresh_from: int | None = None
    oldest: int | None = None
    last_owed: int = 0
    tail: Tail | None = None

    def give_back(self, lane: int) -> None:
        """One that was in somebody's hand, and not held, is in nobody's again."""
        self.returned += 1
        if self.tail is not None:
            self.tail.given_back.add(lane)
            self.tail.returned = True


class _Stored(Struct, array_like=True):
    id: int
    name: str
    cursor: int
    state: Literal["up", "down", "parked"]
    reason: str | None
    since: int | None
    up_seconds: float
    paused_at: int | None
    paused_until: int | None
    unsettled: int
    bytes: int
    held: int
    returned: int
    fresh_from: int | None

    def account(self) -> Account:
        standing = Standing(
            state=self.state,
            reason=self.reason,
            since=None if self.since is None else moment(self.since),
            up_seconds=self.up_seconds,
            paused_at=None if self.paused_at is None else moment(self.paused_at),
            paused_until=None if self.paused_until is None else moment(self.paused_until),
        )
        return Account(
            self.id,
            self.name,
            self.cursor,
            standing,
            self.unsettled,
            self.bytes,
            self.held,
            self.returned,
            self.fresh_from,
        )


class Books:
    """The counters, the destinations' accounts and the known sets of destinations."""

    def __init__(self, policies: Mapping[str, BacklogPolicy]) -> None:
        self.policies = policies
        self.accounts: dict[str, Account] = {}
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
        books.accounts = {stored.name: stored.account() for stored in database.rows("destinations", _Stored)}
        books.sets = _sets(database)
        books.refresh_oldest(database)
        return books

    def count(self, kind: Kind, name: str, counter: str, number: int = 1) -> None:
        """Add to a counter."""
        self._tallies[kind, name, counter] += number
        self._changes[kind, name, counter] += number

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
            database.run("count", rows=[(*key, number) for key, number in self._changes.items()])
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
        return self.tally(account.name).waiting - account.unsettled

    def see_whether_fresh(self, account: Account) -> None:
        """Once counters and place are right again."""
        if not self.fresh(account):
            account.fresh_from = None

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

    def tally(self, name: str) -> DestinationTally:
        """A destination's ledger."""
        owed, delivered, dead, dropped, filtered, retried, shed = (
            self._tallies["destination", name, counter]
            for counter in ("owed", "delivered", "dead", "dropped", "filtered", "retried", "shed")
        )
        policy = self.policies.get(name, BacklogPolicy())
        account = self.accounts.get(name)
        waits = account is not None and owed > delivered + dead + dropped
        return DestinationTally(
            owed=owed,
            delivered=delivered,
            dead=dead,
            dropped=dropped,
            filtered=filtered,
            retried=retried,
            held=account.held if account else 0,
            oldest=moment(account.oldest) if waits and account and account.oldest is not None else None,
            backlog_bytes=self._waiting_bytes(name),
            backlog_limit=policy.max,
            backlog_full=policy.full,
            shed=shed,
            standing=account.standing if account else Standing(),
        )

    def ledger(self, limit: int) -> Ledger:
        """Everything counted, at this moment."""
        sources: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (kind, name, counter), number in self._tallies.items():
            if kind == "source":
                sources[name][counter] = number
        return Ledger(
            sources={name: _source(counters) for name, counters in sorted(sources.items())},
            destinations={name: self.tally(name) for name in sorted(self.accounts)},
            backlog_bytes=self.backlog(),
            backlog_limit=limit,
        )

    def snapshot(self, limit: int) -> Snapshot:
        """What the event loop needs to know."""
        accounts = self.accounts.values()
        return Snapshot(
            ledger=self.ledger(limit),
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


def _source(counters: dict[str, int]) -> SourceTally:
    return SourceTally(
        accepted=counters.get("accepted", 0),
        duplicate=counters.get("duplicate", 0),
        conflict=counters.get("conflict", 0),
        unrouted=counters.get("unrouted", 0),
        rejected={
            counter.removeprefix(REJECTED): number
            for counter, number in sorted(counters.items())
            if counter.startswith(REJECTED)
        },
    )


def with_rejected(ledger: Ledger, rejected: Mapping[tuple[str, str], int]) -> Ledger:
    """The ledger with calls turned away, by source and reason, that are not in it yet."""
    sources = dict(ledger.sources)
    for (source, reason), number in rejected.items():
        tally = sources.get(source, SourceTally())
        counts = {**tally.rejected, reason: tally.rejected.get(reason, 0) + number}
        sources[source] = replace(tally, rejected=counts)
    return replace(ledger, sources=sources)
