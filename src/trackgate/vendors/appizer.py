"""Appizer: ``POST /v1/events``, ``/v1/events/batch`` and ``/v1/users``.

Sources: docs.appizer.com, "Track Event" (which writes the path ``/events``, under a base that ends in ``/v1``: both
are taken), "Batch Track", "Create or Update User", "Errors", "Rate Limits". Events carry no timestamp, no event id and
no anonymous user; its own SDK makes an id up and sends it as the user's, and so does an anonymous id here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from trackgate.fidelity import Note, carry, leave, own_extras
from trackgate.model import Call, Context, Event, Problem, ProblemKind, Reply
from trackgate.payload import batch_of, body_of, json_body, json_reply, read_fields, required, stated
from trackgate.strict import FILLED, OBJECT, TEXT, content, fault, field_faults, header_faults, part, unauthorized
from trackgate.vendor import (
    MAX_RETRY_AFTER,
    Anonymous,
    Decoded,
    Encoded,
    Endpoint,
    Options,
    Target,
    Vendor,
    retry_after_header,
    scheme_credential,
    user_id_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.model import Receipt

MAX_BATCH = 100

TRACK = Endpoint(path="/v1/events")
BATCH = Endpoint(path="/v1/events/batch", batch=MAX_BATCH, envelope="events")
IDENTIFY = Endpoint(path="/v1/users", kind="identify")
SHORT = (
    Endpoint(path="/events"),
    Endpoint(path="/events/batch", batch=MAX_BATCH, envelope="events"),
    Endpoint(path="/users", kind="identify"),
)

PROFILE = ("email", "phone")
"""Traits with a field of their own in the users call; the rest goes under `properties`."""

ERRORS = {
    ProblemKind.INVALID: ("Bad Request", "INVALID_REQUEST"),
    ProblemKind.UNAUTHORIZED: ("Unauthorized", "INVALID_API_KEY"),
    ProblemKind.FORBIDDEN: ("Forbidden", "INSUFFICIENT_PERMISSIONS"),
    ProblemKind.NOT_FOUND: ("Not Found", "NOT_FOUND"),
    ProblemKind.METHOD: ("Method Not Allowed", "METHOD_NOT_ALLOWED"),
    ProblemKind.TIMEOUT: ("Request Timeout", "REQUEST_TIMEOUT"),
    ProblemKind.TOO_LARGE: ("Payload Too Large", "PAYLOAD_TOO_LARGE"),
    ProblemKind.ENCODING: ("Unsupported Media Type", "UNSUPPORTED_ENCODING"),
    ProblemKind.TOO_MANY: ("Too Many Requests", "RATE_LIMIT_EXCEEDED"),
    ProblemKind.UNAVAILABLE: ("Service Unavailable", "SERVICE_UNAVAILABLE"),
}
"""`error` and `code`. The Errors page names the first three codes and RATE_LIMIT_EXCEEDED; the others follow them."""

FLAWS: Mapping[tuple[ProblemKind, str | None], str] = {
    (ProblemKind.INVALID, "missing"): "MISSING_FIELD",
    (ProblemKind.INVALID, "type"): "INVALID_TYPE",
    (ProblemKind.UNAUTHORIZED, "missing"): "MISSING_AUTH",
}
"""The Errors page is more precise about these."""

EVENT_RULES = {
    "event_name": FILLED.needed(),
    "user_id": FILLED.needed(),
    "properties": OBJECT,
    "ip": TEXT,
    "ua": TEXT,
}
USER_RULES = {"user_id": FILLED.needed(), "email": TEXT, "phone": TEXT, "properties": OBJECT, "origin": TEXT}


class AppizerOptions(Options, frozen=True, kw_only=True):
    """Options of Appizer destinations."""

    anonymous: Anonymous = "as-user-id"
    """What to do with an event that has no user id. `as-user-id`: send its anonymous id, else its device id, as the
    user id, as the vendor's own SDK does. `dead`: keep it as dead, with the reason. `filter`: do not deliver it
    here."""


class _Event(Struct):
    event_name: str
    user_id: str
    properties: dict[str, Any] | None = None
    ip: str | None = None
    ua: str | None = None


class _User(Struct):
    user_id: str
    email: str | None = None
    phone: str | None = None
    properties: dict[str, Any] | None = None
    origin: str | None = None


class Appizer(Vendor):
    """The Appizer dialect."""

    name = "appizer"
    title = "Appizer"
    endpoints = (TRACK, BATCH, IDENTIFY, *SHORT)
    native = frozenset({"context.ip", "context.user_agent"})
    options = AppizerOptions
    credential = "Authorization: Bearer KEY"

    def credentials(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        return scheme_credential(headers, "Bearer")

    def decode(self, call: Call, endpoint: Endpoint, receipt: Receipt) -> tuple[Decoded, ...]:
        body = body_of(call)
        if endpoint.kind == "identify":
            return (_read_user(body, receipt),)
        if endpoint.batch is None:
            return (_read_event(body, receipt, None),)
        wire, _ = read_fields(_Batch, body)
        items = batch_of(wire.events, MAX_BATCH, "events")
        return tuple(_read_event(item, receipt, index) for index, item in enumerate(items))

    def accept(self, endpoint: Endpoint, ids: tuple[str, ...], *, user_id: str | None = None) -> Reply:
        if endpoint.kind == "identify":
            user = stated({"user_id": f"usr_{ids[0]}", "external_id": user_id})
            return json_reply(200, {"success": True, **user, "message": "User saved successfully"})
        if endpoint.batch is None:
            return json_reply(200, {"success": True, "event_id": ids[0], "message": "Event tracked successfully"})
        body = {"success": True, "processed_count": len(ids), "message": "Events tracked successfully"}
        return json_reply(200, body)

    def reject(self, problem: Problem) -> Reply:
        error, code = ERRORS[problem.kind]
        body = {"error": error, "message": problem.message, "code": FLAWS.get((problem.kind, problem.flaw), code)}
        details = stated({"field": problem.field, "index": problem.index, "retry_after": problem.retry_after})
        return json_reply(problem.status, {**body, "details": details} if details else body, problem)

    def base_url(self, options: Options) -> str:
        return "https://api.appizer.com"

    def encode(self, event: Event, target: Target) -> Encoded:
        policy = target.options.anonymous if isinstance(target.options, AppizerOptions) else "as-user-id"
        notes: list[Note] = []
        user_id = user_id_of(event, policy, notes, event.context.device_id)
        if event.kind == "identify":
            return Encoded((_say_user(event, user_id, target, notes),), tuple(notes))
        calls = []
        if event.identify:
            notes.append(Note("identify", "carried", "identify"))
            calls = [_call(target, IDENTIFY, {"user_id": user_id, **_profile(event.properties)})]
        calls.append(_say_event(event, user_id, target, notes))
        return Encoded(tuple(calls), tuple(notes))

    def denies(self, body: Mapping[str, Any]) -> bool:
        return body.get("success") is False

    def retry_after(self, reply: Reply, body: Mapping[str, Any]) -> float | None:
        """The header, else `details.retry_after` (the Rate Limits page), in seconds."""
        after = retry_after_header(reply)
        if after is not None:
            return after
        details = body.get("details")
        said = details.get("retry_after") if isinstance(details, dict) else None
        if isinstance(said, bool) or not isinstance(said, int | float) or said < 0:
            return None
        return float(min(said, MAX_RETRY_AFTER))

    def inspect(self, call: Call, endpoint: Endpoint) -> tuple[Problem, ...]:
        authorization = call.headers.get("authorization")
        scheme, _, key = (authorization or "").partition(" ")
        if scheme != "Bearer" or not key:
            flaw: Literal["missing", "value"] = "missing" if authorization is None else "value"
            return (unauthorized("Authorization must be `Bearer YOUR_API_KEY`.", flaw),)
        faults = header_faults(call, {"content-type": "application/json"})
        body = content(call)
        if endpoint.kind == "identify":
            return (*faults, *field_faults(body, USER_RULES))
        if endpoint.batch is None:
            return (*faults, *field_faults(body, EVENT_RULES))
        return (*faults, *_batch_faults(body))

    def sample(self, url: str, key: str) -> Call:
        """The curl of the Track Event page."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        body = b"""{
    "event_name": "purchase_completed",
    "user_id": "user_123",
    "properties": {
      "amount": 29.99,
      "currency": "USD",
      "product_id": "premium_plan"
    }
  }"""
        return Call(url=url + TRACK.path, headers=headers, body=body)


class _Batch(Struct):
    events: Any


def _read_event(item: Any, receipt: Receipt, index: int | None) -> Decoded:
    wire, extras = read_fields(_Event, item, index=index)
    event = Event(
        id=receipt.mint(),
        vendor=Appizer.name,
        source=receipt.source,
        received_at=receipt.at,
        name=required(wire.event_name, "event_name", index),
        user_id=required(wire.user_id, "user_id", index),
        properties=wire.properties or {},
        context=Context(ip=wire.ip or None, user_agent=wire.ua or None),
        extras=extras,
    )
    return Decoded(event)


def _read_user(body: Any, receipt: Receipt) -> Decoded:
    wire, extras = read_fields(_User, body)
    properties = wire.properties or {}
    profile = stated({"email": wire.email or None, "phone": wire.phone or None})
    hidden = [key for key, value in profile.items() if properties.get(key, value) != value]
    event = Event(
        id=receipt.mint(),
        vendor=Appizer.name,
        source=receipt.source,
        received_at=receipt.at,
        kind="identify",
        user_id=required(wire.user_id, "user_id"),
        properties={**profile, **properties, **profile},
        context=Context(origin=wire.origin or None),
        extras=extras,
    )
    return Decoded(event, tuple(Note("properties", "dropped", f"properties.{key}") for key in hidden))


def _say_event(event: Event, user_id: str, target: Target, notes: list[Note]) -> Call:
    fields = {
        "event_name": event.name,
        "user_id": user_id,
        "properties": carry(event, Appizer.native, notes) or None,
        "ip": event.context.ip,
        "ua": event.context.user_agent,
    }
    return _call(target, TRACK, {**own_extras(event, Appizer.name, notes), **stated(fields)})


def _say_user(event: Event, user_id: str, target: Target, notes: list[Note]) -> Call:
    leave(event, {"context.origin"}, notes)
    fields = {"user_id": user_id, **_profile(event.properties), "origin": event.context.origin}
    return _call(target, IDENTIFY, {**own_extras(event, Appizer.name, notes), **stated(fields)})


def _profile(properties: dict[str, Any]) -> dict[str, Any]:
    """A user's traits as the fields of the users call: an email or phone that is no text stays a property."""
    own = {key: properties[key] for key in PROFILE if isinstance(properties.get(key), str) and properties[key]}
    rest = {key: value for key, value in properties.items() if key not in own}
    return {**own, "properties": rest} if rest else own


def _call(target: Target, endpoint: Endpoint, body: dict[str, Any]) -> Call:
    headers = {"content-type": "application/json", "authorization": f"Bearer {target.key}"}
    return Call(url=target.url + endpoint.path, headers=headers, body=json_body(body), step=endpoint.kind)


def _batch_faults(body: Any) -> list[Problem]:
    events = part(body, "events")
    if not isinstance(events, list) or not 0 < len(events) <= MAX_BATCH:
        return [fault(f"`events` must be an array of 1 to {MAX_BATCH} events.", "events", flaw="type")]
    return [found for index, item in enumerate(events) for found in field_faults(item, EVENT_RULES, index=index)]


VENDOR = Appizer()
