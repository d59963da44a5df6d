"""The failures that the sandbox was told to make: which calls they strike, and how often."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import count
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

from trackgate.asking import Mistaken
from trackgate.units import Duration

if TYPE_CHECKING:
    from collections.abc import Collection

    from trackgate.sandbox.contents import Contents

MAX_DELAY = 3600.0
"""Seconds."""

MAX_HEADER = 200
"""Characters of a Retry-After."""

FOREVER = -1
"""As ``times``: until cleared."""

WORDS = {
    "vendor": "the name of a vendor, or null for all of them",
    "status": "a status from 300 to 599",
    "retry_after": 'seconds or text for the Retry-After header, such as "30" or "Wed, 21 Oct 2026 07:28:00 GMT"',
    "delay": 'seconds or a duration such as "500ms" or "30s", at most an hour',
    "cut": '"before" (the call is not taken) or "after" (it is taken, and the reply is lost)',
    "times": f"a number of calls from 1, or {FOREVER} for until it is cleared",
    "match": 'an object with any of "event" and "user"',
    "match.event": "a glob on an event's name",
    "match.user": "a user id or anonymous id",
}
"""What each field of a ``FailureOrder`` must be."""


class Match(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls a failure strikes: AND across the keys; one that is absent takes everything."""

    event: str | None = None
    """A glob (`*`, `?`, `[abc]`) on an event's name, case-sensitive."""
    user: str | None = None
    """A user id or anonymous id."""

    def takes(self, contents: Contents) -> bool:
        """Whether a body with these contents is struck."""
        return (self.user is None or self.user in contents.users) and (
            self.event is None or any(fnmatchcase(name, self.event) for name in contents.events)
        )


class FailureOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator asks for; ``WORDS`` says what each field must be.

    With none of ``status``, ``delay`` and ``cut`` it is a 503; a ``delay`` alone is a slow success.
    """

    vendor: str | None = None
    status: int | None = None
    retry_after: str | int | None = None
    delay: str | float | int | None = None
    cut: Literal["before", "after"] | None = None
    times: int = 1
    match: Match = Match()


class Failure(Struct, frozen=True, kw_only=True):
    """A failure that stands ready. ``delay`` is in seconds; ``remaining`` is -1 where it stands until cleared."""

    id: int
    vendor: str | None
    status: int | None
    retry_after: str | None
    delay: float
    cut: Literal["before", "after"] | None
    times: int
    remaining: int
    match: Match


class Failures:
    """The failures that stand ready, in the order they were asked for. The first that matches a call strikes it."""

    def __init__(self, vendors: Collection[str]) -> None:
        self._vendors = vendors
        self._ids = count(1)
        self._ready: dict[int, Failure] = {}

    def add(self, order: FailureOrder) -> Failure:
        """Make a failure stand ready.

        Raises:
            Mistaken: a field is not what it must be.

        """
        self._check(order)
        nothing_said = order.status is None and order.delay is None and order.cut is None
        failure = Failure(
            id=next(self._ids),
            vendor=order.vendor,
            status=503 if nothing_said else order.status,
            retry_after=_retry_after(order.retry_after),
            delay=_delay(order.delay),
            cut=order.cut,
            times=order.times,
            remaining=order.times,
            match=order.match,
        )
        self._ready[failure.id] = failure
        return failure

    def strike(self, vendor: str, contents: Contents) -> Failure | None:
        """The failure for a call, one fewer of which remains; ``None`` where it may pass."""
        for failure in self._ready.values():
            if failure.vendor in (None, vendor) and failure.match.takes(contents):
                self._use(failure)
                return failure
        return None

    def ready(self) -> list[Failure]:
        """Those that stand ready, with what remains of each."""
        return list(self._ready.values())

    def clear(self, failure_id: int | None = None) -> int:
        """Clear one, or all. Returns how many."""
        if failure_id is not None:
            return 0 if self._ready.pop(failure_id, None) is None else 1
        cleared = len(self._ready)
        self._ready.clear()
        return cleared

    def _use(self, failure: Failure) -> None:
        if failure.remaining == FOREVER:
            return
        if failure.remaining == 1:
            del self._ready[failure.id]
        else:
            self._ready[failure.id] = structs.replace(failure, remaining=failure.remaining - 1)

    def _check(self, order: FailureOrder) -> None:
        if order.vendor is not None and order.vendor not in self._vendors:
            raise Mistaken("vendor", f"`vendor` must be one of: {', '.join(self._vendors)}; or null for all of them.")
        if order.status is not None and not 300 <= order.status <= 599:
            raise _wrong("status")
        if order.times != FOREVER and order.times < 1:
            raise _wrong("times")
        if order.cut is not None and order.status is not None:
            raise Mistaken("cut", "`cut` sends no reply: leave out `status`, or `cut`.")
        if order.retry_after is not None and (order.cut or (order.delay is not None and order.status is None)):
            raise Mistaken("retry_after", "`retry_after` needs a reply that fails: give a `status`, and no `cut`.")


def _wrong(field: str) -> Mistaken:
    return Mistaken(field, f"`{field}` must be {WORDS[field]}.")


def _retry_after(said: str | int | None) -> str | None:
    """Word for word, garbage too: how callers take that is worth a test. Only what no header can hold is refused."""
    if said is None:
        return None
    text = str(said)
    if not (text.isascii() and text.isprintable() and len(text) <= MAX_HEADER):
        raise _wrong("retry_after")
    return text


def _delay(said: str | float | None) -> float:
    if said is None:
        return 0.0
    try:
        seconds = float(Duration.read(said)) if isinstance(said, str) else float(said)
    except (ValueError, OverflowError):
        raise _wrong("delay") from None
    if not 0 <= seconds <= MAX_DELAY:
        raise _wrong("delay")
    return seconds
