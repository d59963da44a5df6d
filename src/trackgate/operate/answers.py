"""What operators are told. Times are UTC, durations seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from trackgate.archive import Cause, DeadLetter
from trackgate.masking import MaskedCall
from trackgate.model import Event
from trackgate.outbox import Attempt


class Refusal(Struct, frozen=True, kw_only=True):
    """Why it cannot be done, and what to do; ``field`` is at fault, if one is."""

    error: str
    message: str
    field: str | None = None


class SourceStatus(Struct, frozen=True, kw_only=True):
    """A source's ledger: received = rejected + duplicate + accepted."""

    received: int
    accepted: int
    duplicate: int
    rejected: int
    rejected_by: Mapping[str, int]
    """By reason."""
    unrouted: int
    """Of the accepted, those that no route sends anywhere."""


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """A destination's ledger: owed = delivered + due + parked + dead + dropped."""

    state: str
    """up, down or parked."""
    reason: str | None
    since: datetime | None
    paused_until: datetime | None
    """Nothing is sent before, because its vendor asked us to wait (Retry-After); null: it did not, or that is over."""
    owed: int
    delivered: int
    due: int
    parked: int
    dead: int
    dropped: int
    filtered: int
    shed: int
    """Of the dead ever, those that were dead at once because the destination's backlog was full."""
    backlog_bytes: int
    """Of the events that wait."""
    backlog_limit_bytes: int | None
    """Where `backlog.max` is set."""
    backlog_full: str
    """What becomes of a new event at that limit: refuse or shed."""
    oldest_age: float | None
    """Of what waits."""
    rate: float | None
    """Delivered a second, over the last minute; null without a running gateway."""


class WorkersStatus(Struct, frozen=True, kw_only=True):
    """The processes that take calls and deliver; with `server.workers = 1` it is the one that does everything."""

    configured: int
    serving: int
    ended: int
    """Since the start; each was replaced, or is about to be."""
    unserved: tuple[str, ...]
    """The destinations whose worker does not serve: what is owed to them waits for its successor."""


class Status(Struct, frozen=True, kw_only=True):
    """Everything counted, at one moment."""

    at: datetime
    gateway: str
    """starting, ready, refusing or draining, as `/readyz` says; none: the data directory was read without one."""
    reason: str | None
    """Why new events are refused, as `/readyz` says."""
    workers: WorkersStatus | None
    """Null without a running gateway."""
    sources: Mapping[str, SourceStatus]
    destinations: Mapping[str, DestinationStatus]
    backlog_bytes: int
    backlog_limit_bytes: int | None
    faults: tuple[str, ...]
    """Where the counts contradict each other, or the rows of the outbox, in words."""
    unchecked: str | None
    """Why the rows of the outbox were not compared with the counts; null: they were."""


class Fate(Struct, frozen=True, kw_only=True):
    """What became of an event at a destination."""

    fate: str
    """delivered, due, parked, dead or dropped, as it is counted."""
    reason: str | None
    """Why it is dead, or why the destination that it waits for is down, parked or paused."""
    next_due: datetime | None
    """When it is tried again, at a destination that is up."""
    paused_until: datetime | None
    """For what waits: as in the status of the destination."""
    attempts: tuple[Attempt, ...]


class FoundEvent(Struct, frozen=True, kw_only=True):
    """An event and what became of it at each destination that it is owed to."""

    event: Event
    destinations: Mapping[str, Fate]
    filtered: tuple[str, ...]


class FoundEvents(Struct, frozen=True, kw_only=True):
    """The event with our id, or those that callers gave the id, the latest first."""

    events: tuple[FoundEvent, ...]


class DeadPage(Struct, frozen=True, kw_only=True):
    """Why the selected are dead, how many they are, and some of them, the latest first.

    ``next`` is the ``after`` of the page that follows.
    """

    causes: tuple[Cause, ...]
    total: int
    letters: tuple[DeadLetter, ...]
    next: str | None


class Difference(Struct, frozen=True, kw_only=True):
    """What was sent beside what today's configuration would send. ``diff`` is empty where that is the same.

    ``today`` is empty where nothing can be sent; ``obstacle`` says why.
    """

    as_sent: MaskedCall | None
    today: tuple[MaskedCall, ...]
    obstacle: str | None
    diff: str


class Letter(Struct, frozen=True, kw_only=True):
    """Everything that is known of one dead delivery; ``event`` is null where what is stored of it is damaged."""

    letter: DeadLetter
    event: Event | None
    attempts: tuple[Attempt, ...]
    difference: Difference


class Sample(Struct, frozen=True, kw_only=True):
    """A cause, and the latest of its events as it would be sent now."""

    cause: Cause
    event_id: str
    difference: Difference


class Retried(Struct, frozen=True, kw_only=True):
    """How many were selected (``None`` where they were not counted), and how many of them are due again.

    ``samples`` is for a dry run: one a cause.
    """

    retried: int
    selected: int | None = None
    samples: tuple[Sample, ...] = ()


class Dropped(Struct, frozen=True, kw_only=True):
    """How many were given up; where that needs a ``yes``, how many it would be."""

    dropped: int
    selected: int | None = None


class Moved(Struct, frozen=True, kw_only=True):
    """How many are owed to the other destination now, or were owed to it already."""

    moved: int


class Resumed(Struct, frozen=True, kw_only=True):
    """How a destination stands after it was tried; ``was`` is how it stood before.

    ``paused_until``: its vendor asked again to wait (Retry-After).
    """

    was: str
    state: str
    reason: str | None
    paused_until: datetime | None
    message: str
