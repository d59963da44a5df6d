"""Which events and users a body names: a generic reading that no vendor's codec shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("event_name", "event")
"""Fields that hold an event's name, where they hold a string."""

USERS = ("user_id", "anonymous_id")
"""Fields that say whose event it is."""


class Contents(Struct, frozen=True, kw_only=True):
    """What a body holds; ``user_id`` is the first that is named, ``count`` is of events, at least 1."""

    is_json: bool = False
    events: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    user_id: str | None = None
    count: int = 1


def look(body: bytes, envelope: str | None) -> Contents:
    """Look into a body, at its objects and one envelope deep.

    Args:
        body: the bytes as they came.
        envelope: the field with the list of events, if the endpoint takes such; an array at the root counts anyway.

    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Contents()
    found = [item for stated in _stating(value) for item in stated.items() if isinstance(item[1], str) and item[1]]
    return Contents(
        is_json=True,
        events=tuple(dict.fromkeys(said for name, said in found if name in NAMES)),
        users=tuple(dict.fromkeys(said for name, said in found if name in USERS)),
        user_id=next((said for name, said in found if name == "user_id"), None),
        count=max(1, _count(value, envelope)),
    )


def _stating(value: Any) -> Iterator[dict[str, Any]]:
    """The objects that state a name or a user; one that states neither is an envelope, and is looked into once."""
    for outer in _objects(value):
        if _states(outer):
            yield outer
        else:
            yield from (inner for held in outer.values() for inner in _objects(held) if _states(inner))


def _objects(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def _states(fields: dict[str, Any]) -> bool:
    return any(isinstance(fields.get(name), str) for name in (*NAMES, *USERS))


def _count(value: Any, envelope: str | None) -> int:
    events = value.get(envelope) if isinstance(value, dict) else value
    return len(events) if isinstance(events, list) else 1
