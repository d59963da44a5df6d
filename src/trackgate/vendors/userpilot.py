"""Userpilot: ``POST /v1/track`` and ``POST /v1/identify``.

Sources: docs.userpilot.com, "Track Event" (the page and its OpenAPI), "Identify User". Real-time calls carry no
timestamp, no event id and no anonymous user; metadata takes primitives only, ``null`` among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from trackgate.fidelity import Note, carry, flatten, leave, own_extras
from trackgate.model import Call, Context, Event, Problem, Reply, Unsupported
from trackgate.payload import body_of, json_body, json_reply, missing, mistyped, read_fields, required, stated
from trackgate.strict import (
    FILLED,
    OBJECT,
    Rule,
    content,
    fault,
    field_faults,
    header_faults,
    part,
    primitive_faults,
    unauthorized,
)
from trackgate.vendor import (
    Anonymous,
    Decoded,
    Encoded,
    Endpoint,
    Options,
    Target,
    Vendor,
    scheme_credential,
    user_id_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.model import Receipt

API_VERSION = "2020-09-22"
"""``X-API-Version``: required by the Track Event page, absent from its OpenAPI; every known client sends it."""

MAX_METADATA = 10 * 1024
"""Bytes of event metadata that the data model allows; a user's is bounded by number (500 properties), not by size."""

TRACK = Endpoint(path="/v1/track")
IDENTIFY = Endpoint(path="/v1/identify", kind="identify")

COMPANY_ID = ("id", "company_id")
"""The page says `company.id`, the OpenAPI `company.company_id`: both are taken, the page's first."""

ID_RULE = Rule(
    "a non-empty string or a number",
    lambda value: isinstance(value, str | int | float) and not isinstance(value, bool) and value != "",
    required=True,
)
TRACK_RULES = {"user_id": FILLED.needed(), "event_name": FILLED.needed(), "metadata": OBJECT}
IDENTIFY_RULES = {"user_id": FILLED.needed(), "metadata": OBJECT, "company": OBJECT}


class UserpilotOptions(Options, frozen=True, kw_only=True):
    """Options of Userpilot destinations."""

    region: Literal["us", "eu"] = "us"
    """Data residency. `us`: `analytex.userpilot.io`; `eu`: `analytex-eu.userpilot.io`. Ignored if `url` is set."""
    anonymous: Anonymous = "dead"
    """What to do with an event that has no user id. `dead`: keep it as dead, with the reason. `filter`: do not deliver
    it here. `as-user-id`: send its anonymous id as the user id."""


class _Track(Struct):
    user_id: str
    event_name: str
    metadata: dict[str, Any] | None = None


class _Identify(Struct):
    user_id: str
    metadata: dict[str, Any] | None = None
    company: dict[str, Any] | None = None


class Userpilot(Vendor):
    """The Userpilot dialect."""

    name = "userpilot"
    title = "Userpilot"
    endpoints = (TRACK, IDENTIFY)
    options = UserpilotOptions
    credential = "Authorization: Token KEY"

    def credentials(self, headers: Mapping[str, str]) -> tuple[str, ...]:
        return scheme_credential(headers, "Token")

    def decode(self, call: Call, endpoint: Endpoint, receipt: Receipt) -> tuple[Decoded, ...]:
        body = body_of(call)
        if endpoint.kind == "identify":
            return (Decoded(_read_identify(body, receipt)),)
        wire, extras = read_fields(_Track, body)
        event = Event(
            id=receipt.mint(),
            vendor=self.name,
            source=receipt.source,
            received_at=receipt.at,
            name=required(wire.event_name, "event_name"),
            user_id=required(wire.user_id, "user_id"),
            properties=wire.metadata or {},
            extras=extras,
        )
        return (Decoded(event),)

    def accept(self, endpoint: Endpoint, ids: tuple[str, ...], *, user_id: str | None = None) -> Reply:
        """202 Accepted; the documents show no body."""
        return Reply(status=202, headers={"content-type": "application/json"})

    def reject(self, problem: Problem) -> Reply:
        """The ``errors`` list that the OpenAPI documents for 400 and 401."""
        error = {
            "details": problem.field or "",
            "error": problem.kind.name.lower(),
            "error_code": str(problem.status),
            "message": problem.message,
        }
        return json_reply(problem.status, {"errors": [error]}, problem)

    def base_url(self, options: Options) -> str:
        region = options.region if isinstance(options, UserpilotOptions) else "us"
        return "https://analytex-eu.userpilot.io" if region == "eu" else "https://analytex.userpilot.io"

    def encode(self, event: Event, target: Target) -> Encoded:
        policy = target.options.anonymous if isinstance(target.options, UserpilotOptions) else "dead"
        notes: list[Note] = []
        user_id = user_id_of(event, policy, notes)
        if event.kind == "identify":
            return Encoded((_say_identify(event, user_id, target, notes),), tuple(notes))
        calls = []
        if event.identify:
            notes.append(Note("identify", "carried", "identify"))
            calls = [_say_profile(event, user_id, target)]
        metadata = flatten(carry(event, self.native, notes), notes, nulls=True)
        body = {**own_extras(event, self.name, notes), "user_id": user_id, "event_name": event.name}
        call = _call(target, TRACK, _with_metadata(body, metadata))
        if len(call.body) > MAX_METADATA and len(json_body(metadata)) > MAX_METADATA:
            raise Unsupported("metadata_too_large", f"the metadata is over Userpilot's {MAX_METADATA} bytes")
        calls.append(call)
        return Encoded(tuple(calls), tuple(notes))

    def inspect(self, call: Call, endpoint: Endpoint) -> tuple[Problem, ...]:
        return tuple(_faults(call, endpoint))

    def sample(self, url: str, key: str) -> Call:
        """The curl of the Track Event page."""
        headers = {
            "content-type": "application/json",
            "authorization": f"Token {key}",
            "x-api-version": API_VERSION,
        }
        body = b"""{
    "user_id": "unique_user_id",
    "event_name": "user_subscribed",
    "metadata": {
      "plan": "free",
      "created_at": "1519205055"
    }
  }"""
        return Call(url=url + TRACK.path, headers=headers, body=body)


