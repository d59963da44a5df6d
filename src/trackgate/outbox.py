"""The durable middle: a log of events, a cursor per destination, and the few deliveries that a cursor left behind.

    append        a batch of events, all or nothing, on disk when it returns
    take          the next deliveries from a destination's cursor
    take_live     while there is a backlog: deliveries of users who owe nothing older, ahead of it
    take_held     the held deliveries of a destination that are due
    settle        what became of deliveries

Batches of plain values go in and out, so that an acceptor in another process can hand them over. Lanes, retries and
circuits are pure code above it (``trackgate.lanes``, ``trackgate.retry``).

The words: an event is *owed* to destinations; what is owed is *due* until it is *settled* (delivered, dead or dropped).
A delivery that failed is *held* until its time comes, and holds its lane unless it was set *aside*. A *fate* is what a
try made of a delivery, a *standing* how a destination is (up, down, parked), a *tally* what was counted.

What an implementation promises (``tests/outboxes/test_laws.py``): append is all or nothing; a stale settle changes
nothing; whatever is killed between any two calls, every owed delivery is settled, held, or handed out again; one
destination's backlog never delays another's.

The errors:

    OutboxError
    ├── OutboxFull          a backlog's limit, or the disk's: say 503 and come back
    └── OutboxUnavailable   the storage failed or is closing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol, Self

from msgspec import Struct, field

from trackgate.model import Event

STORAGE_PAUSE = 1.0
"""Seconds between two tries of what must be done in the end, while the storage does not answer."""


class OutboxError(Exception):
    """The outbox cannot do what it was asked."""


class OutboxFull(OutboxError):  # noqa: N818 - the domain's word
    """No room.

    ``limit`` is ``backlog`` (``server.max_backlog``), ``destination_backlog`` (``backlog.max`` of the destination)
    or ``disk`` (too little free space).
    """

    def __init__(
        self, limit: Literal["backlog", "destination_backlog", "disk"], destination: str | None = None
    ) -> None:
        super().__init__(f"the {limit} is full" if destination is None else f"the backlog of {destination} is full")
        self.limit = limit
        self.destination = destination


class OutboxUnavailable(OutboxError):  # noqa: N818 - the domain's word
    """The storage does not answer as it must."""


class Dedupe(Struct, frozen=True):
    """What makes a repeat a repeat: the caller's key within its source, and a digest of the content."""

    key: str
    digest: bytes


class Entry(Struct, frozen=True):
    """An event to append.

    ``lane`` is the stable hash of the user (signed 64 bit); ``owed`` and ``filtered`` name destinations, decided by
    routing; ``hops`` counts the gateways that the event came through before this one.
    """

    event: Event
    lane: int
    owed: frozenset[str]
    filtered: frozenset[str] = frozenset()
    hops: int = 0
    dedupe: Dedupe | None = None


class Appended(Struct, frozen=True):
    """What became of an entry.

    ``id`` is the event's id; for a ``duplicate`` that of the event it repeats, and nothing was stored. ``conflict``
    says that the same key came with other content: stored as an event of its own.
    """

    id: str
    duplicate: bool = False
    conflict: bool = False


class Delivery(Struct, frozen=True, kw_only=True, gc=False):
    """One event owed to one destination, handed out.

    ``attempts`` counts the attempts that were started before (a crash in mid-air counts as one). ``parks`` counts
    those that were forbidden while others passed (``trackgate.retry.PARKS``). ``since`` is the destination's up-time
    (seconds, see ``Standing``) at the first failure, from which the age counts. ``step`` is the call to resume at.
    """

    seq: int
    destination: str
    lane: int
    event: Event
    size: int = 0
    """Bytes of the event as stored."""
    hops: int = 0
    held: bool = False
    attempts: int = 0
    parks: int = 0
    since: float | None = None
    step: str | None = None
    aside: bool = False
    live: bool = False
    """Handed out ahead of a backlog."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One try at a delivery, for the record. ``status`` is ``None`` where no reply came; ``duration`` in seconds."""

    at: datetime
    duration: float
    step: str
    outcome: str
    reason: str | None = None
    status: int | None = None
    reply: str | None = None
    """The start of an unsuccessful reply's body."""


class Done(Struct, frozen=True, tag="done"):
    """The upstream has it."""


class Dead(Struct, frozen=True, tag="dead"):
    """It will not be delivered unless an operator says so; kept with its reason.

    ``request`` is the call that was refused, as JSON, its secrets masked; ``None`` where none was made.
    """

    reason: str
    detail: str = ""
    request: str | None = None


