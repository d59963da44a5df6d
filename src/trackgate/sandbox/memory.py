"""What the sandbox got: the newest calls in full, and counts that are never lost. Gone when the process ends."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CALLS = 10_000
"""Calls that are remembered; older ones are forgotten, and still counted."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of bodies and headers that are remembered."""

OVERHEAD = 1024
"""Bytes that a remembered call is taken for besides its body and headers."""


class Flaw(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing in a call that breaks the vendor's documents; ``index`` is the place in a batch, from 0."""

    status: int
    field: str | None
    message: str
    index: int | None = None


class Received(Struct, frozen=True, kw_only=True):
    """A call, as it is shown.

    ``n`` counts up from 1 and is never used twice. The body stands in exactly one of ``body`` (JSON, word for word),
    ``body_text`` and ``body_base64``; in none of them if it was too large. ``status`` is what the vendor's caller
    was told, ``None`` where the connection was cut before the call was taken; where it was cut ``after``, what it
    would have been told. ``failed`` says that the sandbox was told to fail; ``problems`` are found all the same.
    """

    n: int = 0
    at: datetime
    vendor: str
    method: str
    path: str
    headers: dict[str, str]
    """The credential masked to its last 4 characters."""
    body: Raw | UnsetType = UNSET
    body_text: str | UnsetType = UNSET
    body_base64: str | UnsetType = UNSET
    status: int | None
    failed: bool = False
    cut: Literal["before", "after"] | None = None
    problems: tuple[Flaw, ...] = ()
    events: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    trackgate_event_id: str | None = None


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls to show or count: AND across the keys; one that is absent or empty takes everything."""

    vendor: str = ""
    event: str = ""
    """A glob (`*`, `?`, `[abc]`) on an event's name, case-sensitive."""
    user: str = ""
    """A user id or anonymous id."""
    status: int | None = None
    id: str = ""
    """The `trackgate-event-id` that the call came with."""

    def takes(self, received: Received) -> bool:
        """Whether a call is among those asked for."""
        return (
            self.vendor in ("", received.vendor)
            and self.status in (None, received.status)
            and self.id in ("", received.trackgate_event_id)
            and (not self.user or self.user in received.users)
            and (not self.event or any(fnmatchcase(name, self.event) for name in received.events))
        )

    @property
    def is_counted(self) -> bool:
        """Whether the counts alone, which outlive the calls, can answer."""
        return not (self.event or self.user or self.id)


class Page(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of them to show: the newest ``limit``, or with ``after`` the first ``limit`` whose ``n`` is greater."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CALLS)] = 100
    after: Annotated[int, Meta(ge=0)] | None = None


class Count(Struct, frozen=True, kw_only=True):
    """How many calls; ``complete`` is false where some were forgotten before anybody asked this about them."""

    count: int
    by_vendor: Mapping[str, int]
    complete: bool


class Memory:
    """Remembers calls. Bounded by their number and their bytes; the oldest go first.

    Args:
        max_calls: how many calls at most.
        max_bytes: how many bytes of them at most; the newest call stays whatever its size.

    """

    def __init__(self, *, max_calls: int = MAX_CALLS, max_bytes: int = MAX_BYTES) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._calls: deque[tuple[Received, int]] = deque()
        self._bytes = 0
        self._last = 0
        self._counts: Counter[tuple[str, int | None]] = Counter()
        self._lost = 0

    def remember(self, received: Received, size: int) -> Received:
        """Remember a call whose body has ``size`` bytes; it is given its ``n``."""
        self._last += 1
        received = structs.replace(received, n=self._last)
        weight = OVERHEAD + size + sum(map(len, received.headers.values()))
        self._calls.append((received, weight))
        self._bytes += weight
        self._counts[received.vendor, received.status] += 1
        while len(self._calls) > 1 and (len(self._calls) > self._max_calls or self._bytes > self._max_bytes):
            self._bytes -= self._calls.popleft()[1]
            self._lost += 1
        return received

    def show(self, page: Page) -> list[Received]:
        """The calls asked for, the oldest first."""
        if page.after is not None:
            return list(islice((call for call in self._taken(page) if call.n > page.after), page.limit))
        return list(deque(self._taken(page), maxlen=page.limit))

    def count(self, wanted: Filter) -> Count:
        """How many calls there were, forgotten ones among them wherever the counts can tell."""
        if wanted.is_counted:
            by_vendor: Counter[str] = Counter()
            for (vendor, status), number in self._counts.items():
                if wanted.vendor in ("", vendor) and wanted.status in (None, status):
                    by_vendor[vendor] += number
        else:
            by_vendor = Counter(call.vendor for call in self._taken(wanted))
        return Count(
            count=by_vendor.total(),
            by_vendor=dict(sorted(by_vendor.items())),
            complete=wanted.is_counted or not self._lost,
        )

    def forget(self) -> int:
        """Forget every call and every count. Returns how many calls were counted."""
        forgotten = self._counts.total()
        self._calls.clear()
        self._counts.clear()
        self._bytes = self._lost = 0
        return forgotten

    def _taken(self, wanted: Filter) -> Iterator[Received]:
        return (call for call, _ in self._calls if wanted.takes(call))
