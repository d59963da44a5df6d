"""ThriveStack: ``POST /api/track`` and ``POST /api/identify``, in the documented form of either year.

Sources: the "Track" page of 2024 (one object, ``Authorization: Bearer`` and ``KEY``, a development host), and today's
pages and browser SDK (an array of up to 1,000, ``x-api-key``, ``event_name``). A destination's credentials choose:
with a ``token`` it is the former, else the latter. Callers may use either. Two forms, read, said and checked: that is
why this file is longer than the others.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from trackgate import timestamps
from trackgate.fidelity import CARRIED, Note, carry, leave, own_extras, time_of
from trackgate.model import Call, Context, Event, Kind, Problem, ProblemKind, Reply, Unsupported
from trackgate.payload import BODY, batch_of, body_of, json_body, json_reply, missing, read_fields, required, stated
from trackgate.strict import (
    FILLED,
    OBJECT,
    TEXT,
    content,
    fault,
    field_faults,
    header_faults,
    matches,
    moment,
    part,
    unauthorized,
)
from trackgate.vendor import Decoded, Encoded, Endpoint, Options, Target, Vendor, scheme_credential, user_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.model import Receipt

MAX_BATCH = 1_000
MAX_BODY = 2_000_000
"""Bytes: "2 MB", beyond which the vendor answers 400."""

TRACK = Endpoint(path="/api/track", batch=MAX_BATCH, max_body=MAX_BODY, oversize=ProblemKind.INVALID)
IDENTIFY = structs.replace(TRACK, path="/api/identify", kind="identify")

PROPERTIES = {**CARRIED, "context.ip": "ip_address"}
"""Its own SDK calls the address `ip_address`."""

TRAITS = {"email": "user_email", "full_name": "user_name"}
"""A property of the other dialects -> the trait that today's Identify page documents."""

TRAITS_2024 = {"full_name": "name"}
"""The same in the form of 2024, which documents `email` and `name`."""

ORIGIN = "product"
"""`context.source` where nobody said: the vendor's own default."""

ORIGINS = {"product", "marketing"}
"""What today's page knows as `context.source`."""

UNGROUPED = "signed_up"
"""The one event that today's page lets go without `context.group_id`."""

JSON_IN = {"content-type": "application/json"}
JSON_IN_AND_OUT = {**JSON_IN, "accept": "application/json"}

DATE = matches(re.compile(r"(\d\d)?\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"), "a date and time")
"""What the page of 2024 shows and only recommends; its own sample has a year of two digits."""

UTC_DATE = moment("an ISO 8601 date and time in UTC", utc=True)
"""What today's page asks for."""

CONTEXT_RULES = {"group_id": TEXT, "device_id": TEXT, "session_id": TEXT, "source": TEXT}


class ThriveStackOptions(Options, frozen=True, kw_only=True):
    """Options of ThriveStack destinations."""

    token: Annotated[str, Meta(extra={"secret": True})] | None = None
    """With a token, calls use the format of 2024: one object, with the headers `Authorization: Bearer TOKEN` and `KEY`,
    to `api.dev.app.thrivestack.ai`. Without one, today's: an array, with `x-api-key`, to `api.app.thrivestack.ai`."""
    anonymous: Literal["dead", "filter", "as-user-id", "sdk"] = "dead"
    """What to do with an event that has no user id. `dead`: keep it as dead, with the reason. `filter`: do not deliver
    it here. `as-user-id`: send its anonymous id as the user id. `sdk`: send an empty user id with
    `context.device_id`, as the vendor's browser SDK does."""


class _Track(Struct, kw_only=True):
    user_id: str
    event_name: str | None = None
    event: str | None = None
    properties: dict[str, Any] | None = None
    timestamp: str | int | float | None = None
    context: dict[str, Any] | None = None
    group_id: str | None = None


class _Identify(Struct, kw_only=True):
    user_id: str
    traits: dict[str, Any] | None = None
    timestamp: str | int | float | None = None
    context: dict[str, Any] | None = None
    group_id: str | None = None


class _Context(Struct):
    """A "dictionary of extra information": what else stands there is kept by its own name."""

    group_id: str | None = None
    device_id: str | None = None
    session_id: str | None = None
    source: str | None = None