class Held(Struct, frozen=True, kw_only=True, tag="held"):
    """To be tried again: waits in the held table and, unless ``aside``, holds its lane.

    ``due`` is wall-clock time, or ``None`` for one that waits behind another of its lane.
    """

    due: datetime | None
    attempts: int = 0
    parks: int = 0
    since: float | None = None
    step: str | None = None
    aside: bool = False
    reason: str = ""

    @classmethod
    def as_it_was(cls, delivery: Delivery, *, due: datetime | None, reason: str = "") -> Self:
        """Held with all that is known of the delivery, as if it had not been tried."""
        return cls(
            due=due,
            attempts=delivery.attempts,
            parks=delivery.parks,
            since=delivery.since,
            step=delivery.step,
            aside=delivery.aside,
            reason=reason,
        )


Fate = Done | Dead | Held


class Settlement(Struct, frozen=True, kw_only=True):
    """What became of a delivery, with the attempts that led there."""

    delivery: Delivery
    fate: Fate
    attempts: tuple[Attempt, ...] = ()


class Selection(Struct, frozen=True, kw_only=True):
    """Some of the dead: AND across the fields, one that is ``None`` takes everything."""

    destination: str | None = None
    reason: str | None = None
    name: str | None = None
    """A glob (`*`, `?`, `[abc]`) on the event's name, case-sensitive."""
    event_id: str | None = None
    """Ours."""
    since: datetime | None = None
    """Dead since then, or later."""
    until: datetime | None = None
    """Dead before then."""


class Standing(Struct, frozen=True, kw_only=True):
    """How a destination stands.

    ``up_seconds`` is the time that it was up while we were running: the clock by which deliveries age. ``since`` is
    when it came to stand so, in wall-clock time.
    """

    state: Literal["up", "down", "parked"] = "up"
    reason: str | None = None
    since: datetime | None = None
    up_seconds: float = 0.0
    paused_at: datetime | None = None
    paused_until: datetime | None = None
    """Wall-clock times from when to when the upstream asked us to wait (Retry-After)."""

    def pause_end(self, now: datetime) -> datetime | None:
        """Until when nothing is sent because the upstream asked us to wait; ``None``: there is no pause, or it is over.

        One that began later than it is now begins again: the wall clock was set back. (While the program runs, its own
        clock says when it is over; until the next call is answered then, this one says that it is not.)
        """
        if self.paused_at is None or self.paused_until is None:
            return None
        end = now + (self.paused_until - max(self.paused_at, now))
        return end if end > now else None


NO_SOURCE = "(none)"
"""What people read where a call came to no source, whose name is empty in the counts."""


class SourceTally(Struct, frozen=True, kw_only=True):
    """A source's ledger: received = rejected + duplicate + accepted."""

    accepted: int = 0
    duplicate: int = 0
    conflict: int = 0
    unrouted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """By reason."""

    @property
    def received(self) -> int:
        """Everything that came."""
        return self.accepted + self.duplicate + sum(self.rejected.values())


class DestinationTally(Struct, frozen=True, kw_only=True):
    """A destination's ledger: owed = delivered + waiting + dead + dropped; waiting is due or parked as a whole."""

    owed: int = 0
    delivered: int = 0
    dead: int = 0
    dropped: int = 0
    filtered: int = 0
    retried: int = 0
    """Attempts that ended in a Retry or a Park."""
    held: int = 0
    """How many of the waiting the cursor left behind."""
    oldest: datetime | None = None
    """When the oldest waiting event was received."""
    backlog_bytes: int = 0
    """Bytes of the events that wait for this destination."""
    backlog_limit: int | None = None
    """Bytes at which new events are refused or shed, as ``backlog_full`` says; ``None``: no limit of its own."""
    backlog_full: Literal["refuse", "shed"] = "refuse"
    shed: int = 0
    """How many, ever, were dead at once because the backlog was full."""
    standing: Standing = Standing()

    @property
    def waiting(self) -> int:
        """Owed and not yet settled."""
        return self.owed - self.delivered - self.dead - self.dropped


class Ledger(Struct, frozen=True, kw_only=True):
    """Everything counted, at one moment."""

    sources: Mapping[str, SourceTally]
    destinations: Mapping[str, DestinationTally]
    backlog_bytes: int = 0
    """Bytes of events that some destination still waits for."""
    backlog_limit: int = 0


class Found(Struct, frozen=True, kw_only=True):
    """An event and what became of it, destination by destination."""

    event: Event
    owed: frozenset[str]
    filtered: frozenset[str]
    fates: Mapping[str, str]
    """Destination -> delivered, dead, dropped, held or due."""
    attempts: Mapping[str, tuple[Attempt, ...]]
    reasons: Mapping[str, str]
    """Destination -> why it is dead, dropped or held."""
    next_due: Mapping[str, datetime]
    """Destination -> when it is tried again; absent for one that waits behind another of its lane."""


