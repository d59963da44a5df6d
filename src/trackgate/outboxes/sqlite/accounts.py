"""A destination's account: where it stands in the log, and what is unsettled there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from trackgate.outbox import Standing
from trackgate.outboxes.sqlite.tail import Tail
from trackgate.outboxes.times import moment

if TYPE_CHECKING:
    from trackgate.outboxes.sqlite.database import Database


class Account(Struct):
    """Kept in memory beside the file, and changed in step with each transaction.

    ``fresh_from`` is the place (bytes) in the log of the first event that it is owed and was never handed; ``None``
    where there is none. ``tail`` is there while live events go ahead of a backlog, ``last_owed`` the number of the last
    event that it came to be owed since the books were loaded.
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


class InHand(Struct, array_like=True, gc=False):
    """A delivery in somebody's hand. ``attempts`` counts those that were started, this one included."""

    destination: int
    seq: int
    lane: int
    size: int
    held: bool
    attempts: int


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


def load_accounts(database: Database) -> dict[str, Account]:
    """The accounts of all destinations, by name."""
    return {stored.name: stored.account() for stored in database.rows("destinations", _Stored)}


def load_in_hand(database: Database) -> dict[tuple[int, int], InHand]:
    """What is in somebody's hand, by destination and number."""
    return {(one.destination, one.seq): one for one in database.rows("in_hand", InHand)}
