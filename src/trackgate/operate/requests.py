"""What operators ask, as it comes over HTTP, and what each field of it must be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from trackgate.asking import Mistaken
from trackgate.outbox import Selection
from trackgate.units import Duration

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_AT_ONCE = 10_000
"""Deliveries that one call changes at most: the writer is everybody's."""

MAX_PAGE = 1000
"""Dead letters that one call shows at most."""

AtOnce = Annotated[int, Meta(ge=1, le=MAX_AT_ONCE, description="the most deliveries to change; call again until 0")]


class Filters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some of the dead: AND across the fields; one that is absent takes everything."""

    destination: str | None = None
    reason: str | None = None
    name: str | None = None
    """A glob on the event's name."""
    since: str | None = None
    """Dead since then: ISO 8601, or an age such as 2h."""
    until: str | None = None
    """Dead before then."""
    id: str | None = None
    """Our id of the event."""

    def selection(self, now: datetime, place: str = "") -> Selection:
        """The same as the outbox understands it.

        Args:
            now: what ages count from.
            place: what the fields' names begin with where they are told of.

        Raises:
            Mistaken: a time is none.

        """
        return Selection(
            destination=self.destination,
            reason=self.reason,
            name=self.name,
            event_id=self.id,
            since=_moment(self.since, f"{place}since", now),
            until=_moment(self.until, f"{place}until", now),
        )


class RetryDead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make dead deliveries due again; with ``dry_run`` only say what would differ."""

    selection: Filters
    dry_run: bool = False
    limit: AtOnce = 1000


class DropDead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give dead deliveries up for good; without ``yes`` only say how many."""

    selection: Filters
    yes: bool = False
    limit: AtOnce = 1000


class Move(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Owe what waits or is dead at a destination that is no longer configured to another."""

    to: str
    limit: AtOnce = 1000


class DropWaiting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give up what waits at a destination that is no longer configured; without ``yes`` only say how much."""

    yes: bool = False
    limit: AtOnce = 1000


_TIME = "a time such as 2026-03-01T12:00:00Z, or an age such as 30m, 2h or 7d"
_LIMIT = {"limit": f"a number from 1 to {MAX_AT_ONCE}"}
_YES = {"yes": "true or false"}

FILTERS = {
    "destination": "the name of a destination",
    "reason": "a reason, as the causes of the dead name it",
    "name": "a glob on an event's name",
    "since": _TIME,
    "until": _TIME,
    "id": "an event id of Trackgate's",
}
LISTING = {**FILTERS, "limit": f"a number from 1 to {MAX_PAGE}", "after": "the `next` of the page before"}
_SELECTION = {
    "selection": f"an object with any of {', '.join(FILTERS)}; an empty one takes all the dead",
    **{f"selection.{name}": words for name, words in FILTERS.items()},
}
WORDS: Mapping[type[Struct], Mapping[str, str]] = {
    RetryDead: {**_SELECTION, "dry_run": "true or false", **_LIMIT},
    DropDead: {**_SELECTION, **_YES, **_LIMIT},
    Move: {"to": "the name of a destination", **_LIMIT},
    DropWaiting: {**_YES, **_LIMIT},
}
"""What each field of a body must be."""


def _moment(text: str | None, field: str, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return now - timedelta(seconds=Duration.read(text))
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Mistaken(field, f"`{field}` must be {_TIME}.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