def _read_identify(body: object, receipt: Receipt) -> Event:
    wire, extras = read_fields(_Identify, body)
    group_id, group = _read_company(wire.company)
    return Event(
        id=receipt.mint(),
        vendor=Userpilot.name,
        source=receipt.source,
        received_at=receipt.at,
        kind="identify",
        user_id=required(wire.user_id, "user_id"),
        properties=wire.metadata or {},
        context=Context(group_id=group_id, group=group),
        extras=extras,
    )


def _read_company(company: dict[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    """The company's id, and the rest of it, where an id stays that is a number."""
    if company is None:
        return None, {}
    rest = dict(company)
    for name in COMPANY_ID:
        company_id = rest.pop(name, None)
        if isinstance(company_id, str) and company_id:
            return company_id, rest
        if isinstance(company_id, int | float) and not isinstance(company_id, bool):
            return None, {name: company_id, **rest}
        if company_id is not None and company_id != "":
            raise mistyped(f"company.{name}", "a string")
    raise missing("company.id")


def _say_identify(event: Event, user_id: str, target: Target, notes: list[Note]) -> Call:
    company = _say_company(event.context)
    leave(event, {"context.group_id", "context.group.*"} if company else (), notes)
    body = {**own_extras(event, Userpilot.name, notes), "user_id": user_id, **stated({"company": company})}
    metadata = flatten(event.properties, notes, nulls=True)
    return _call(target, IDENTIFY, _with_metadata(body, metadata))


def _say_company(context: Context) -> dict[str, Any] | None:
    """The company, if it has an id: without one the vendor turns the whole call away."""
    if context.group_id:
        return {"id": context.group_id, **context.group}
    return None if context.group.keys().isdisjoint(COMPANY_ID) else context.group


def _say_profile(event: Event, user_id: str, target: Target) -> Call:
    """The identify call before a track event that asks for one: its properties are the traits."""
    body = {"user_id": user_id}
    return _call(target, IDENTIFY, _with_metadata(body, flatten(event.properties, [], nulls=True)))


def _with_metadata(body: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    return {**body, "metadata": metadata} if metadata else body


def _call(target: Target, endpoint: Endpoint, body: dict[str, Any]) -> Call:
    headers = {
        "content-type": "application/json",
        "authorization": f"Token {target.key}",
        "x-api-version": API_VERSION,
    }
    return Call(url=target.url + endpoint.path, headers=headers, body=json_body(body), step=endpoint.kind)


def _faults(call: Call, endpoint: Endpoint) -> list[Problem]:
    scheme, _, key = call.headers.get("authorization", "").partition(" ")
    if scheme != "Token" or not key:
        return [unauthorized("Authorization must be `Token {YOUR_API_KEY}`.")]
    faults = header_faults(call, {"content-type": "application/json", "x-api-version": API_VERSION})
    body = content(call)
    metadata = part(body, "metadata")
    if endpoint.kind == "track":
        faults += field_faults(body, TRACK_RULES)
        faults += _size_faults(metadata)
    else:
        faults += field_faults(body, IDENTIFY_RULES)
        faults += _company_faults(part(body, "company"))
    return faults + primitive_faults(metadata, "metadata", nulls=True)


def _size_faults(metadata: Any) -> list[Problem]:
    if len(msgspec.json.encode(metadata)) <= MAX_METADATA:
        return []
    return [fault(f"`metadata` must have at most {MAX_METADATA} bytes.", "metadata")]


def _company_faults(company: Any) -> list[Problem]:
    if not isinstance(company, dict):
        return []
    name = next((name for name in COMPANY_ID if name in company), COMPANY_ID[0])
    return field_faults(company, {name: ID_RULE}, "company")


VENDOR = Userpilot()
