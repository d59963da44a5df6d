"""What a conversion does to an event, as data: its *notes*, and the moves that all dialects share.

A note says which field was touched and what became of it, precisely enough that ``surviving`` can say what a reader
of the converted event must find. That is the law that the 16 conversions are held to.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from trackgate import timestamps
from trackgate.model import Context

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from trackgate.model import Event

NoteKind = Literal["carried", "changed", "made-up", "dropped", "degraded"]

LOSSY: frozenset[NoteKind] = frozenset({"changed", "dropped", "degraded"})

CARRIED: dict[str, str] = {
    "timestamp": "timestamp",
    "timestamp_raw": "timestamp_raw",
    "event_id": "event_id",
    "anonymous_id": "anonymous_id",
    "identify": "identify",
    "context.group_id": "group_id",
    "context.device_id": "device_id",
    "context.session_id": "session_id",
    "context.origin": "source",
    "context.ip": "ip",
    "context.user_agent": "ua",
    "context.group.*": "group.*",
    "context.other.*": "context.*",
}
"""Canonical field -> the property that carries it at a vendor with no field of its own for it."""

NO_CONTEXT = Context()


class Note(Struct, frozen=True):
    """One thing that a conversion did.

    ``subject`` and ``kind`` make the stable ``code`` (``timestamp.carried``). ``field`` is the canonical field
    (``properties.plan``); ``became`` is what stands in its stead, by canonical field; what is carried and became
    none of them is a call of its own. ``degraded`` says that the vendor wants something that nobody stated. Codes go
    to logs, fields and values never do.
    """

    subject: str
    kind: NoteKind
    field: str
    became: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def code(self) -> str:
        """The stable name of what happened."""
        return f"{self.subject}.{self.kind}"

    @property
    def lossy(self) -> bool:
        """Whether the destination knows less than the caller said, or knows it in another form."""
        return self.kind in LOSSY


def _stated(event: Event) -> Iterator[tuple[str, str, Any]]:
    """Each thing the caller stated, as pattern (``context.other.*``), key (where the pattern has a star), value."""
    for pattern, value in (("kind", event.kind), ("name", event.name), ("user_id", event.user_id)):
        if value:
            yield pattern, "", value
    for key, value in event.properties.items():
        yield "properties.*", key, value
    yield from _stated_beside(event)
    for key, value in event.extras.items():
        yield "extras.*", key, value


def _stated_beside(event: Event) -> Iterator[tuple[str, str, Any]]:
    """What the caller stated, in the same form, of all that some vendor has no field for."""
    context = event.context
    for pattern, value in (
        ("anonymous_id", event.anonymous_id),
        ("event_id", event.event_id),
        ("timestamp", event.timestamp and timestamps.exact(event.timestamp, event.timestamp_finer)),
        ("timestamp_raw", event.timestamp_raw),
        ("identify", event.identify),
    ):
        if value:
            yield pattern, "", value
    if context == NO_CONTEXT:
        return
    for pattern, value in (
        ("context.ip", context.ip),
        ("context.user_agent", context.user_agent),
        ("context.group_id", context.group_id),
        ("context.device_id", context.device_id),
        ("context.session_id", context.session_id),
        ("context.origin", context.origin),
    ):
        if value:
            yield pattern, "", value
    for pattern, values in (("context.group.*", context.group), ("context.other.*", context.other)):
        for key, value in values.items():
            yield pattern, key, value


def facts(event: Event) -> dict[str, Any]:
    """Everything that the caller stated, flat: canonical field -> value."""
    return {_place(pattern, key): value for pattern, key, value in _stated(event)}


def surviving(event: Event, notes: Iterable[Note]) -> dict[str, Any]:
    """What the notes promise that a reader of the converted event finds."""
    left = facts(event)
    for note in notes:
        if note.kind != "degraded":
            left.pop(note.field, None)
            left.update(note.became)
    return left


def carry(
    event: Event, native: Collection[str], notes: list[Note], names: Mapping[str, str] = CARRIED
) -> dict[str, Any]:
    """The event's properties, with what the dialect has no field for put in beside them.

    Args:
        event: the event to convert.
        native: the patterns (``context.ip``, ``context.other.*``) that the dialect says itself.
        notes: grows by a ``carried`` for each field, or a ``dropped`` where the property's name is taken; a field
            that they already speak of (an anonymous id that stands in as user id) is left alone.
        names: pattern -> property; a vendor hands in its own where it differs.

    """
    properties = dict(event.properties)
    for pattern, key, value in _untold(event, names, native, notes):
        subject, stated = subject_of(pattern), _place(pattern, key)
        name = _place(names[pattern], key)
        if name in properties:
            notes.append(Note(subject, "dropped", stated))
            continue
        properties[name] = _spell(value)
        notes.append(Note(subject, "carried", stated, {f"properties.{name}": properties[name]}))
    return properties


def leave(event: Event, native: Collection[str], notes: list[Note]) -> None:
    """Note as dropped whatever ``carry`` would have carried: for calls with no room for it (a user's profile)."""
    for pattern, key, _ in _untold(event, CARRIED, native, notes):
        notes.append(Note(subject_of(pattern), "dropped", _place(pattern, key)))


def time_of(event: Event, notes: list[Note]) -> datetime:
    """When it happened; where the caller did not say, when it came in, noted as made up."""
    if event.timestamp is None:
        notes.append(Note("timestamp", "made-up", "timestamp", {"timestamp": event.received_at}))
    return event.occurred_at


def own_extras(event: Event, vendor: str, notes: list[Note]) -> dict[str, Any]:
    """The undeclared fields, where the event goes back to the dialect that it came in; noted as dropped elsewhere."""
    if event.vendor == vendor:
        return event.extras
    notes.extend(Note("extras", "dropped", f"extras.{key}") for key in event.extras)
    return {}


def flatten(properties: dict[str, Any], notes: list[Note], *, nulls: bool) -> dict[str, Any]:
    """Make every value a primitive, for a vendor that takes no other.

    Objects become dotted keys (``a.b``), arrays and empty objects JSON text; an object whose dotted keys would hide
    another property goes whole, as JSON text under its own key.

    Args:
        properties: what to flatten; left as it is.
        notes: grows by one note a property touched, and one for each ``null`` dropped out of an object.
        nulls: whether the vendor takes ``null``; dropped otherwise.

    """
    flat: dict[str, Any] = {}
    for key, value in properties.items():
        if value is None and not nulls:
            notes.append(_null(key))
        elif isinstance(value, list):
            flat[key] = _json(value)
            notes.append(Note("arrays", "changed", f"properties.{key}", {f"properties.{key}": flat[key]}))
        elif isinstance(value, dict):
            flat.update(_flatten_object(key, value, flat.keys() | properties.keys(), notes, nulls=nulls))
        else:
            flat[key] = value
    return flat


def _untold(
    event: Event, patterns: Collection[str], native: Collection[str], notes: list[Note]
) -> list[tuple[str, str, Any]]:
    """What the caller stated of these patterns, less the native ones and what the notes already speak of."""
    told = {note.field for note in notes}
    return [
        (pattern, key, value)
        for pattern, key, value in _stated_beside(event)
        if pattern in patterns and pattern not in native and _place(pattern, key) not in told
    ]


def _place(pattern: str, key: str) -> str:
    """The pattern with the key in its star's place (the key may hold a star of its own)."""
    return pattern[:-1] + key if pattern.endswith("*") else pattern


def subject_of(pattern: str) -> str:
    """The subject of the notes on what a pattern of ``CARRIED`` stands for."""
    return pattern.removesuffix(".*") if pattern.endswith("*") else pattern.rpartition(".")[2]


def _spell(value: Any) -> Any:
    return timestamps.spell(value) if isinstance(value, datetime) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _flatten_object(
    key: str, value: dict[str, Any], taken: Collection[str], notes: list[Note], *, nulls: bool
) -> dict[str, Any]:
    leaves = list(_leaves(key, value))
    if _collide(key, leaves, taken):
        leaves = [(key, _json(value))]
    kept = {name: leaf for name, leaf in leaves if leaf is not None or nulls}
    became = {f"properties.{name}": leaf for name, leaf in kept.items()}
    notes.append(Note("objects", "changed", f"properties.{key}", became))
    notes.extend(_null(name) for name, _ in leaves if name not in kept)
    return kept


def _leaves(key: str, value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted key and primitive of each value in an object, ``null`` among them."""
    if not value:
        yield key, "{}"
    for name, inner in value.items():
        dotted = f"{key}.{name}"
        if isinstance(inner, dict):
            yield from _leaves(dotted, inner)
        else:
            yield dotted, _json(inner) if isinstance(inner, list) else inner


def _null(name: str) -> Note:
    return Note("nulls", "dropped", f"properties.{name}")


def _collide(key: str, leaves: list[tuple[str, Any]], taken: Collection[str]) -> bool:
    names = [name for name, _ in leaves]
    return len(set(names)) < len(names) or any(name in taken for name in names if name != key)
