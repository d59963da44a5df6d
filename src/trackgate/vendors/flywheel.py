"""Flywheel: ``POST /v1/events``, where ``identify`` is a flag and not a call.

Sources: flywheel.mintlify.app, "Track User Event" and its OpenAPI. An event of nobody is legal. The OpenAPI gives
property values as ``oneOf`` string, boolean, number, date-time, which as written rejects every string: it is read as
"any of".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trackgate import timestamps
from trackgate.fidelity import Note, carry, flatten, own_extras, time_of
from trackgate.model import Call, Event, Problem, ProblemKind, Reply
from trackgate.payload import body_of, json_body, json_reply, missing, mistyped, read_fields, required, stated
from trackgate.strict import (
    FLAG,
    OBJECT,
    TEXT,
    content,
    field_faults,
    header_faults,
    matches,
    moment,
    part,
    primitive_faults,
    unauthorized,
)
from trackgate.vendor import Decoded, Encoded, Endpoint, Options, Target, Vendor, zoned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trackgate.model import Receipt

NAME = re.compile(r"[a-zA-Z0-9_-]+")
"""What an event may be called (the OpenAPI's pattern)."""

EVENTS = Endpoint(path="/v1/events")

IDENTIFY_NAME = "identify"
"""What an identify call is named here, where only events exist."""

CODES = {
    ProblemKind.INVALID: "VALIDATION_ERROR",
    ProblemKind.UNAUTHORIZED: "UNAUTHORIZED",
    ProblemKind.FORBIDDEN: "FORBIDDEN",
    ProblemKind.NOT_FOUND: "NOT_FOUND",
    ProblemKind.METHOD: "METHOD_NOT_ALLOWED",
    ProblemKind.TIMEOUT: "REQUEST_TIMEOUT",
    ProblemKind.TOO_LARGE: "PAYLOAD_TOO_LARGE",
    ProblemKind.ENCODING: "UNSUPPORTED_ENCODING",
    ProblemKind.TOO_MANY: "RATE_LIMIT_EXCEEDED",
    ProblemKind.UNAVAILABLE: "SERVICE_UNAVAILABLE",
}
"""Only ``VALIDATION_ERROR`` is documented; the others follow its style."""

RULES = {
    "event": matches(NAME, "letters, digits, `_` and `-`").needed(),
    "user_id": TEXT,
    "anonymous_id": TEXT,
    "timestamp": moment("an ISO 8601 date and time with its offset"),
    "event_id": TEXT,
    "properties": OBJECT,
    "identify": FLAG,
}


class _Inner(Struct):
    event: str
    user_id: str | None = None
    anonymous_id: str | None = None
    timestamp: str | None = None
    event_id: str | None = None
    properties: dict[str, Any] | None = None
    identify: bool | None = None


class Flywheel(Vendor):
    """The Flywheel dialect."""

    name = "flywheel"
    title = "Flywheel"
    endpoints = (EVENTS,)
    native = frozenset({"timestamp", "event_id", "anonymous_id", "identify"})
    credential = "Authorization: KEY"

    def credentials(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        """The whole of Authorization, if it is one word: `without 'Bearer ' prefix`, says the OpenAPI.

        That prefix alone is another form's, without its key.
        """
        words = headers.get("authorization", "").split()
        if len(words) != 1 or words[0].lower() == "bearer":
            return ()
        return tuple(words) if headers.get("auth-type", "api").strip().lower() == "api" else ()

    def decode(self, call: Call, endpoint: Endpoint, receipt: Receipt) -> tuple[Decoded, ...]:
        at, inner, outer = _unwrap(body_of(call))
        wire, unknown = read_fields(_Inner, inner, at=at)
        timestamp, finer = _read_timestamp(wire.timestamp, _dotted(at, "timestamp"))
        event = Event(
            id=receipt.mint(),
            vendor=self.name,
            source=receipt.source,
            received_at=receipt.at,
            name=_read_name(wire.event, _dotted(at, "event")),
            user_id=wire.user_id or None,
            anonymous_id=wire.anonymous_id or None,
            event_id=wire.event_id or None,
            timestamp=timestamp,
            timestamp_finer=finer,
            properties=wire.properties or {},
            identify=bool(wire.identify),
            extras={**outer, "event": unknown} if unknown else outer,
        )
        return (Decoded(event),)

    def accept(self, endpoint: Endpoint, ids: tuple[str, ...], *, user_id: str | None = None) -> Reply:
        return json_reply(200, {"success": True, "message": "Event tracked successfully"})

    def reject(self, problem: Problem) -> Reply:
        """``ErrorResponse``, in the words of its example where validation failed."""
        prefix = "Validation failed: " if problem.kind is ProblemKind.INVALID else ""
        return json_reply(problem.status, {"error": prefix + problem.message, "code": CODES[problem.kind]}, problem)

    def base_url(self, options: Options) -> str:
        return "https://api.flywheel.cx"

    def encode(self, event: Event, target: Target) -> Encoded:
        notes: list[Note] = []
        name = _event_name(event, notes)
        anonymous_id = _anonymous_id(event, notes)
        timestamp = timestamps.spell(time_of(event, notes), event.timestamp_finer)
        event_id = _event_id(event, notes)
        properties = flatten(carry(event, self.native, notes), notes, nulls=False)
        extras = dict(own_extras(event, self.name, notes))
        unknown = extras.pop("event", {})
        inner = {
            "event": _say_name(name, properties, notes),
            "user_id": event.user_id,
            "anonymous_id": anonymous_id,
            "timestamp": timestamp,
            "event_id": event_id,
            "properties": properties or None,
            "identify": (event.identify or event.kind == "identify") or None,
        }
        body = {**extras, "event": {**unknown, **stated(inner)}}
        headers = {"content-type": "application/json", "authorization": target.key, "auth-type": "api"}
        return Encoded((Call(url=target.url + EVENTS.path, headers=headers, body=json_body(body)),), tuple(notes))

    def denies(self, body: Mapping[str, Any]) -> bool:
        return body.get("success") is False

    def inspect(self, call: Call, endpoint: Endpoint) -> tuple[Problem, ...]:
        key = call.headers.get("authorization", "")
        if not key or len(key.split()) != 1:
            return (unauthorized("Authorization must be the API key alone, without `Bearer`."),)
        faults = header_faults(call, {"auth-type": "api", "content-type": "application/json"})
        body = content(call)
        event = part(body, "event")
        if not isinstance(event, dict):
            return (*faults, *field_faults(body, {"event": OBJECT.needed()}))
        faults += field_faults(event, RULES, "event")
        faults += primitive_faults(event.get("properties"), "event.properties", nulls=False)
        return tuple(faults)

    def sample(self, url: str, key: str) -> Call:
        """The OpenAPI's example "User signup event"."""
        headers = {"content-type": "application/json", "authorization": key, "auth-type": "api"}
        body = b"""{
  "event": {
    "event": "user_signup",
    "user_id": "user123",
    "properties": {
      "source": "website",
      "plan": "premium",
      "utm_source": "google_ads",
      "utm_campaign": "summer2024"
    }
  }
}"""
        return Call(url=url + EVENTS.path, headers=headers, body=body)


def _unwrap(body: Any) -> tuple[str, Any, dict[str, Any]]:
    """Where the event stands, the event, and the undeclared fields beside it.

    The documents nest an event, whose name is `event` too, in `event`: a flat body is an easy slip, and taken.
    """
    if not isinstance(body, dict) or isinstance(body.get("event"), str):
        return "", body, {}
    if "event" not in body:
        raise missing("event")
    return "event", body["event"], {key: value for key, value in body.items() if key != "event"}


def _dotted(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _read_name(name: str, field: str) -> str:
    if NAME.fullmatch(required(name, field)) is None:
        raise Problem(
            ProblemKind.INVALID,
            f"`{field}` may hold only letters, digits, `_` and `-` (^[a-zA-Z0-9_-]+$).",
            field=field,
        )
    return name


def _read_timestamp(text: str | None, field: str) -> tuple[datetime | None, str]:
    if not text:
        return None, ""
    moment, finer = timestamps.read(text)
    if not zoned(moment):
        raise mistyped(field, "ISO 8601 with a timezone offset, like 2024-01-15T10:30:00Z")
    return moment, finer


def _event_name(event: Event, notes: list[Note]) -> str:
    """The event's own name; an identify call becomes an event that asks to identify."""
    if event.kind == "track":
        return event.name
    notes.append(Note("kind", "changed", "kind", {"kind": "track"}))
    notes.append(Note("name", "made-up", "name", {"name": IDENTIFY_NAME}))
    notes.append(Note("identify", "made-up", "identify", {"identify": True}))
    return IDENTIFY_NAME


def _say_name(name: str, properties: dict[str, Any], notes: list[Note]) -> str:
    """The name with each character that the pattern forbids as `_`; the original goes to `event_name`, or is lost."""
    if NAME.fullmatch(name):
        return name
    clean = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    became = {"name": clean}
    if properties.setdefault("event_name", name) == name:
        became["properties.event_name"] = name
    else:
        notes.append(Note("name", "dropped", "name"))
    notes.append(Note("name", "changed", "name", became))
    return clean


def _anonymous_id(event: Event, notes: list[Note]) -> str | None:
    """The anonymous id; where nobody at all is named, the device stands in."""
    device_id = event.context.device_id
    if event.user_id or event.anonymous_id or not device_id:
        return event.anonymous_id
    notes.append(Note("device_id", "changed", "context.device_id", {"anonymous_id": device_id}))
    return device_id


def _event_id(event: Event, notes: list[Note]) -> str:
    """The caller's id, else ours: a retry is the same event to whoever looks."""
    if event.event_id is None:
        notes.append(Note("event_id", "made-up", "event_id", {"event_id": event.id}))
    return event.event_id or event.id


VENDOR = Flywheel()
