"""What a vendor is: a dialect as pure functions and data, in one file of ``trackgate.vendors``.

Two mirror pairs:

    decode  / encode        their request  <->  Event
    accept, reject / classify   our reply  <->  their reply

A vendor's file holds every fact of that vendor and nothing else does. It does no I/O.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from trackgate.fidelity import Note
from trackgate.model import (
    Call,
    Delivered,
    Event,
    Kind,
    Outcome,
    Park,
    Problem,
    ProblemKind,
    Receipt,
    Refuse,
    Reply,
    Retry,
    Unsupported,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Anonymous = Literal["dead", "filter", "as-user-id"]
"""What a vendor that demands a user id does with an event that has none (an option of such a destination)."""

MAX_RETRY_AFTER = 86_400.0
"""Seconds. A longer Retry-After is taken for this one."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """One path that a vendor documents and that we take.

    ``batch`` is the most events that one call may hold (``None``: exactly one), ``envelope`` the field that holds
    their array (``None``: the body is the array). ``max_body`` is the vendor's own documented limit in bytes, where it
    has one, and ``oversize`` how it turns a longer body away.
    """

    path: str
    kind: Kind = "track"
    batch: int | None = None
    envelope: str | None = None
    max_body: int | None = None
    oversize: ProblemKind = ProblemKind.TOO_LARGE


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a destination that only this vendor knows. A vendor derives its own and documents each field."""

    def __repr__(self) -> str:
        """Without the values, among which may be a secret."""
        return f"{type(self).__name__}(...)"


class Target(Struct, frozen=True, kw_only=True):
    """A destination as its vendor sees it. ``url`` has no trailing slash; the documented path follows it."""

    url: str
    key: str
    options: Options

    def __repr__(self) -> str:
        """Without the key."""
        return f"Target({self.url!r})"


class Decoded(Struct, frozen=True):
    """One event of a call, and what reading it took."""

    event: Event
    notes: tuple[Note, ...] = ()


class Encoded(Struct, frozen=True):
    """The calls that say one event, in the order to make them, and what saying it took."""

    calls: tuple[Call, ...]
    notes: tuple[Note, ...] = ()


class Vendor(ABC):
    """A dialect. Stateless; one instance serves all sources and destinations of the vendor."""

    name: ClassVar[str]
    """As in ``routes.toml``: lower case, letters and digits."""
    title: ClassVar[str]
    """As the vendor writes itself."""
    endpoints: ClassVar[tuple[Endpoint, ...]]
    """The calls that are taken; the first is the documented track call."""
    native: ClassVar[frozenset[str]] = frozenset()
    """What the dialect has fields for, of the patterns of ``fidelity.CARRIED``."""
    options: ClassVar[type[Options]] = Options
    credential: ClassVar[str]
    """How a caller presents its key, in words, for messages: ``Authorization: Token KEY``."""

    # --- the way in -------------------------------------------------------------------------------------------

    @abstractmethod
    def credentials(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        """The keys that a caller presents in this vendor's own form; none if it presents none in that form."""

    @abstractmethod
    def decode(self, call: Call, endpoint: Endpoint, receipt: Receipt) -> tuple[Decoded, ...]:
        """Read the events of a call.

        Raises:
            Problem: the call is not what the vendor documents; the field (and a batch's index) is named.

        """

    @abstractmethod
    def accept(self, endpoint: Endpoint, ids: tuple[str, ...], *, user_id: str | None = None) -> Reply:
        """The documented success, for the events with these ids; ``user_id`` is the first one's, as the caller said."""

    @abstractmethod
    def reject(self, problem: Problem) -> Reply:
        """The documented error; where none is documented for this status, the nearest shape of the vendor's."""

    # --- the way out ------------------------------------------------------------------------------------------

    @abstractmethod
    def base_url(self, options: Options) -> str:
        """The vendor's own scheme and host, where ``routes.toml`` gives no ``url``."""

    @abstractmethod
    def encode(self, event: Event, target: Target) -> Encoded:
        """Say an event.

        Raises:
            Unsupported: the dialect cannot say it; nothing is half-sent.

        """

    def filters(self, event: Event, options: Options) -> bool:
        """Whether the options ask not to be owed such an event at all; decided at acceptance."""
        return getattr(options, "anonymous", None) == "filter" and not event.user_id

    def classify(self, reply: Reply) -> Outcome:
        """What a reply means: the common table, with the vendor's own body where it documents one."""
        body = _object(reply.body)
        match reply.status:
            case status if 200 <= status < 300:
                return Refuse("success_false") if self.denies(body) else Delivered()
            case 408 | 425 | 429:
                return Retry(f"status_{reply.status}", self.retry_after(reply, body))
            case status if status >= 500:
                return Retry(f"status_{status}", self.retry_after(reply, body))
            case 401 | 402 | 403:
                return Park(f"status_{reply.status}")
            case status if 300 <= status < 400:
                return Park(f"status_{status}")
            case status if 400 <= status < 500:
                return Refuse(f"status_{status}")
            case status:
                return Retry(f"status_{status}")

    def denies(self, body: Mapping[str, Any]) -> bool:
        """Whether the body of a 2xx says that the event was not taken. No vendor says so unless it documents it."""
        return False

    def retry_after(self, reply: Reply, body: Mapping[str, Any]) -> float | None:
        """Seconds that the upstream asks us to wait: the Retry-After header in either form, garbage ignored."""
        return retry_after_header(reply)

    # --- the sandbox ------------------------------------------------------------------------------------------

    @abstractmethod
    def inspect(self, call: Call, endpoint: Endpoint) -> tuple[Problem, ...]:
        """Everything in a call that breaks the vendor's documents, checked strictly and without our codec."""

    @abstractmethod
    def sample(self, url: str, key: str) -> Call:
        """The vendor's documented example of a track call, to the given base URL."""


# --- what the dialects' files share ---------------------------------------------------------------------------


def user_id_of(event: Event, policy: str, notes: list[Note], stand_in: str | None = None) -> str:
    """The user id to send, for a vendor that demands one.

    Args:
        event: the event.
        policy: the destination's ``anonymous`` option.
        notes: grows where another id stands in.
        stand_in: a last resort under ``as-user-id``, after the anonymous id (a device id).

    Raises:
        Unsupported: nobody is named and the policy allows no stand-in, or there is none.

    """
    if event.user_id:
        return event.user_id
    if policy == "as-user-id":
        for name, value in (("anonymous_id", event.anonymous_id), ("context.device_id", stand_in)):
            if value:
                notes.append(Note(name.rpartition(".")[2], "changed", name, {"user_id": value}))
                return value
    raise Unsupported("no_user_id", "the event names no user, and this vendor takes none without a user id")


def scheme_credential(headers: Mapping[str, str], scheme: str) -> tuple[str, ...]:
    """The credential of ``Authorization: <scheme> <credential>``; the scheme's case does not matter (RFC 9110)."""
    given, _, credential = headers.get("authorization", "").strip().partition(" ")
    credential = credential.strip()
    return (credential,) if credential and given.lower() == scheme.lower() else ()


def retry_after_header(reply: Reply) -> float | None:
    """The Retry-After header as seconds from the reply's arrival, capped; ``None`` where absent or garbage."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    return min(max((moment - reply.at).total_seconds(), 0.0), MAX_RETRY_AFTER)


def zoned(moment: datetime | None) -> bool:
    """Whether a timestamp states its offset."""
    return moment is not None and moment.tzinfo is not None


def _object(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
