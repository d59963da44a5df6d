"""What is asked of an outbox: plain values, each with whoever waits for its answer. They pass between processes.

Values of which there are thousands in no time, and which cannot be part of a cycle, are none of the garbage collector's
business (``gc=False``).
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from trackgate.model import Event
from trackgate.outbox import Attempt, Delivery, Entry, Fate, Settlement, Standing
from trackgate.outboxes.counts import Counts
from trackgate.outboxes.times import micros

DAMAGED = "damaged"
"""Why a delivery is dead whose event is not as it was stored."""


class Row(Struct, frozen=True, array_like=True, gc=False):
    """An entry made ready on the event loop, so that whatever is wrong with it fails its own call."""

    id: str
    source: str
    lane: int
    received_at: int
    name: str
    hops: int
    owed: tuple[str, ...]
    filtered: tuple[str, ...]
    key: str | None
    digest: str
    body: str
    size: int


class Promise(Protocol):
    """Whoever waits for the answer to a job."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def cancelled(self) -> bool:
        """Whether nobody waits any more, because they gave up. Asked on the writer's thread."""

    def set_result(self, result: Any, /) -> None:
        """Hear the answer."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Hear why there is none."""


class Job(Struct, eq=False, array_like=True, tag=True):
    """A request. ``answer`` is resolved on the event loop, after the commit that holds it.

    It is a future or another ``Promise``; while the job is on its way between processes, the number of one.
    """

    answer: Any


class Append(Job, eq=False):
    """Answered with a list of ``Appended``. ``size`` is the bytes of all events."""

    rows: list[Row]
    size: int


class Take(Job, eq=False):
    """Answered with a list of ``Handed``."""

    destination: str
    limit: int


class TakeLive(Job, eq=False):
    """Answered with a list of ``Handed``."""

    destination: str
    limit: int


class TakeHeld(Job, eq=False):
    """Answered with a list of ``Handed``. ``now`` is ``None`` where every due time counts as reached."""

    destination: str
    limit: int
    now: int | None


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """A delivery that comes back, and what tells whether it is still in the hand that it was given to.

    ``started`` is how many attempts had been started before it was handed out (``Delivery.attempts``).
    """

    destination: str
    seq: int
    held: bool
    started: int


class Settled(Claim, frozen=True, array_like=True, gc=False):
    """A delivery that comes back with what became of it: a ``Settlement`` without the event."""

    fate: Fate
    attempts: tuple[Attempt, ...]


class Settle(Job, eq=False):
    """Answered with ``None``."""

    settled: list[Settled]


class GiveBack(Job, eq=False):
    """Answered with ``None``."""

    claims: list[Claim]


class LetGo(Job, eq=False):
    """Whoever took from these destinations is gone: what it had in hand comes again, counted.

    Answered with ``None``. Until then nobody else may take from them: a transaction hands out first.
    """

    destinations: list[str]


class Stand(Job, eq=False):
    """Answered with ``None``."""

    destination: str
    standing: Standing


class Reject(Job, eq=False):
    """Calls turned away, by source and reason. Answered with ``None``."""

    counts: dict[tuple[str, str], int]


class RetryDead(Job, eq=False):
    """Some of the dead, by destination and number. Answered with how many of them were still dead."""

    deliveries: list[tuple[str, int]]


class DropDead(Job, eq=False):
    """Some of the dead, by destination and number. Answered with how many of them were still dead."""

    deliveries: list[tuple[str, int]]


class Move(Job, eq=False):
    """Answered with how many."""

    old: str
    new: str
    limit: int


class DropWaiting(Job, eq=False):
    """Answered with how many."""

    destination: str
    limit: int


class NextDue(Job, eq=False):
    """Answered with microseconds, or ``None``. Changes nothing."""

    destination: str


class Condemn(Job, eq=False):
    """The file is damaged: no more writing. Never answered with anything but ``OutboxUnavailable``."""

    damage: str


class Close(Job, eq=False):
    """The last job. Answered with ``None``."""


class Handed(Struct, array_like=True, gc=False):
    """A delivery as it comes out of the file, its event still as text."""

    seq: int
    lane: int
    hops: int
    attempts: int
    held: bool
    parks: int
    since: float | None
    step: str | None
    aside: bool
    live: bool
    size: int
    body: str
    crc: int | None

    def delivery(self, destination: str) -> Delivery:
        """The value that callers see.

        Raises:
            msgspec.DecodeError: the event is not what was stored.

        """
        return Delivery(
            seq=self.seq,
            destination=destination,
            lane=self.lane,
            event=_EVENT.decode(self.body),
            size=self.size,
            hops=self.hops,
            held=self.held,
            attempts=self.attempts,
            parks=self.parks,
            since=self.since,
            step=self.step,
            aside=self.aside,
            live=self.live,
        )

    def claim(self, destination: str) -> Claim:
        """The delivery as one that comes back untried."""
        return Claim(destination, self.seq, self.held, self.attempts)


class Snapshot(Struct, frozen=True):
    """What the event loop knows without asking, as of one commit.

    ``news`` are the destinations that ``take`` might give something for, ``live`` those that ``take_live`` might,
    ``held`` those with held deliveries; ``trouble`` is why the storage does not answer, ``damaged`` that it will not
    until it is salvaged.
    """

    counts: Counts
    news: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    trouble: str | None = None
    damaged: bool = False


class Answered(Struct, frozen=True):
    """What a transaction came to: an answer or an error for each job, and what the loop should know."""

    answers: list[tuple[Job, Any]]
    snapshot: Snapshot
    seconds: float | None = None
    """From begin to commit; ``None`` where nothing was written."""

    def newly_owed(self) -> frozenset[str]:
        """The destinations whose log has news."""
        owed = set[str]()
        for job, answer in self.answers:
            match job:
                case Append(rows=rows) if isinstance(answer, list):
                    pairs = zip(rows, answer, strict=True)
                    owed.update(name for row, appended in pairs if not appended.duplicate for name in row.owed)
                case Move(new=new) if isinstance(answer, int) and answer:
                    owed.add(new)
                case _:
                    pass
        return frozenset(owed)

    def retried(self) -> frozenset[str]:
        """The destinations some of whose dead were made due again."""
        return frozenset(
            name
            for job, answer in self.answers
            if isinstance(job, RetryDead) and isinstance(answer, int)
            for name, _ in job.deliveries
        )


_EVENT = msgspec.json.Decoder(Event)


def ready(entry: Entry) -> Row:
    """An entry as a row.

    Raises:
        ValueError: the lane is not a signed 64 bit number.

    """
    if not -(2**63) <= entry.lane < 2**63:
        message = "a lane must be a signed 64 bit number"
        raise ValueError(message)
    event, dedupe = entry.event, entry.dedupe
    body = msgspec.json.encode(event)
    return Row(
        id=event.id,
        source=event.source,
        lane=entry.lane,
        received_at=micros(event.received_at),
        name=event.name,
        hops=entry.hops,
        owed=tuple(sorted(entry.owed)),
        filtered=tuple(sorted(entry.filtered)),
        key=None if dedupe is None else dedupe.key,
        digest="" if dedupe is None else dedupe.digest.hex(),
        body=body.decode(),
        size=len(body),
    )


def claim(delivery: Delivery) -> Claim:
    """A delivery that comes back untried."""
    return Claim(delivery.destination, delivery.seq, delivery.held, delivery.attempts)


def settled(settlement: Settlement) -> Settled:
    """A delivery that comes back with its fate."""
    one = settlement.delivery
    return Settled(one.destination, one.seq, one.held, one.attempts, settlement.fate, settlement.attempts)
