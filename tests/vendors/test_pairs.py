"""The sixteen pairs, as a table of exact bodies written by hand from the documents: what each destination must get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from trackgate import vendors
from trackgate.fidelity import Note
from trackgate.model import Call, Context, Event, Receipt, Unsupported
from trackgate.vendor import Encoded, Target

VENDORS = vendors.load()
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
RECEIVED = "2026-01-02T03:04:05.678Z"
URL = "http://vendor.test"
OURS = "0194-ours"

USERPILOT = {
    "user_id": "unique_user_id",
    "event_name": "user_subscribed",
    "metadata": {"plan": "free", "created_at": "1519205055", "coupon": None},
}
FLYWHEEL = {
    "event": {
        "event": "user_updated_profile",
        "user_id": "user456",
        "anonymous_id": "anon_789012345",
        "timestamp": "2024-01-15T16:00:00.25+05:30",
        "event_id": "evt_123456789",
        "identify": True,
        "properties": {
            "email": "john.doe@company.com",
            "full_name": "John Doe",
            "phone": "+1-555-0123",
            "price": 99.99,
        },
    }
}
FLYWHEEL_ANONYMOUS = {
    "event": {
        "event": "page_viewed",
        "anonymous_id": "anon_789",
        "properties": {"page": "/pricing", "referrer": "https://google.com", "device_type": "mobile"},
    }
}
PAGE = {"page": "/pricing", "referrer": "https://google.com", "device_type": "mobile"}
PROFILE = {"email": "john.doe@company.com", "full_name": "John Doe", "phone": "+1-555-0123", "price": 99.99}
THRIVESTACK_2024 = {
    "event": "event_name",
    "properties": {"property1": "value1", "property2": "value2"},
    "user_id": "user123",
    "timestamp": "20-11-23T22:28:55.111Z",
}
VALUES = {"property1": "value1", "property2": "value2"}
THRIVESTACK = [
    {
        "event_name": "custom.event_example",
        "user_id": "user123",
        "timestamp": "2024-01-15T10:30:00.123456Z",
        "properties": {"feature": {"name": "export", "tags": ["a", 1]}, "coupon": None, "rows": 9007199254740993},
        "context": {
            "group_id": "acct_42",
            "device_id": "dev_1",
            "session_id": "sess_1",
            "source": "marketing",
            "org_id": "o1",
        },
    }
]
FEATURE = {"feature": {"name": "export", "tags": ["a", 1]}, "coupon": None, "rows": 9007199254740993}
FEATURE_FLAT = {"feature.name": "export", "feature.tags": '["a",1]', "rows": 9007199254740993}
CONTEXT = {
    "group_id": "acct_42",
    "device_id": "dev_1",
    "session_id": "sess_1",
    "source": "marketing",
    "context.org_id": "o1",
}
THRIVESTACK_ANONYMOUS = [{"event_name": "page_visit", "user_id": "", "context": {"device_id": "dev_1"}}]
APPIZER = {
    "event_name": "purchase_completed",
    "user_id": "user_123",
    "properties": {"amount": 29.99, "currency": "USD", "product_id": "premium_plan"},
    "ip": "192.168.1.1",
    "ua": "Mozilla/5.0",
}
PURCHASE = {"amount": 29.99, "currency": "USD", "product_id": "premium_plan"}

TABLE: list[tuple[str, Any, str, list[Any], list[str]]] = [
    # --- from Userpilot
    ("userpilot", USERPILOT, "userpilot", [USERPILOT], []),
    (
        "userpilot",
        USERPILOT,
        "flywheel",
        [
            {
                "event": {
                    "event": "user_subscribed",
                    "user_id": "unique_user_id",
                    "timestamp": RECEIVED,
                    "event_id": OURS,
                    "properties": {"plan": "free", "created_at": "1519205055"},
                }
            }
        ],
        ["timestamp.made-up", "event_id.made-up", "nulls.dropped"],
    ),
    (
        "userpilot",
        USERPILOT,
        "thrivestack",
        [
            [
                {
                    "event_name": "user_subscribed",
                    "user_id": "unique_user_id",
                    "timestamp": RECEIVED,
                    "properties": {"plan": "free", "created_at": "1519205055", "coupon": None},
                    "context": {"source": "product"},
                }
            ]
        ],
        ["timestamp.made-up", "origin.made-up", "group_id.degraded"],
    ),
    (
        "userpilot",
        USERPILOT,
        "appizer",
        [
            {
                "event_name": "user_subscribed",
                "user_id": "unique_user_id",
                "properties": {"plan": "free", "created_at": "1519205055", "coupon": None},
            }
        ],
        [],
    ),
    # --- from Flywheel
    (
        "flywheel",
        FLYWHEEL,
        "userpilot",
        [
            {"user_id": "user456", "metadata": PROFILE},
            {
                "user_id": "user456",
                "event_name": "user_updated_profile",
                "metadata": {
                    **PROFILE,
                    "anonymous_id": "anon_789012345",
                    "event_id": "evt_123456789",
                    "timestamp": "2024-01-15T16:00:00.250+05:30",
                },
            },
        ],
        ["identify.carried", "anonymous_id.carried", "event_id.carried", "timestamp.carried"],
    ),
    (
        "flywheel",
        FLYWHEEL,
        "flywheel",
        [{"event": {**FLYWHEEL["event"], "timestamp": "2024-01-15T16:00:00.250+05:30"}}],
        [],
    ),
    (
        "flywheel",
        FLYWHEEL,
        "thrivestack",
        [
            [
                {
                    "user_id": "user456",
                    "traits": {
                        "user_email": "john.doe@company.com",
                        "user_name": "John Doe",
                        "phone": "+1-555-0123",
                        "price": 99.99,
                    },
                    "timestamp": "2024-01-15T10:30:00.250Z",
                }
            ],
            [
                {
                    "event_name": "user_updated_profile",
                    "user_id": "user456",
                    "timestamp": "2024-01-15T10:30:00.250Z",
                    "properties": {**PROFILE, "event_id": "evt_123456789"},
                    "context": {"device_id": "anon_789012345", "source": "product"},
                }
            ],
        ],
        [
            "identify.carried",
            "offset.changed",
            "anonymous_id.changed",
            "origin.made-up",
            "group_id.degraded",
            "event_id.carried",
        ],
    ),
    (
        "flywheel",
        FLYWHEEL,
        "appizer",
        [
            {
                "user_id": "user456",
                "email": "john.doe@company.com",
                "phone": "+1-555-0123",
                "properties": {"full_name": "John Doe", "price": 99.99},
            },
            {
                "event_name": "user_updated_profile",
                "user_id": "user456",
                "properties": {
                    **PROFILE,
                    "anonymous_id": "anon_789012345",
                    "event_id": "evt_123456789",
                    "timestamp": "2024-01-15T16:00:00.250+05:30",
                },
            },
        ],
        ["identify.carried", "anonymous_id.carried", "event_id.carried", "timestamp.carried"],
    ),
    (
        "flywheel",
        FLYWHEEL_ANONYMOUS,
        "flywheel",
        [{"event": {**FLYWHEEL_ANONYMOUS["event"], "timestamp": RECEIVED, "event_id": OURS}}],
        ["timestamp.made-up", "event_id.made-up"],
    ),
    (
        "flywheel",
        FLYWHEEL_ANONYMOUS,
        "appizer",
        [{"event_name": "page_viewed", "user_id": "anon_789", "properties": PAGE}],
        ["anonymous_id.changed"],
    ),
    # --- from ThriveStack
    (
        "thrivestack",
        THRIVESTACK,
        "userpilot",
        [
            {
                "user_id": "user123",
                "event_name": "custom.event_example",
                "metadata": {**FEATURE_FLAT, "coupon": None, "timestamp": "2024-01-15T10:30:00.123456Z", **CONTEXT},
            }
        ],
        [
            "timestamp.carried",
            "group_id.carried",
            "device_id.carried",
            "session_id.carried",
            "origin.carried",
            "context.other.carried",
            "objects.changed",
        ],
    ),
    (
        "thrivestack",
        THRIVESTACK,
        "flywheel",
        [
            {
                "event": {
                    "event": "custom_event_example",
                    "user_id": "user123",
                    "timestamp": "2024-01-15T10:30:00.123456Z",
                    "event_id": OURS,
                    "properties": {**FEATURE_FLAT, **CONTEXT, "event_name": "custom.event_example"},
                }
            }
        ],
        [
            "event_id.made-up",
            "group_id.carried",
            "device_id.carried",
            "session_id.carried",
            "origin.carried",
            "context.other.carried",
            "objects.changed",
            "nulls.dropped",
            "name.changed",
        ],
    ),
    ("thrivestack", THRIVESTACK, "thrivestack", [THRIVESTACK], []),
    (
        "thrivestack",
        THRIVESTACK,
        "appizer",
        [
            {
                "event_name": "custom.event_example",
                "user_id": "user123",
                "properties": {**FEATURE, "timestamp": "2024-01-15T10:30:00.123456Z", **CONTEXT},
            }
        ],
        [
            "timestamp.carried",
            "group_id.carried",
            "device_id.carried",
            "session_id.carried",
            "origin.carried",
            "context.other.carried",
        ],
    ),
    (
        "thrivestack",
        THRIVESTACK_2024,
        "userpilot",
        [
            {
                "user_id": "user123",
                "event_name": "event_name",
                "metadata": {**VALUES, "timestamp_raw": "20-11-23T22:28:55.111Z"},
            }
        ],
        ["timestamp_raw.carried"],
    ),
    (
        "thrivestack",
        THRIVESTACK_2024,
        "flywheel",
        [
            {
                "event": {
                    "event": "event_name",
                    "user_id": "user123",
                    "timestamp": RECEIVED,
                    "event_id": OURS,
                    "properties": {**VALUES, "timestamp_raw": "20-11-23T22:28:55.111Z"},
                }
            }
        ],
        ["timestamp.made-up", "event_id.made-up", "timestamp_raw.carried"],
    ),
    (
        "thrivestack",
        THRIVESTACK_2024,
        "thrivestack",
        [
            [
                {
                    "event_name": "event_name",
                    "user_id": "user123",
                    "timestamp": RECEIVED,
                    "properties": {**VALUES, "timestamp_raw": "20-11-23T22:28:55.111Z"},
                    "context": {"source": "product"},
                }
            ]
        ],
        ["timestamp.made-up", "origin.made-up", "group_id.degraded", "timestamp_raw.carried"],
    ),
    (
        "thrivestack",
        THRIVESTACK_ANONYMOUS,
        "thrivestack",
        [
            [
                {
                    "event_name": "page_visit",
                    "user_id": "",
                    "timestamp": RECEIVED,
                    "properties": {},
                    "context": {"device_id": "dev_1", "source": "product"},
                }
            ]
        ],
        ["timestamp.made-up", "origin.made-up", "group_id.degraded"],
    ),
    (
        "thrivestack",
        THRIVESTACK_ANONYMOUS,
        "flywheel",
        [
            {
                "event": {
                    "event": "page_visit",
                    "anonymous_id": "dev_1",
                    "timestamp": RECEIVED,
                    "event_id": OURS,
                }
            }
        ],
        ["device_id.changed", "timestamp.made-up", "event_id.made-up"],
    ),
    (
        "thrivestack",
        THRIVESTACK_ANONYMOUS,
        "appizer",
        [{"event_name": "page_visit", "user_id": "dev_1"}],
        ["device_id.changed"],
    ),
    # --- from Appizer
    (
        "appizer",
        APPIZER,
        "userpilot",
        [
            {
                "user_id": "user_123",
                "event_name": "purchase_completed",
                "metadata": {**PURCHASE, "ip": "192.168.1.1", "ua": "Mozilla/5.0"},
            }
        ],
        ["ip.carried", "user_agent.carried"],
    ),
    (
        "appizer",
        APPIZER,
        "flywheel",
        [
            {
                "event": {
                    "event": "purchase_completed",
                    "user_id": "user_123",
                    "timestamp": RECEIVED,
                    "event_id": OURS,
                    "properties": {**PURCHASE, "ip": "192.168.1.1", "ua": "Mozilla/5.0"},
                }
            }
        ],
        ["timestamp.made-up", "event_id.made-up", "ip.carried", "user_agent.carried"],
    ),
    (
        "appizer",
        APPIZER,
        "thrivestack",
        [
            [
                {
                    "event_name": "purchase_completed",
                    "user_id": "user_123",
                    "timestamp": RECEIVED,
                    "properties": {**PURCHASE, "ip_address": "192.168.1.1", "ua": "Mozilla/5.0"},
                    "context": {"source": "product"},
                }
            ]
        ],
        ["timestamp.made-up", "origin.made-up", "group_id.degraded", "ip.carried", "user_agent.carried"],
    ),
    ("appizer", APPIZER, "appizer", [APPIZER], []),
]

USER = {"user_id": "u1", "metadata": {"email": "a@b.c", "plan": "pro"}, "company": {"id": "c1", "size": 5}}
THRIVESTACK_USER = [
    {
        "user_id": "u1",
        "traits": {"user_email": "a@b.c", "address": {"city": "Pune"}},
        "timestamp": "2024-01-15T10:30:00Z",
        "context": {"group_id": "c1"},
    }
]
APPIZER_USER = {"user_id": "u1", "email": "a@b.c", "phone": "+1", "properties": {"plan": "pro"}, "origin": "web"}

IDENTIFY_TABLE: list[tuple[str, Any, str, Any, list[str]]] = [
    ("userpilot", USER, "userpilot", USER, []),
    (
        "userpilot",
        USER,
        "flywheel",
        {
            "event": {
                "event": "identify",
                "user_id": "u1",
                "timestamp": RECEIVED,
                "event_id": OURS,
                "identify": True,
                "properties": {"email": "a@b.c", "plan": "pro", "group_id": "c1", "group.size": 5},
            }
        },
        [
            "kind.changed",
            "name.made-up",
            "identify.made-up",
            "timestamp.made-up",
            "event_id.made-up",
            "group_id.carried",
            "context.group.carried",
        ],
    ),
    (
        "userpilot",
        USER,
        "thrivestack",
        [
            {
                "user_id": "u1",
                "traits": {"user_email": "a@b.c", "plan": "pro"},
                "timestamp": RECEIVED,
                "context": {"group_id": "c1"},
            }
        ],
        ["timestamp.made-up", "context.group.dropped", "traits.changed"],
    ),
    (
        "userpilot",
        USER,
        "appizer",
        {"user_id": "u1", "email": "a@b.c", "properties": {"plan": "pro"}},
        ["group_id.dropped", "context.group.dropped"],
    ),
    (
        "thrivestack",
        THRIVESTACK_USER,
        "userpilot",
        {
            "user_id": "u1",
            "metadata": {"user_email": "a@b.c", "address.city": "Pune"},
            "company": {"id": "c1"},
        },
        ["timestamp.dropped", "objects.changed"],
    ),
    ("thrivestack", THRIVESTACK_USER, "thrivestack", THRIVESTACK_USER, []),
    ("appizer", APPIZER_USER, "appizer", APPIZER_USER, []),
    (
        "appizer",
        APPIZER_USER,
        "userpilot",
        {"user_id": "u1", "metadata": {"email": "a@b.c", "phone": "+1", "plan": "pro"}},
        ["origin.dropped"],
    ),
    (
        "appizer",
        APPIZER_USER,
        "thrivestack",
        [
            {
                "user_id": "u1",
                "traits": {"user_email": "a@b.c", "phone": "+1", "plan": "pro"},
                "timestamp": RECEIVED,
                "context": {"origin": "web"},
            }
        ],
        ["timestamp.made-up", "origin.changed", "traits.changed"],
    ),
    (
        "appizer",
        {**APPIZER_USER, "origin": "marketing"},
        "thrivestack",
        [
            {
                "user_id": "u1",
                "traits": {"user_email": "a@b.c", "phone": "+1", "plan": "pro"},
                "timestamp": RECEIVED,
                "context": {"source": "marketing"},
            }
        ],
        ["timestamp.made-up", "traits.changed"],
    ),
    (
        "appizer",
        APPIZER_USER,
        "flywheel",
        {
            "event": {
                "event": "identify",
                "user_id": "u1",
                "timestamp": RECEIVED,
                "event_id": OURS,
                "identify": True,
                "properties": {"email": "a@b.c", "phone": "+1", "plan": "pro", "source": "web"},
            }
        },
        [
            "kind.changed",
            "name.made-up",
            "identify.made-up",
            "timestamp.made-up",
            "event_id.made-up",
            "origin.carried",
        ],
    ),
]


def convert(source: str, kind: str, body: Any, destination: str, **options: Any) -> Encoded:
    vendor, other = VENDORS[source], VENDORS[destination]
    endpoint = next(found for found in vendor.endpoints if found.kind == kind)
    call = Call(url=endpoint.path, headers={}, body=msgspec.json.encode(body))
    (got,) = vendor.decode(call, endpoint, Receipt("web", AT, lambda: OURS))
    return other.encode(got.event, Target(url=URL, key="KEY", options=other.options(**options)))


def bodies(encoded: Encoded) -> list[Any]:
    return [msgspec.json.decode(call.body) for call in encoded.calls]


@pytest.mark.parametrize(("source", "body", "destination", "expected", "codes"), TABLE)
def test_a_track_call_arrives_as_exactly_this(
    source: str, body: Any, destination: str, expected: list[Any], codes: list[str]
):
    encoded = convert(source, "track", body, destination)
    assert bodies(encoded) == expected
    assert [note.code for note in encoded.notes] == codes


def test_the_table_has_all_pairs():
    assert {(row[0], row[2]) for row in TABLE} == {(a, b) for a in VENDORS for b in VENDORS}


@pytest.mark.parametrize(("source", "body", "destination", "expected", "codes"), IDENTIFY_TABLE)
def test_an_identify_call_arrives_as_exactly_this(
    source: str, body: Any, destination: str, expected: Any, codes: list[str]
):
    encoded = convert(source, "identify", body, destination)
    assert bodies(encoded) == [expected]
    assert [note.code for note in encoded.notes] == codes


@pytest.mark.parametrize(
    ("destination", "options", "calls"),
    [
        (
            "userpilot",
            {},
            [
                (
                    "/v1/track",
                    {
                        "content-type": "application/json",
                        "authorization": "Token KEY",
                        "x-api-version": "2020-09-22",
                    },
                )
            ],
        ),
        (
            "flywheel",
            {},
            [("/v1/events", {"content-type": "application/json", "authorization": "KEY", "auth-type": "api"})],
        ),
        ("thrivestack", {}, [("/api/track", {"content-type": "application/json", "x-api-key": "KEY"})]),
        (
            "thrivestack",
            {"token": "TOKEN"},
            [
                (
                    "/api/track",
                    {
                        "content-type": "application/json",
                        "accept": "application/json",
                        "authorization": "Bearer TOKEN",
                        "key": "KEY",
                    },
                )
            ],
        ),
        ("appizer", {}, [("/v1/events", {"content-type": "application/json", "authorization": "Bearer KEY"})]),
    ],
)
def test_calls_go_to_the_documented_path_with_the_documented_headers(destination: str, options: Any, calls: list[Any]):
    encoded = convert("userpilot", "track", USERPILOT, destination, **options)
    assert [(call.url.removeprefix(URL), call.headers) for call in encoded.calls] == calls
    assert all(call.method == "POST" for call in encoded.calls)


@pytest.mark.parametrize(
    ("destination", "options", "url"),
    [
        ("userpilot", {}, "https://analytex.userpilot.io"),
        ("userpilot", {"region": "eu"}, "https://analytex-eu.userpilot.io"),
        ("flywheel", {}, "https://api.flywheel.cx"),
        ("thrivestack", {}, "https://api.app.thrivestack.ai"),
        ("thrivestack", {"token": "T"}, "https://api.dev.app.thrivestack.ai"),
        ("appizer", {}, "https://api.appizer.com"),
    ],
)
def test_calls_go_to_the_documented_host(destination: str, options: Any, url: str):
    vendor = VENDORS[destination]
    assert vendor.base_url(vendor.options(**options)) == url


def test_thrivestack_with_a_token_gets_one_object_as_documented_in_2024():
    encoded = convert("userpilot", "track", USERPILOT, "thrivestack", token="T")
    (body,) = bodies(encoded)
    assert body["event_name"] == "user_subscribed"


def test_thrivestack_with_a_token_gets_the_traits_that_were_documented_in_2024():
    encoded = convert("flywheel", "track", FLYWHEEL, "thrivestack", token="T")
    traits = {"email": "john.doe@company.com", "name": "John Doe", "phone": "+1-555-0123", "price": 99.99}
    assert bodies(encoded)[0]["traits"] == traits


@pytest.mark.parametrize(
    ("body", "destination", "options", "expected"),
    [
        (FLYWHEEL_ANONYMOUS, "userpilot", {"anonymous": "as-user-id"}, {"user_id": "anon_789"}),
        (FLYWHEEL_ANONYMOUS, "thrivestack", {"anonymous": "as-user-id"}, {"user_id": "anon_789"}),
        (FLYWHEEL_ANONYMOUS, "thrivestack", {"anonymous": "sdk"}, {"user_id": ""}),
        (FLYWHEEL_ANONYMOUS, "userpilot", {}, None),
        (FLYWHEEL_ANONYMOUS, "thrivestack", {}, None),
        (FLYWHEEL_ANONYMOUS, "appizer", {"anonymous": "dead"}, None),
        ({"event": {"event": "a"}}, "appizer", {}, None),
        ({"event": {"event": "a"}}, "thrivestack", {"anonymous": "sdk"}, None),
        ({"event": {"event": "a"}}, "userpilot", {"anonymous": "as-user-id"}, None),
    ],
)
def test_an_event_of_nobody_is_dead_unless_the_destination_opts_into_a_stand_in(
    body: Any, destination: str, options: Any, expected: Any
):
    if expected is None:
        with pytest.raises(Unsupported) as caught:
            convert("flywheel", "track", body, destination, **options)
        assert caught.value.reason == "no_user_id"
        return
    (said,) = bodies(convert("flywheel", "track", body, destination, **options))
    said = said[0] if isinstance(said, list) else said
    assert {key: said[key] for key in expected} == expected


@pytest.mark.parametrize("destination", ["userpilot", "thrivestack", "appizer"])
def test_the_filter_option_keeps_an_event_of_nobody_from_being_owed(destination: str):
    vendor = VENDORS[destination]
    (got,) = VENDORS["flywheel"].decode(
        Call(url="", headers={}, body=msgspec.json.encode(FLYWHEEL_ANONYMOUS)),
        VENDORS["flywheel"].endpoints[0],
        Receipt("web", AT, lambda: OURS),
    )
    assert vendor.filters(got.event, vendor.options(anonymous="filter"))
    assert not vendor.filters(got.event, vendor.options())
    assert not vendor.filters(msgspec.structs.replace(got.event, user_id="u"), vendor.options(anonymous="filter"))


def test_metadata_over_userpilots_limit_is_unsupported():
    body = {**USERPILOT, "metadata": {"text": "x" * 10_240}}
    with pytest.raises(Unsupported) as caught:
        convert("userpilot", "track", body, "userpilot")
    assert caught.value.reason == "metadata_too_large"


def test_userpilots_limit_is_of_event_metadata_and_not_of_a_users():
    metadata = {f"note_{number}": "x" * 1_000 for number in range(20)}
    (said,) = bodies(convert("userpilot", "identify", {"user_id": "u1", "metadata": metadata}, "userpilot"))
    assert said["metadata"] == metadata


def test_a_call_over_thrivestacks_limit_is_unsupported():
    body = {**APPIZER, "properties": {"text": "x" * 2_000_000}}
    with pytest.raises(Unsupported) as caught:
        convert("appizer", "track", body, "thrivestack")
    assert caught.value.reason == "body_too_large"


def test_a_timestamp_with_no_utc_date_is_unsupported_at_thrivestack():
    body = {"event": {"event": "a", "user_id": "u", "timestamp": "0001-01-01T00:00:00+05:30"}}
    with pytest.raises(Unsupported) as caught:
        convert("flywheel", "track", body, "thrivestack")
    assert caught.value.reason == "timestamp_out_of_range"


def test_a_taken_event_name_property_is_not_overwritten_by_the_original_name():
    body = {**APPIZER, "event_name": "a b", "properties": {"event_name": "mine"}}
    encoded = convert("appizer", "track", body, "flywheel")
    (said,) = bodies(encoded)
    assert (said["event"]["event"], said["event"]["properties"]["event_name"]) == ("a_b", "mine")
    names = [note for note in encoded.notes if note.field == "name"]
    assert names == [Note("name", "dropped", "name"), Note("name", "changed", "name", {"name": "a_b"})]


def test_an_original_name_that_the_caller_put_there_itself_is_not_lost():
    body = {**APPIZER, "event_name": "a b", "properties": {"event_name": "a b"}}
    encoded = convert("appizer", "track", body, "flywheel")
    names = [note.code for note in encoded.notes if note.field == "name"]
    assert names == ["name.changed"]


@pytest.mark.parametrize("destination", ["userpilot", "thrivestack", "appizer"])
def test_an_event_that_asks_to_identify_is_an_identify_call_and_no_property_of_that_name(destination: str):
    encoded = convert("flywheel", "track", FLYWHEEL, destination)
    assert [call.step for call in encoded.calls] == ["identify", "track"]
    assert [note for note in encoded.notes if note.field == "identify"] == [Note("identify", "carried", "identify")]
    assert all(b'"identify":' not in call.body for call in encoded.calls)


@pytest.mark.parametrize(
    ("source", "body", "timestamp", "sent"),
    [
        (
            "flywheel",
            FLYWHEEL,
            "2024-01-15T16:00:00.123456789+05:30",
            {
                "flywheel": "2024-01-15T16:00:00.123456789+05:30",
                "thrivestack": "2024-01-15T10:30:00.123456789Z",
                "userpilot": "2024-01-15T16:00:00.123456789+05:30",
                "appizer": "2024-01-15T16:00:00.123456789+05:30",
            },
        ),
        (
            "thrivestack",
            THRIVESTACK,
            "2024-01-15T10:30:59.9999999Z",
            {
                "flywheel": "2024-01-15T10:30:59.9999999Z",
                "thrivestack": "2024-01-15T10:30:59.9999999Z",
                "userpilot": "2024-01-15T10:30:59.9999999Z",
                "appizer": "2024-01-15T10:30:59.9999999Z",
            },
        ),
    ],
)
def test_no_digit_of_a_second_is_lost_on_any_way(source: str, body: Any, timestamp: str, sent: dict[str, str]):
    (item,) = body if isinstance(body, list) else (body["event"],)
    said = {**item, "timestamp": timestamp}
    for destination, expected in sent.items():
        encoded = convert(source, "track", [said] if isinstance(body, list) else {"event": said}, destination)
        got = bodies(encoded)[-1]
        got = got[0] if isinstance(got, list) else got.get("event", got)
        holder = got if "timestamp" in got else got.get("metadata") or got["properties"]
        assert holder["timestamp"] == expected


def test_a_company_without_an_id_is_left_out_with_a_note_for_userpilot_would_turn_the_call_away():
    """No dialect says such an event today; one of a vendor to come, or of an older outbox, must not be dead for it."""
    said = Event(
        id=OURS,
        vendor="appizer",
        source="web",
        received_at=AT,
        kind="identify",
        user_id="u1",
        properties={"plan": "pro"},
        context=Context(group={"name": "Acme", "size": 5}),
    )
    encoded = VENDORS["userpilot"].encode(said, Target(url=URL, key="KEY", options=VENDORS["userpilot"].options()))
    assert bodies(encoded) == [{"user_id": "u1", "metadata": {"plan": "pro"}}]
    assert encoded.notes == (
        Note("context.group", "dropped", "context.group.name"),
        Note("context.group", "dropped", "context.group.size"),
    )


@pytest.mark.parametrize("company", [{"id": "c1", "size": 5}, {"id": 5, "size": 5}, {"company_id": 5}])
def test_a_company_with_an_id_goes_back_to_userpilot_as_it_came(company: dict[str, Any]):
    encoded = convert("userpilot", "identify", {"user_id": "u1", "company": company}, "userpilot")
    assert bodies(encoded) == [{"user_id": "u1", "company": company}]
    assert encoded.notes == ()


def test_a_null_inside_of_an_object_is_noted_as_dropped_by_its_own_code():
    body = {**APPIZER, "properties": {"x": {"a": None, "b": {"c": None}}}}
    encoded = convert("appizer", "track", body, "flywheel")
    (said,) = bodies(encoded)
    assert not {key for key in said["event"]["properties"] if key.startswith("x")}
    assert [note for note in encoded.notes if note.field.startswith("properties.x")] == [
        Note("objects", "changed", "properties.x"),
        Note("nulls", "dropped", "properties.x.a"),
        Note("nulls", "dropped", "properties.x.b.c"),
    ]


def test_a_taken_trait_name_keeps_its_value_at_thrivestack():
    body = {**USER, "metadata": {"email": "a@b.c", "user_email": "mine"}}
    (said,) = bodies(convert("userpilot", "identify", body, "thrivestack"))
    assert said[0]["traits"] == {"email": "a@b.c", "user_email": "mine"}


def test_an_email_that_is_no_text_stays_a_property_at_appizer():
    body = {**USER, "metadata": {"email": 5, "phone": ""}}
    (said,) = bodies(convert("userpilot", "identify", body, "appizer"))
    assert said == {"user_id": "u1", "properties": {"email": 5, "phone": ""}}


def test_a_taken_property_name_drops_what_it_would_have_carried():
    body = {**APPIZER, "properties": {"ip": "mine", "ip_address": "mine"}}
    for destination in ("userpilot", "thrivestack"):
        encoded = convert("appizer", "track", body, destination)
        assert "ip.dropped" in {note.code for note in encoded.notes}
        assert b"192.168.1.1" not in encoded.calls[-1].body
