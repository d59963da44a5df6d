"""The nouns that every layer speaks: plain frozen values, no I/O and no vendor.

The errors of the program, drawn once:

    Problem       a call that we turn away (the caller hears it, in the vendor's shape)
    Unsupported   an event that a dialect cannot say (it goes to the dead, with the reason)

An upstream's failure is no error: it is an ``Outcome``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal, Protocol

from msgspec import Struct, field

Kind = Literal["track", "identify"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Context(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What surrounded the event. Every field is as the caller stated it, or ``None``."""

    ip: str | None = None
    user_agent: str | None = None
    group_id: str | None = None
    session_id: str | None = None
    device_id: str | None = None
    origin: str | None = None
    """Which side of the business it came from, e.g. ``product`` or ``marketing``."""
    group: dict[str, Any] = field(default_factory=dict)
    """What the caller said of the group (company) itself."""
    other: dict[str, Any] = field(default_factory=dict)
    """Whatever else the caller put into its context, by the caller's own names."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The canonical event: what any of the dialects decodes to and encodes from."""

    id: str
    """Ours: a UUIDv7, minted at acceptance."""
    vendor: str
    """The dialect it came in; only there do ``extras`` mean anything."""
    source: str
    received_at: datetime
    kind: Kind = "track"
    name: str = ""
    """Empty for an identify event, which has none."""
    user_id: str | None = None
    anonymous_id: str | None = None
    event_id: str | None = None
    """The caller's own id of the event, if the dialect has one and the caller used it."""
    timestamp: datetime | None = None
    """Aware, with the caller's own offset, to the microsecond; ``None`` if the caller stated none."""
    timestamp_finer: str = ""
    """Sub-second digits of ``timestamp`` beyond the microsecond (``789``), for which a ``datetime`` has no room."""
    timestamp_raw: str | None = None
    """A timestamp that could not be read, word for word; ``timestamp`` is ``None`` then."""
    properties: dict[str, Any] = field(default_factory=dict)
    """For an identify event these are the user's traits."""
    context: Context = Context()
    identify: bool = False
    """A track event that asks to update the user's profile first."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Top-level fields that the dialect does not declare."""

    @property
    def occurred_at(self) -> datetime:
        """When it happened, as far as anybody knows: the caller's time, else ours."""
        return self.timestamp or self.received_at


class Call(Struct, frozen=True, kw_only=True):
    """One HTTP request, in either direction. Header names are lower case.

    ``url`` is absolute on the way out and a path on the way in. ``step`` names the call among those of one event
    (an identify before a track), so that a retry can resume at it.
    """

    method: str = "POST"
    url: str
    headers: dict[str, str]
    body: bytes
    step: str = "track"


class Reply(Struct, frozen=True, kw_only=True):
    """One HTTP response, in either direction. Header names are lower case.

    ``complete`` is false where the body was cut short or longer than we read; ``at`` is when it arrived (a
    Retry-After date counts from there).
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    at: datetime = EPOCH


class NoReply(Struct, frozen=True):
    """Why a call got no reply. ``reason`` is a stable code, ``detail`` what the engine said (no secrets)."""

    reason: Literal["timeout", "connect", "network", "protocol"]
    detail: str = ""


class Delivered(Struct, frozen=True, tag="delivered"):
    """The upstream has the event."""


class Retry(Struct, frozen=True, tag="retry"):
    """Not now. ``after``: the least number of seconds that the upstream asked us to wait."""

    reason: str
    after: float | None = None


class Park(Struct, frozen=True, tag="park"):
    """The destination needs an operator (or a rotated key): hold everything, lose nothing."""

    reason: str


class Refuse(Struct, frozen=True, tag="refuse"):
    """The upstream will never take this event."""

    reason: str


Outcome = Delivered | Retry | Park | Refuse


class ProblemKind(Enum):
    """Why a call is turned away; the value is the HTTP status."""

    INVALID = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    METHOD = 405
    TIMEOUT = 408
    TOO_LARGE = 413
    ENCODING = 415
    TOO_MANY = 429
    UNAVAILABLE = 503


class Problem(Exception):  # noqa: N818 - the domain's word
    """A call that we turn away.

    Args:
        kind: decides the status.
        message: for the caller; it names fields, never values.
        field: the dotted field at fault, e.g. ``event.user_id``.
        index: the place in a batch, from 0.
        flaw: what is wrong with the field, or with the body as a whole.
        retry_after: seconds, where trying again makes sense.
        reason: for counts and logs, where it says more than the kind.

    """

    def __init__(
        self,
        kind: ProblemKind,
        message: str,
        *,
        field: str | None = None,
        index: int | None = None,
        flaw: Literal["missing", "type", "value", "empty", "syntax", "depth"] | None = None,
        retry_after: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.field = field
        self.index = index
        self.flaw = flaw or ("value" if field else None)
        self.retry_after = retry_after
        self.reason = reason or kind.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status that every dialect uses for this kind."""
        return self.kind.value


class Unsupported(Exception):  # noqa: N818 - the domain's word
    """An event that a dialect cannot say. ``reason`` is a stable code, ``detail`` a sentence without values."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Receipt(Struct, frozen=True):
    """What the way in knows of a call before its body is read; ``mint`` gives a new event id."""

    source: str
    at: datetime
    mint: Callable[[], str]


class Clock(Protocol):
    """The time, handed in, so that tests simulate days."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""

    def monotonic(self) -> float:
        """Seconds that never jump, for durations inside one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