class Outbox(Protocol):
    """What keeps events until they are delivered. Safe to use from one event loop; its own threads are its affair."""

    async def append(self, entries: Sequence[Entry]) -> Sequence[Appended]:
        """Store the entries, all or none; they are fsynced when this returns.

        A caller that gives up (is cancelled) before the storage began with its entries finds none of them stored; later
        than that they may be. What is owed to a destination with a full backlog is dead at once, as ``shed``, where its
        policy says so; else the whole batch is refused.

        Raises:
            OutboxFull: there is no room.
            OutboxUnavailable: the storage failed; nothing was promised.

        """

    async def take(self, destination: str, limit: int) -> Sequence[Delivery]:
        """The next deliveries in the order of acceptance, at most ``limit`` (and a few MiB).

        Those whose lane has something held (and not aside) join the held behind it instead, in the same stroke.
        What is handed out counts as started: after a crash it comes again with one attempt more.
        """

    async def take_live(self, destination: str, limit: int) -> Sequence[Delivery]:
        """New deliveries ahead of a backlog that ``take`` has still to get through, in the order of acceptance.

        Only of lanes that have nothing older waiting to be handed out there, so that each lane's order is kept. What is
        handed out ahead counts like what is taken, and ``take`` passes it over. It may give less than it could, and
        nothing for the first few times: it goes by what it remembers of the backlog, never by more than a few MiB.
        """

    async def take_held(
        self, destination: str, now: datetime, limit: int, *, undue: bool = False
    ) -> Sequence[Delivery]:
        """The first held delivery of each lane (and those aside) that is due by ``now``, the oldest first.

        One that is handed out is not handed out again until it is settled. ``undue`` takes the due time for reached
        and goes by the due times alone: for probes, where those that failed take turns.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record what became of deliveries, fsynced. One that is settled already changes nothing.

        Raises:
            OutboxUnavailable: it could not be recorded; call again.

        """

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return deliveries that were handed out and not tried: the next start hands them out without a count."""

    async def next_due(self, destination: str) -> datetime | None:
        """When the next held delivery falls due; ``None`` where none waits for a time."""

    async def stand(self, destination: str, standing: Standing) -> None:
        """Remember how a destination stands, across restarts."""

    def has_news(self, destination: str) -> bool:
        """Whether ``take`` might give something; cheap, in memory."""

    def has_live(self, destination: str) -> bool:
        """Whether ``take_live`` might give something, now or when it is asked again; cheap, in memory."""

    def on_append(self, wake: Callable[[frozenset[str]], None]) -> None:
        """Call ``wake`` with the destinations owed, on the event loop, after each commit that owes something."""

    def on_retry(self, wake: Callable[[frozenset[str]], None]) -> None:
        """Call ``wake`` with the destinations, on the event loop, after each commit that made some of the dead due."""

    def count_rejected(self, source: str, reason: str, count: int = 1) -> None:
        """Count a call turned away; written with the next commit, or within a second."""

    def ledger(self) -> Ledger:
        """The counts as of the last commit, with what is not yet written of ``count_rejected``.

        In a process that does not have the outbox: as of a commit of the last second or two.
        """

    async def close(self) -> None:
        """Write what is left to write, and let go: of the data directory, or of the process that has it."""


class OwnedOutbox(Outbox, Protocol):
    """An outbox in the process that has its data: operators give their orders there. No event on its way needs them."""

    async def retry_dead(self, selection: Selection, limit: int) -> int:
        """Make at most ``limit`` of the selected dead due again, as if never tried; how many.

        Of each destination the oldest first. They keep their place in their lane: what is held behind nobody goes
        first. Again and again until it says 0.
        """

    async def drop_dead(self, selection: Selection, limit: int) -> int:
        """Give at most ``limit`` of the selected dead up for good, counted as dropped; how many."""

    async def move(self, old: str, new: str, limit: int) -> int:
        """Owe to ``new`` what waits or is dead at ``old``, at most ``limit`` of it; how many.

        What waits goes before the dead, the oldest first. An event that is owed to both already is dropped at ``old``,
        unless it was dropped at ``new``: then it is owed to that one alone, and not dropped any more. What is in
        somebody's hand stays.
        """

    async def drop_waiting(self, destination: str, limit: int) -> int:
        """Give up what waits at a destination, at most ``limit`` of it, counted as dropped; how many.

        The oldest first. What is in somebody's hand stays.
        """