class ThriveStack(Vendor):
    """The ThriveStack dialect."""

    name = "thrivestack"
    title = "ThriveStack"
    endpoints = (TRACK, IDENTIFY)
    native = frozenset(
        {
            "timestamp",
            "context.group_id",
            "context.device_id",
            "context.session_id",
            "context.origin",
            "context.other.*",
        }
    )
    options = ThriveStackOptions
    credential = "x-api-key: KEY (or KEY: KEY, or Authorization: Bearer KEY)"

    def credentials(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        keys = (headers.get(name, "").strip() for name in ("x-api-key", "key"))
        return (*filter(None, keys), *scheme_credential(headers, "Bearer"))

    def decode(self, call: Call, endpoint: Endpoint, receipt: Receipt) -> tuple[Decoded, ...]:
        read = _read_identify if endpoint.kind == "identify" else _read_track
        body = body_of(call)
        if isinstance(body, list):
            items = batch_of(body, MAX_BATCH, BODY)
            return tuple(read(item, receipt, index) for index, item in enumerate(items))
        return (read(body, receipt, None),)

    def accept(self, endpoint: Endpoint, ids: tuple[str, ...], *, user_id: str | None = None) -> Reply:
        """Both documented shapes in one: `response_id` of 2025, `eventId` of 2026."""
        what = "Event tracked" if endpoint.kind == "track" else "User identified"
        body = {"success": True, "message": f"{what} successfully", "response_id": ids[0], "eventId": ids[0]}
        return json_reply(200, body)

    def reject(self, problem: Problem) -> Reply:
        """The one error that was ever documented (2024), beside today's `success`."""
        body = {
            "success": False,
            "status": "error",
            "message": problem.message,
            "error_code": problem.kind.name.lower(),
        }
        return json_reply(problem.status, body, problem)

    def base_url(self, options: Options) -> str:
        return "https://api.dev.app.thrivestack.ai" if _ours(options).token else "https://api.app.thrivestack.ai"

    def encode(self, event: Event, target: Target) -> Encoded:
        policy = _ours(target.options).anonymous
        notes: list[Note] = []
        if event.kind == "identify":
            user_id = user_id_of(event, policy, notes)
            return Encoded((_say_identify(event, user_id, target, notes),), tuple(notes))
        user_id = _user_id(event, policy, notes)
        calls = []
        if event.identify:
            notes.append(Note("identify", "carried" if user_id else "dropped", "identify"))
            calls = [_say_profile(event, user_id, target)] if user_id else []
        calls.append(_say_track(event, user_id, target, notes))
        return Encoded(tuple(calls), tuple(notes))

    def denies(self, body: Mapping[str, Any]) -> bool:
        return body.get("success") is False

    def inspect(self, call: Call, endpoint: Endpoint) -> tuple[Problem, ...]:
        today = "x-api-key" in call.headers
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if not today and not (scheme == "Bearer" and token and call.headers.get("key")):
            return (unauthorized("Send `x-api-key: KEY`, or both `Authorization: Bearer TOKEN` and `KEY: KEY`."),)
        if today and not call.headers["x-api-key"]:
            return (unauthorized("The header x-api-key is empty."),)
        faults = header_faults(call, JSON_IN if today else JSON_IN_AND_OUT)
        return (*faults, *_body_faults(call, endpoint, today=today))

    def sample(self, url: str, key: str) -> Call:
        """The sample of the Track page, with the year of two digits that it shows."""
        headers = {**JSON_IN_AND_OUT, "authorization": f"Bearer {key}", "key": key}
        body = b"""{
    "event": "event_name",
    "properties": {
        "property1": "value1",
        "property2": "value2"
    },
    "user_id": "user123",
    "timestamp": "20-11-23T22:28:55.111Z"
}"""
        return Call(url=url + TRACK.path, headers=headers, body=body)


def _ours(options: Options) -> ThriveStackOptions:
    return options if isinstance(options, ThriveStackOptions) else ThriveStackOptions()


# --- the way in ---------------------------------------------------------------------------------------------------


def _read_track(item: Any, receipt: Receipt, index: int | None) -> Decoded:
    wire, extras = read_fields(_Track, item, index=index)
    name = _read_name(wire, index)
    event = _read_event("track", wire, extras, receipt, index)
    return _timed(structs.replace(event, name=name, properties=wire.properties or {}), wire.timestamp)


def _read_identify(item: Any, receipt: Receipt, index: int | None) -> Decoded:
    wire, extras = read_fields(_Identify, item, index=index)
    required(wire.user_id, "user_id", index)
    event = _read_event("identify", wire, extras, receipt, index)
    return _timed(structs.replace(event, properties=wire.traits or {}), wire.timestamp)


def _read_name(wire: _Track, index: int | None) -> str:
    """The page's table says `event_name`, its sample `event`."""
    if wire.event and wire.event_name and wire.event != wire.event_name:
        place = "" if index is None else f" (event {index})"
        raise Problem(
            ProblemKind.INVALID,
            f"`event_name` and `event` differ{place}; send `event_name` alone.",
            field="event_name",
            index=index,
        )
    name = wire.event_name or wire.event
    if not name:
        raise missing("event_name", index)
    return name


def _read_event(
    kind: Kind, wire: _Track | _Identify, extras: dict[str, Any], receipt: Receipt, index: int | None
) -> Event:
    context = _read_context(wire.context or {}, index)
    if wire.group_id and not context.group_id:
        # The page's event tables list `group_id` as a field of the event, its sample of `context`.
        context = structs.replace(context, group_id=wire.group_id)
    elif wire.group_id and wire.group_id != context.group_id:
        extras = {**extras, "group_id": wire.group_id}
    return Event(
        id=receipt.mint(),
        vendor=ThriveStack.name,
        source=receipt.source,
        received_at=receipt.at,
        kind=kind,
        user_id=wire.user_id or None,
        context=context,
        extras=extras,
    )


def _read_context(context: dict[str, Any], index: int | None) -> Context:
    wire, other = read_fields(_Context, context, at="context", index=index)
    return Context(
        group_id=wire.group_id or None,
        device_id=wire.device_id or None,
        session_id=wire.session_id or None,
        origin=wire.source or None,
        other=other,
    )


def _timed(event: Event, stated_at: str | float | None) -> Decoded:
    """The event with its timestamp: never guessed, so one that cannot be read is kept word for word, and noted."""
    if stated_at is None or stated_at == "":
        return Decoded(event)
    moment, finer = timestamps.read(stated_at) if isinstance(stated_at, str) else (None, "")
    if moment is None:
        note = Note("timestamp", "degraded", "timestamp")
        return Decoded(structs.replace(event, timestamp_raw=str(stated_at)), (note,))
    if moment.tzinfo is not None:
        return Decoded(structs.replace(event, timestamp=moment, timestamp_finer=finer))
    moment = moment.replace(tzinfo=UTC)
    note = Note("timestamp", "changed", "timestamp", {"timestamp": timestamps.exact(moment, finer)})
    return Decoded(structs.replace(event, timestamp=moment, timestamp_finer=finer), (note,))


# --- the way out --------------------------------------------------------------------------------------------------


def _user_id(event: Event, policy: str, notes: list[Note]) -> str:
    """The user id of a track call, empty for nobody: where the event came so, or where the SDK's way is asked for."""
    came_so = event.vendor == ThriveStack.name
    as_the_sdk = policy == "sdk" and (event.anonymous_id or event.context.device_id)
    if not event.user_id and (came_so or as_the_sdk):
        return ""
    return user_id_of(event, policy, notes)


def _say_track(event: Event, user_id: str, target: Target, notes: list[Note]) -> Call:
    timestamp = _say_time(event, notes)
    context = _say_context(event, notes)
    if "source" not in context:
        context["source"] = ORIGIN
        notes.append(Note("origin", "made-up", "context.origin", {"context.origin": ORIGIN}))
    if "group_id" not in context and event.name != UNGROUPED:
        notes.append(Note("group_id", "degraded", "context.group_id"))
    body = {
        **own_extras(event, ThriveStack.name, notes),
        "event_name": event.name,
        "user_id": user_id,
        "timestamp": timestamp,
        "properties": carry(event, ThriveStack.native, notes, PROPERTIES),
        "context": context,
    }
    return _call(target, TRACK, body)


def _say_identify(event: Event, user_id: str, target: Target, notes: list[Note]) -> Call:
    timestamp = _say_time(event, notes)
    context = _say_context(event, notes)
    leave(event, ThriveStack.native, notes)
    traits = event.properties if event.vendor == ThriveStack.name else _traits(event.properties, target, notes)
    body = {
        **own_extras(event, ThriveStack.name, notes),
        "user_id": user_id,
        "traits": traits,
        "timestamp": timestamp,
    }
    return _call(target, IDENTIFY, {**body, "context": context} if context else body)


def _say_profile(event: Event, user_id: str, target: Target) -> Call:
    """The identify call before a track event that asks for one: its properties are the traits."""
    body = {"user_id": user_id, "traits": _traits(event.properties, target, []), "timestamp": _say_time(event, [])}
    return _call(target, IDENTIFY, body)


def _traits(properties: dict[str, Any], target: Target, notes: list[Note]) -> dict[str, Any]:
    names = TRAITS_2024 if _ours(target.options).token else TRAITS
    traits = {}
    for key, value in properties.items():
        name = names.get(key, key)
        if name != key and name not in properties:
            notes.append(Note("traits", "changed", f"properties.{key}", {f"properties.{name}": value}))
            traits[name] = value
        else:
            traits[key] = value
    return traits


def _say_time(event: Event, notes: list[Note]) -> str:
    """The instant in UTC, which the vendor asks for."""
    try:
        instant = time_of(event, notes).astimezone(UTC)
    except OverflowError:
        raise Unsupported("timestamp_out_of_range", "the timestamp's year is out of range in UTC") from None
    if event.timestamp is not None and event.timestamp.utcoffset():
        became = {"timestamp": timestamps.exact(instant, event.timestamp_finer)}
        notes.append(Note("offset", "changed", "timestamp", became))
    return timestamps.spell(instant, event.timestamp_finer)


def _say_context(event: Event, notes: list[Note]) -> dict[str, Any]:
    """`context` as far as somebody said it; an anonymous id stands as the device's, if there is none."""
    said = event.context
    device_id = said.device_id
    if event.anonymous_id and not device_id and all(note.field != "anonymous_id" for note in notes):
        device_id = event.anonymous_id
        notes.append(Note("anonymous_id", "changed", "anonymous_id", {"context.device_id": device_id}))
    origin = _say_origin(event, notes)
    ours = {"group_id": said.group_id, "device_id": device_id, "session_id": said.session_id}
    return {**said.other, **stated({**ours, **origin})}


def _say_origin(event: Event, notes: list[Note]) -> dict[str, Any]:
    """Where the event says it comes from: another dialect's free words are no `source` here, and keep their name."""
    origin = event.context.origin
    if origin is None or origin in ORIGINS or event.vendor == ThriveStack.name:
        return {"source": origin}
    if "origin" in event.context.other:
        notes.append(Note("origin", "dropped", "context.origin"))
        return {}
    notes.append(Note("origin", "changed", "context.origin", {"context.other.origin": origin}))
    return {"origin": origin}


def _call(target: Target, endpoint: Endpoint, body: dict[str, Any]) -> Call:
    token = _ours(target.options).token
    if token:
        headers = {**JSON_IN_AND_OUT, "authorization": f"Bearer {token}", "key": target.key}
    else:
        headers = {**JSON_IN, "x-api-key": target.key}
    sent = json_body(body if token else [body])
    if len(sent) > MAX_BODY:
        raise Unsupported("body_too_large", f"the call is over ThriveStack's {MAX_BODY} bytes")
    return Call(url=target.url + endpoint.path, headers=headers, body=sent, step=endpoint.kind)


# --- the sandbox --------------------------------------------------------------------------------------------------


def _body_faults(call: Call, endpoint: Endpoint, *, today: bool) -> list[Problem]:
    body = content(call)
    if len(call.body) > MAX_BODY:
        return [fault(f"The body is over {MAX_BODY} bytes.", "body")]
    if not today and isinstance(body, list):
        words = "With Authorization and KEY the body must be one object; an array goes with x-api-key."
        return [fault(words, "body", flaw="type")]
    if not today:
        return _item_faults(body, endpoint, None, today=False)
    if not isinstance(body, list) or not 0 < len(body) <= MAX_BATCH:
        return [fault(f"The body must be an array of 1 to {MAX_BATCH} objects.", "body", flaw="type")]
    return [found for index, item in enumerate(body) for found in _item_faults(item, endpoint, index, today=True)]


def _item_faults(item: Any, endpoint: Endpoint, index: int | None, *, today: bool) -> list[Problem]:
    """One object. `context.group_id` is not looked for: the vendor takes the event without it, degraded."""
    rules = {"timestamp": UTC_DATE if today else DATE, "context": OBJECT, "group_id": TEXT}
    faults = []
    if endpoint.kind == "identify":
        rules |= {"user_id": FILLED.needed(), "traits": OBJECT}
    else:
        # Nobody's user id is "".
        rules |= {"event_name": TEXT, "event": TEXT, "user_id": TEXT.needed(), "properties": OBJECT}
        faults = _name_faults(item, index, today=today)
    faults += field_faults(item, rules, index=index)
    context = part(item, "context")
    return faults + (field_faults(context, CONTEXT_RULES, "context", index) if isinstance(context, dict) else [])


def _name_faults(item: Any, index: int | None, *, today: bool) -> list[Problem]:
    """The page of 2024 names the event `event_name` in its table and `event` in its sample, today's `event_name`."""
    names = [part(item, name) for name in ("event_name", "event")]
    if not (names[0] or (names[1] and not today)):
        return [fault("`event_name` must be a non-empty string.", "event_name", index, "missing")]
    if all(names) and names[0] != names[1]:
        return [fault("`event_name` and `event` differ.", "event_name", index)]
    return []


VENDOR = ThriveStack()
