"""Every sample of the vendors' documents, verbatim: laws prove consistency, these prove truth."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import pytest

from trackgate import vendors
from trackgate.fidelity import Note
from trackgate.model import Call, Context, Event, Problem, ProblemKind, Receipt, Refuse, Reply, Retry
from trackgate.vendor import Decoded, Endpoint, Target

VENDORS = vendors.load()
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

USERPILOT_PAGE = b"""{
  "user_id": "unique_user_id",
  "event_name": "user_subscribed",
  "metadata": {
    "plan": "free",
    "created_at": "1519205055"
  }
}"""
USERPILOT_CURL = b"""{
    "user_id": "unique_user_id",
    "event_name": "user_subscribed",
    "metadata": {
      "plan": "free",
      "created_at": "1519205055"
    }
  }"""
USERPILOT_OPENAPI = b"""{"user_id": "user_789456", "event_name": "schedule_appointment", "metadata": {
    "appointment_date": "2024-02-01T10:00:00Z", "appointment_type": "Initial Consultation",
    "scheduled_by": "Sarah Johnson", "specialty": "Cardiology", "provider_id": "dr_smith_123",
    "appointment_status": "confirmed"}}"""

FLYWHEEL_SIGNUP = b"""{"event": {"event": "user_signup", "user_id": "user123", "properties": {"source": "website",
    "plan": "premium", "utm_source": "google_ads", "utm_campaign": "summer2024"}}}"""
FLYWHEEL_PURCHASE = b"""{"event": {"event": "product_purchased", "user_id": "user456",
    "timestamp": "2024-01-15T10:30:00Z", "properties": {"product_name": "Premium Plan", "price": 99.99,
    "currency": "USD", "payment_method": "credit_card", "order_id": "ord_123456"}}}"""
FLYWHEEL_ANONYMOUS = b"""{"event": {"event": "page_viewed", "anonymous_id": "anon_789", "properties": {
    "page": "/pricing", "referrer": "https://google.com", "device_type": "mobile"}}}"""
FLYWHEEL_IDENTIFY = b"""{"event": {"event": "user_updated_profile", "user_id": "user456", "identify": true,
    "properties": {"email": "john.doe@company.com", "first_name": "John", "last_name": "Doe",
    "phone": "+1-555-0123", "company": "Tech Corp", "plan_type": "premium"}}}"""
FLYWHEEL_FIELDS = b"""{"event": {"event": "user_signup", "user_id": "user123", "timestamp": "2024-01-15T10:30:00Z",
    "event_id": "evt_123456789", "properties": {"source": "website", "plan": "premium", "price": 99.99,
    "is_trial": false, "signup_date": "2024-01-15T10:30:00Z"}, "anonymous_id": "anon_789012345", "identify": true}}"""

THRIVESTACK_SAMPLE = b"""{
    "event": "event_name",
    "properties": {
        "property1": "value1",
        "property2": "value2"
    },
    "user_id": "user123",
    "timestamp": "20-11-23T22:28:55.111Z"
}"""

APPIZER_BODY = b"""{
  "event_name": "purchase_completed",
  "user_id": "user_123",
  "properties": {
    "amount": 29.99,
    "currency": "USD",
    "product_id": "premium_plan"
  },
  "ip": "192.168.1.1",
  "ua": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
}"""
APPIZER_CURL = b"""{
    "event_name": "purchase_completed",
    "user_id": "user_123",
    "properties": {
      "amount": 29.99,
      "currency": "USD",
      "product_id": "premium_plan"
    }
  }"""

SUBSCRIBED: dict[str, Any] = {
    "user_id": "unique_user_id",
    "name": "user_subscribed",
    "properties": {"plan": "free", "created_at": "1519205055"},
}
PURCHASED: dict[str, Any] = {
    "user_id": "user_123",
    "name": "purchase_completed",
    "properties": {"amount": 29.99, "currency": "USD", "product_id": "premium_plan"},
}
MORNING = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)

SAMPLES: list[tuple[str, str, bytes, dict[str, Any]]] = [
    ("userpilot", "/v1/track", USERPILOT_PAGE, SUBSCRIBED),
    ("userpilot", "/v1/track", USERPILOT_CURL, SUBSCRIBED),
    (
        "userpilot",
        "/v1/track",
        USERPILOT_OPENAPI,
        {
            "user_id": "user_789456",
            "name": "schedule_appointment",
            "properties": {
                "appointment_date": "2024-02-01T10:00:00Z",
                "appointment_type": "Initial Consultation",
                "scheduled_by": "Sarah Johnson",
                "specialty": "Cardiology",
                "provider_id": "dr_smith_123",
                "appointment_status": "confirmed",
            },
        },
    ),
    (
        "flywheel",
        "/v1/events",
        FLYWHEEL_SIGNUP,
        {
            "user_id": "user123",
            "name": "user_signup",
            "properties": {
                "source": "website",
                "plan": "premium",
                "utm_source": "google_ads",
                "utm_campaign": "summer2024",
            },
        },
    ),
    (
        "flywheel",
        "/v1/events",
        FLYWHEEL_PURCHASE,
        {
            "user_id": "user456",
            "name": "product_purchased",
            "timestamp": MORNING,
            "properties": {
                "product_name": "Premium Plan",
                "price": 99.99,
                "currency": "USD",
                "payment_method": "credit_card",
                "order_id": "ord_123456",
            },
        },
    ),
    (
        "flywheel",
        "/v1/events",
        FLYWHEEL_ANONYMOUS,
        {
            "anonymous_id": "anon_789",
            "name": "page_viewed",
            "properties": {"page": "/pricing", "referrer": "https://google.com", "device_type": "mobile"},
        },
    ),
    (
        "flywheel",
        "/v1/events",
        FLYWHEEL_IDENTIFY,
        {
            "user_id": "user456",
            "name": "user_updated_profile",
            "identify": True,
            "properties": {
                "email": "john.doe@company.com",
                "first_name": "John",
                "last_name": "Doe",
                "phone": "+1-555-0123",
                "company": "Tech Corp",
                "plan_type": "premium",
            },
        },
    ),
    (
        "flywheel",
        "/v1/events",
        FLYWHEEL_FIELDS,
        {
            "user_id": "user123",
            "anonymous_id": "anon_789012345",
            "event_id": "evt_123456789",
            "name": "user_signup",
            "timestamp": MORNING,
            "identify": True,
            "properties": {
                "source": "website",
                "plan": "premium",
                "price": 99.99,
                "is_trial": False,
                "signup_date": "2024-01-15T10:30:00Z",
            },
        },
    ),
    (
        "thrivestack",
        "/api/track",
        THRIVESTACK_SAMPLE,
        {
            "user_id": "user123",
            "name": "event_name",
            "timestamp_raw": "20-11-23T22:28:55.111Z",
            "properties": {"property1": "value1", "property2": "value2"},
        },
    ),
    (
        "appizer",
        "/events",
        APPIZER_BODY,
        {
            **PURCHASED,
            "context": Context(
                ip="192.168.1.1", user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
            ),
        },
    ),
    ("appizer", "/v1/events", APPIZER_CURL, PURCHASED),
]


def endpoint(vendor: str, path: str) -> Endpoint:
    return next(found for found in VENDORS[vendor].endpoints if found.path == path)


def decode(vendor: str, path: str, body: bytes) -> tuple[Decoded, ...]:
    numbers = count(1)
    call = Call(url=path, headers={}, body=body)
    return VENDORS[vendor].decode(call, endpoint(vendor, path), Receipt("web", AT, lambda: f"id-{next(numbers)}"))


def event_of(vendor: str, **fields: Any) -> Event:
    return Event(id="id-1", vendor=vendor, source="web", received_at=AT, **fields)


def problem_of(vendor: str, path: str, body: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        decode(vendor, path, msgspec.json.encode(body))
    return caught.value


@pytest.mark.parametrize(("vendor", "path", "body", "fields"), SAMPLES)
def test_a_documented_sample_is_read_as_it_stands(vendor: str, path: str, body: bytes, fields: dict[str, Any]):
    (got,) = decode(vendor, path, body)
    assert got.event == event_of(vendor, **fields)


@pytest.mark.parametrize(
    ("vendor", "body"),
    [
        ("userpilot", USERPILOT_CURL),
        ("flywheel", FLYWHEEL_SIGNUP),
        ("thrivestack", THRIVESTACK_SAMPLE),
        ("appizer", APPIZER_CURL),
    ],
)
def test_the_sample_that_is_sent_is_the_documented_one(vendor: str, body: bytes):
    sent = VENDORS[vendor].sample("http://vendor.test", "KEY").body
    assert msgspec.json.decode(sent) == msgspec.json.decode(body)


def test_the_two_digit_year_is_never_guessed_and_noted():
    (got,) = decode("thrivestack", "/api/track", THRIVESTACK_SAMPLE)
    assert got.event.timestamp is None
    assert got.event.occurred_at == AT
    assert got.notes == (Note("timestamp", "degraded", "timestamp"),)


@pytest.mark.parametrize(
    ("vendor", "headers"),
    [
        ("userpilot", {"authorization": "Token {YOUR_API_KEY}", "x-api-version": "2020-09-22"}),
        ("flywheel", {"authorization": "{YOUR_API_KEY}", "auth-type": "api"}),
        ("thrivestack", {"authorization": "Bearer <token>", "key": "{YOUR_API_KEY}", "accept": "application/json"}),
        ("thrivestack", {"x-api-key": "{YOUR_API_KEY}"}),
        ("appizer", {"authorization": "Bearer {YOUR_API_KEY}"}),
    ],
)
def test_the_documented_credential_is_heard(vendor: str, headers: dict[str, str]):
    assert "{YOUR_API_KEY}" in VENDORS[vendor].credentials(headers)


def test_each_form_of_authentication_belongs_to_its_own_vendors():
    """So that the form narrows down the source at the root."""
    forms = {
        "Token K": {"userpilot"},
        "token K": {"userpilot"},
        "K": {"flywheel"},
        "Bearer K": {"appizer", "thrivestack"},
        "bearer K": {"appizer", "thrivestack"},
        "Basic K": set(),
        "Bearer": set(),
        "bearer ": set(),
        "": set(),
    }
    for value, heard in forms.items():
        headers = {"authorization": value}
        assert {name for name, vendor in VENDORS.items() if vendor.credentials(headers)} == heard


def test_a_raw_key_beside_another_auth_type_is_not_flywheels():
    flywheel = VENDORS["flywheel"]
    assert flywheel.credentials({"authorization": "K", "auth-type": "API"}) == ("K",)
    assert flywheel.credentials({"authorization": "K", "auth-type": "jwt"}) == ()


def test_thrivestack_gives_every_key_that_is_presented():
    headers = {"x-api-key": "A", "key": "B", "authorization": "Bearer C"}
    assert VENDORS["thrivestack"].credentials(headers) == ("A", "B", "C")


# --- where the documents contradict themselves ----------------------------------------------------------------


def test_flywheels_flat_body_is_taken_too():
    (got,) = decode("flywheel", "/v1/events", b'{"event": "user_signup", "user_id": "user123", "shard": 7}')
    assert got.event == event_of("flywheel", name="user_signup", user_id="user123", extras={"event": {"shard": 7}})


@pytest.mark.parametrize(
    ("body", "field", "flaw"),
    [
        ({}, "event", "missing"),
        ({"event": None}, "event", "type"),
        ({"event": {}}, "event.event", "missing"),
        ({"event": {"event": ""}}, "event.event", "missing"),
        ({"event": {"event": "a b"}}, "event.event", "value"),
        ({"event": {"event": "caf\u00e9"}}, "event.event", "value"),
        ({"event": {"event": "ok\n"}}, "event.event", "value"),
        ({"event": "a.b"}, "event", "value"),
        ({"event": {"event": "ok", "user_id": 5}}, "event.user_id", "type"),
        ({"event": {"event": "ok", "properties": []}}, "event.properties", "type"),
        ({"event": {"event": "ok", "identify": "yes"}}, "event.identify", "type"),
        ({"event": {"event": "ok", "timestamp": "2024-01-15T10:30:00"}}, "event.timestamp", "type"),
        ({"event": {"event": "ok", "timestamp": "yesterday"}}, "event.timestamp", "type"),
        ({"event": {"event": "ok", "timestamp": 1705314600}}, "event.timestamp", "type"),
    ],
)
def test_flywheel_names_the_field_at_fault(body: Any, field: str, flaw: str):
    problem = problem_of("flywheel", "/v1/events", body)
    assert (problem.kind, problem.field, problem.flaw) == (ProblemKind.INVALID, field, flaw)
    assert f"`{field}`" in problem.message


def test_flywheel_takes_an_event_of_nobody_and_empty_ids_are_absent():
    body = b'{"event": {"event": "seen", "user_id": "", "anonymous_id": "", "event_id": "", "timestamp": ""}}'
    (got,) = decode("flywheel", "/v1/events", body)
    assert got.event == event_of("flywheel", name="seen")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"event_name": "a"}, "a"),
        ({"event": "a"}, "a"),
        ({"event_name": "a", "event": "a"}, "a"),
        ({"event_name": "", "event": "a"}, "a"),
    ],
)
def test_thrivestack_takes_the_name_from_either_field(body: dict[str, str], name: str):
    (got,) = decode("thrivestack", "/api/track", msgspec.json.encode({**body, "user_id": "u"}))
    assert got.event.name == name


@pytest.mark.parametrize(
    ("body", "field", "index", "flaw"),
    [
        ({"event_name": "a", "event": "b", "user_id": "u"}, "event_name", None, "value"),
        ({"user_id": "u"}, "event_name", None, "missing"),
        ({"event_name": "a"}, "user_id", None, "missing"),
        ({"event_name": "a", "user_id": None}, "user_id", None, "type"),
        ([{"event_name": "a", "user_id": "u"}, {"event_name": "b"}], "user_id", 1, "missing"),
        ([{"event_name": "a", "user_id": "u"}, 5], "body", 1, "type"),
        ([], "body", None, "missing"),
        ({"event_name": "a", "user_id": "u", "timestamp": True}, "timestamp", None, "type"),
        ({"event_name": "a", "user_id": "u", "context": "c"}, "context", None, "type"),
        ({"event_name": "a", "user_id": "u", "context": {"group_id": 5}}, "context.group_id", None, "type"),
    ],
)
def test_thrivestack_names_the_field_and_the_place_at_fault(body: Any, field: str, index: int | None, flaw: str):
    problem = problem_of("thrivestack", "/api/track", body)
    assert (problem.field, problem.index, problem.flaw) == (field, index, flaw)


def test_thrivestack_reads_context_and_keeps_what_it_does_not_know():
    context = {"group_id": "g", "device_id": "d", "session_id": "s", "source": "marketing", "org_id": "o", "free": 1}
    body = {"event_name": "a", "user_id": "", "context": context, "properties": None, "shard": {"n": 1}}
    (got,) = decode("thrivestack", "/api/track", msgspec.json.encode([body]))
    assert got.event == event_of(
        "thrivestack",
        name="a",
        context=Context(
            group_id="g", device_id="d", session_id="s", origin="marketing", other={"org_id": "o", "free": 1}
        ),
        extras={"shard": {"n": 1}},
    )


def test_thrivestack_takes_the_group_from_the_top_level_too_and_loses_neither():
    (top,) = decode("thrivestack", "/api/track", b'{"event": "a", "user_id": "u", "group_id": "g"}')
    body = b'{"event": "a", "user_id": "u", "group_id": "g", "context": {"group_id": "h"}}'
    (both,) = decode("thrivestack", "/api/track", body)
    assert (top.event.context.group_id, top.event.extras) == ("g", {})
    assert (both.event.context.group_id, both.event.extras) == ("h", {"group_id": "g"})


@pytest.mark.parametrize(
    ("stated", "moment", "raw", "notes"),
    [
        ("2024-01-15T10:30:00.123456+05:30", "2024-01-15T10:30:00.123456+05:30", None, []),
        ("2024-01-15T10:30:00", "2024-01-15T10:30:00+00:00", None, ["timestamp.changed"]),
        ("20-11-23T22:28:55.1111111Z", None, "20-11-23T22:28:55.1111111Z", ["timestamp.degraded"]),
        ("2024-01-15", None, "2024-01-15", ["timestamp.degraded"]),
        (1705314600, None, "1705314600", ["timestamp.degraded"]),
        ("", None, None, []),
        (None, None, None, []),
    ],
)
def test_thrivestack_reads_a_timestamp_or_keeps_it_word_for_word(stated: Any, moment: Any, raw: Any, notes: list[str]):
    body = {"event_name": "a", "user_id": "u", "timestamp": stated}
    (got,) = decode("thrivestack", "/api/track", msgspec.json.encode(body))
    assert (got.event.timestamp and got.event.timestamp.isoformat()) == moment
    assert got.event.timestamp_raw == raw
    assert [note.code for note in got.notes] == notes


def test_appizer_batch_names_the_place_and_is_all_or_nothing():
    good = {"event_name": "a", "user_id": "u"}
    decoded = decode("appizer", "/v1/events/batch", msgspec.json.encode({"events": [good, good]}))
    assert [got.event.id for got in decoded] == ["id-1", "id-2"]
    problem = problem_of("appizer", "/events/batch", {"events": [good, {**good, "user_id": 5}]})
    assert (problem.field, problem.index, problem.message) == (
        "user_id",
        1,
        "`user_id` of event 1 must be a string.",
    )
    assert problem_of("appizer", "/v1/events/batch", {}).field == "events"
    assert problem_of("appizer", "/v1/events/batch", {"events": {}}).flaw == "type"


def test_appizer_user_is_read_with_its_own_fields_as_traits():
    body = b"""{"user_id": "user_123", "email": "a@b.c", "phone": "+1", "origin": "web", "properties": {"plan": "pro",
        "email": "old@b.c"}, "shard": 7}"""
    (got,) = decode("appizer", "/v1/users", body)
    assert got.event == event_of(
        "appizer",
        kind="identify",
        user_id="user_123",
        properties={"email": "a@b.c", "phone": "+1", "plan": "pro"},
        context=Context(origin="web"),
        extras={"shard": 7},
    )
    assert [note.code for note in got.notes] == ["properties.dropped"]


@pytest.mark.parametrize(
    ("company", "group_id", "group"),
    [
        ({"id": "c1", "plan": "x"}, "c1", {"plan": "x"}),
        ({"company_id": "c1", "plan": "x"}, "c1", {"plan": "x"}),
        ({"id": "c1", "company_id": "c2"}, "c1", {"company_id": "c2"}),
        ({"id": None, "company_id": "c2", "plan": "x"}, "c2", {"plan": "x"}),
        ({"id": 5}, None, {"id": 5}),
        ({"id": 5, "company_id": "c2"}, None, {"id": 5, "company_id": "c2"}),
        (None, None, {}),
    ],
)
def test_userpilot_company_is_named_by_either_key(company: Any, group_id: str | None, group: Any):
    (got,) = decode("userpilot", "/v1/identify", msgspec.json.encode({"user_id": "u", "company": company}))
    assert got.event == event_of(
        "userpilot", kind="identify", user_id="u", context=Context(group_id=group_id, group=group)
    )


@pytest.mark.parametrize(
    ("company", "field", "flaw"),
    [
        ({}, "company.id", "missing"),
        ({"plan": "x"}, "company.id", "missing"),
        ({"id": ""}, "company.id", "missing"),
        ({"id": None, "company_id": ""}, "company.id", "missing"),
        ({"id": []}, "company.id", "type"),
        ({"id": True, "company_id": "c1"}, "company.id", "type"),
        ({"company_id": {}}, "company.company_id", "type"),
    ],
)
def test_userpilot_takes_no_company_without_an_id(company: Any, field: str, flaw: str):
    """The documents answer it with 400; the strict check says so by itself."""
    body = {"user_id": "u", "company": company}
    problem = problem_of("userpilot", "/v1/identify", body)
    assert (problem.status, problem.field, problem.flaw) == (400, field, flaw)
    userpilot, headers = VENDORS["userpilot"], VENDORS["userpilot"].sample("", "KEY").headers
    call = Call(url="/v1/identify", headers=headers, body=msgspec.json.encode(body))
    assert [found.field for found in userpilot.inspect(call, endpoint("userpilot", "/v1/identify"))] == [field]


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_unknown_fields_survive_a_round_trip_of_one_dialect(vendor: str):
    call = VENDORS[vendor].sample("http://vendor.test", "KEY")
    body = msgspec.json.decode(call.body)
    holder = body["event"] if isinstance(body.get("event"), dict) else body
    holder["sdk"] = {"name": "x", "at": [1, None]}
    body["sent_at"] = None
    (got,) = VENDORS[vendor].decode(
        Call(url="", headers={}, body=msgspec.json.encode(body)),
        VENDORS[vendor].endpoints[0],
        Receipt("web", AT, lambda: "id-1"),
    )
    target = Target(url="http://vendor.test", key="KEY", options=VENDORS[vendor].options())
    said = msgspec.json.decode(VENDORS[vendor].encode(got.event, target).calls[-1].body)
    said = said[0] if isinstance(said, list) else said
    inner = said["event"] if isinstance(said.get("event"), dict) else said
    assert inner["sdk"] == {"name": "x", "at": [1, None]}
    assert said["sent_at"] is None


# --- replies --------------------------------------------------------------------------------------------------


def body_of(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


def test_the_documented_successes():
    ids = ("evt_1",)
    userpilot = VENDORS["userpilot"].accept(endpoint("userpilot", "/v1/track"), ids)
    assert (userpilot.status, userpilot.body) == (202, b"")
    flywheel = VENDORS["flywheel"].accept(endpoint("flywheel", "/v1/events"), ids)
    assert (flywheel.status, body_of(flywheel)) == (200, {"success": True, "message": "Event tracked successfully"})
    thrivestack = VENDORS["thrivestack"].accept(endpoint("thrivestack", "/api/track"), ids)
    assert body_of(thrivestack) == {
        "success": True,
        "message": "Event tracked successfully",
        "response_id": "evt_1",
        "eventId": "evt_1",
    }
    appizer = VENDORS["appizer"]
    assert body_of(appizer.accept(endpoint("appizer", "/events"), ids)) == {
        "success": True,
        "event_id": "evt_1",
        "message": "Event tracked successfully",
    }
    assert body_of(appizer.accept(endpoint("appizer", "/v1/events/batch"), ("a", "b")))["processed_count"] == 2
    assert body_of(appizer.accept(endpoint("appizer", "/v1/users"), ids, user_id="user_123")) == {
        "success": True,
        "user_id": "usr_evt_1",
        "external_id": "user_123",
        "message": "User saved successfully",
    }


def test_the_documented_errors():
    problem = Problem(ProblemKind.INVALID, "event name is required", field="event", flaw="missing")
    assert body_of(VENDORS["flywheel"].reject(problem)) == {
        "error": "Validation failed: event name is required",
        "code": "VALIDATION_ERROR",
    }
    assert set(body_of(VENDORS["userpilot"].reject(problem))["errors"][0]) == {
        "details",
        "error",
        "error_code",
        "message",
    }
    assert body_of(VENDORS["thrivestack"].reject(problem)) == {
        "success": False,
        "status": "error",
        "message": "event name is required",
        "error_code": "invalid",
    }
    assert body_of(VENDORS["appizer"].reject(problem)) == {
        "error": "Bad Request",
        "message": "event name is required",
        "code": "MISSING_FIELD",
        "details": {"field": "event"},
    }


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Problem(ProblemKind.INVALID, "m", flaw="value"), "INVALID_REQUEST"),
        (Problem(ProblemKind.INVALID, "m", flaw="type"), "INVALID_TYPE"),
        (Problem(ProblemKind.INVALID, "m", flaw="missing"), "MISSING_FIELD"),
        (Problem(ProblemKind.UNAUTHORIZED, "m", flaw="missing"), "MISSING_AUTH"),
        (Problem(ProblemKind.UNAUTHORIZED, "m"), "INVALID_API_KEY"),
        (Problem(ProblemKind.FORBIDDEN, "m"), "INSUFFICIENT_PERMISSIONS"),
        (Problem(ProblemKind.TOO_MANY, "m"), "RATE_LIMIT_EXCEEDED"),
    ],
)
def test_appizers_documented_codes(problem: Problem, code: str):
    assert body_of(VENDORS["appizer"].reject(problem))["code"] == code


@pytest.mark.parametrize("vendor", ["flywheel", "thrivestack", "appizer"])
def test_success_false_in_a_documented_body_is_a_refusal(vendor: str):
    assert VENDORS[vendor].classify(Reply(status=200, body=b'{"success": false}')) == Refuse("success_false")


@pytest.mark.parametrize(
    ("headers", "said", "seconds"),
    [
        ({}, 12, 12.0),
        ({}, 1.5, 1.5),
        ({}, 10**400, 86_400.0),
        ({"retry-after": "5"}, 12, 5.0),
        ({"retry-after": "soon"}, 12, 12.0),
        ({}, True, None),
        ({}, -1, None),
        ({}, "12", None),
        ({}, None, None),
    ],
)
def test_appizers_retry_after_stands_in_the_details_too(headers: dict[str, str], said: Any, seconds: float | None):
    body = msgspec.json.encode({"code": "RATE_LIMIT_EXCEEDED", "details": {"limit": 1000, "retry_after": said}})
    outcome = VENDORS["appizer"].classify(Reply(status=429, headers=headers, body=body, at=AT))
    assert outcome == Retry("status_429", seconds)
