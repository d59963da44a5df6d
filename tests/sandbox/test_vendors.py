"""What every vendor answers here: its own success, and its own words for each way to break its documents."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trackgate import vendors
from trackgate.model import Delivered, Problem, ProblemKind, Reply
from trackgate.sandbox import emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.sandbox.conftest import Bench
    from trackgate.vendor import Vendor

REQUIRED: dict[str, list[tuple[str, ...]]] = {
    "appizer": [("event_name",), ("user_id",)],
    "flywheel": [("event",), ("event", "event")],
    "thrivestack": [("event",), ("user_id",)],
    "userpilot": [("event_name",), ("user_id",)],
}
"""The fields of each documented sample that the documents require, as paths into it."""


def required_fields() -> list[Any]:
    return [
        pytest.param(vendor, path, id=f"{name}-{'.'.join(path)}")
        for name, vendor in vendors.load().items()
        for path in REQUIRED.get(name, [])
    ]


def has_shape_of(vendor: Vendor, kind: ProblemKind, reply: httpx.Response) -> bool:
    """Whether a reply is built as the vendor builds its errors: the same keys down to the leaves."""
    built = (vendor.reject(Problem(kind, "x")), vendor.reject(Problem(kind, "x", field="y", flaw="missing")))
    return any(_shape(reply.json()) == _shape(msgspec.json.decode(error.body)) for error in built)


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else None


def test_a_documented_sample_is_accepted_with_only_its_host_changed(bench: Bench, vendor: Vendor) -> None:
    """...and the reply is the vendor's success, with an id that was made here."""
    sample = bench.sample(vendor)
    reply = bench.post(sample)
    expected = vendor.accept(vendor.endpoints[0], ("id-1",))
    assert (reply.status_code, reply.content) == (expected.status, expected.body)
    assert isinstance(vendor.classify(Reply(status=reply.status_code, body=reply.content)), Delivered)
    (call,) = bench.received()
    assert (call["status"], call["problems"], call["failed"]) == (expected.status, [], False)


@pytest.mark.parametrize(("dialect", "path"), required_fields())
def test_a_required_field_that_is_missing_is_a_400_in_the_vendors_shape(
    bench: Bench, dialect: Vendor, path: tuple[str, ...]
) -> None:
    sample = bench.sample(dialect)
    body = copy.deepcopy(msgspec.json.decode(sample.body))
    inner = body[0] if isinstance(body, list) else body
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    reply = bench.post(sample, body=msgspec.json.encode(body))
    assert reply.status_code == 400
    assert has_shape_of(dialect, ProblemKind.INVALID, reply)
    (call,) = bench.received()
    assert any(path[-1] in f"{problem['field']} {problem['message']}" for problem in call["problems"])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"1", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900]
)
def test_a_body_that_is_no_event_is_a_400_and_never_a_crash(bench: Bench, vendor: Vendor, body: bytes) -> None:
    reply = bench.post(bench.sample(vendor), body=body)
    assert reply.status_code == 400
    assert has_shape_of(vendor, ProblemKind.INVALID, reply)


def test_a_call_without_its_credential_is_a_401(bench: Bench, vendor: Vendor) -> None:
    """The first problem decides, and what is wrong with the body does not hide it."""
    sample = bench.sample(vendor)
    headers = {name: value for name, value in sample.headers.items() if bench.key not in value}
    assert headers.keys() < sample.headers.keys()
    for body in (sample.body, b"{}"):
        reply = bench.post(sample, headers=headers, body=body)
        assert reply.status_code == 401
        assert has_shape_of(vendor, ProblemKind.UNAUTHORIZED, reply)


def test_any_key_is_good_unless_keys_were_set(keyed_bench: Bench, bench: Bench, vendor: Vendor) -> None:
    assert bench.post(bench.sample(vendor, "whatever")).status_code < 300
    assert keyed_bench.post(keyed_bench.sample(vendor)).status_code < 300
    for body in (bench.sample(vendor).body, b"{}"):
        stranger = keyed_bench.post(keyed_bench.sample(vendor, "whatever"), body=body)
        assert stranger.status_code == 401
        assert has_shape_of(vendor, ProblemKind.UNAUTHORIZED, stranger)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_the_vendors_405_with_allow(bench: Bench, vendor: Vendor, method: str) -> None:
    reply = bench.post(bench.sample(vendor), method=method)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert has_shape_of(vendor, ProblemKind.METHOD, reply)


@pytest.mark.parametrize("path", ["", "/", "/nowhere", "/v9/track", "//", "/%2e%2e"])
def test_an_unknown_path_is_the_vendors_404_that_lists_its_paths(bench: Bench, vendor: Vendor, path: str) -> None:
    reply = bench.ask("POST", f"/{vendor.name}{path}", json={})
    assert reply.status_code == 404
    assert has_shape_of(vendor, ProblemKind.NOT_FOUND, reply)
    assert all(endpoint.path in reply.text for endpoint in vendor.endpoints)


def test_a_vendor_answers_at_every_path_that_it_documents(bench: Bench, vendor: Vendor) -> None:
    """No endpoint is a 404 or 405, whatever it thinks of an empty body."""
    for endpoint in vendor.endpoints:
        reply = bench.post(bench.sample(vendor), body=b"{}").status_code
        assert bench.ask("POST", f"/{vendor.name}{endpoint.path}", json={}).status_code not in (404, 405)
        assert reply == 400


@pytest.mark.parametrize("is_stated", [True, False], ids=["content-length", "chunked"])
def test_a_body_over_the_limit_is_turned_away_as_the_vendor_documents_it_else_a_413(
    bench: Bench, vendor: Vendor, is_stated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """...whether it says so beforehand or not; the call is remembered without the body."""
    monkeypatch.setattr(emulator, "MAX_BODY", 1000)
    limit = vendor.endpoints[0].max_body or 1000
    body = b" " * (limit + 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield body[:10]
        yield body[10:]

    reply = bench.post(bench.sample(vendor), body=body if is_stated else chunks())
    oversize = ProblemKind.INVALID if vendor.name == "thrivestack" else ProblemKind.TOO_LARGE
    assert reply.status_code == oversize.value
    assert has_shape_of(vendor, oversize, reply)
    (call,) = bench.received()
    assert (call["status"], call["body_text"]) == (oversize.value, "")


@pytest.mark.parametrize(("size", "status"), [(10_240, 202), (10_241, 400)])
def test_userpilot_takes_10_kb_of_event_metadata_whatever_else_the_call_holds(
    bench: Bench, size: int, status: int
) -> None:
    sample = bench.sample(bench.vendors["userpilot"])
    metadata = {"text": "\u00e9" * 5_000, "rest": ""}
    metadata["rest"] = "x" * (size - len(msgspec.json.encode(metadata)))
    body = {"user_id": "u", "event_name": "e", "metadata": metadata, "more": "x" * 10_240}
    assert bench.post(sample, body=msgspec.json.encode(body)).status_code == status
    (call,) = bench.received()
    assert [problem["field"] for problem in call["problems"]] == ["metadata"] * (status == 400)


def test_a_users_metadata_at_userpilot_has_no_such_limit(bench: Bench) -> None:
    headers = bench.sample(bench.vendors["userpilot"]).headers
    body = {"user_id": "u", "metadata": {"text": "x" * 10_241}}
    assert bench.ask("POST", "/userpilot/v1/identify", headers=headers, json=body).status_code == 202


def test_thrivestack_says_which_form_takes_an_array(bench: Bench) -> None:
    sample = bench.sample(bench.vendors["thrivestack"])
    reply = bench.post(sample, body=b"[" + sample.body + b"]")
    assert reply.status_code == 400
    assert "one object" in reply.json()["message"]
    assert "x-api-key" in reply.json()["message"]
    assert [problem["field"] for problem in bench.received()[0]["problems"]] == ["body"]


def test_every_problem_is_remembered_though_the_first_decides(bench: Bench) -> None:
    vendor = bench.vendors["userpilot"]
    reply = bench.post(bench.sample(vendor), body=b'{"metadata": {"a": [], "b": {}}}')
    (call,) = bench.received()
    assert call["problems"][0]["message"] == reply.json()["errors"][0]["message"]
    assert {problem["field"] for problem in call["problems"]} == {"event_name", "user_id", "metadata.a", "metadata.b"}


@pytest.mark.parametrize(
    ("name", "path", "headers", "body"),
    [
        (
            "appizer",
            "/v1/events/batch",
            {"authorization": "Bearer key"},
            {"events": [{"event_name": "a", "user_id": "u"}, {"event_name": "b", "user_id": "u"}]},
        ),
        (
            "thrivestack",
            "/api/track",
            {"x-api-key": "key"},
            [
                {"event_name": name, "user_id": "u", "timestamp": "2026-01-02T03:04:05.678Z", "properties": {"n": 1}}
                for name in ("a", "b")
            ],
        ),
    ],
)
def test_a_batch_gets_an_id_an_event(bench: Bench, name: str, path: str, headers: dict[str, str], body: Any) -> None:
    reply = bench.ask("POST", f"/{name}{path}", headers=headers, json=body)
    vendor = bench.vendors[name]
    endpoint = next(known for known in vendor.endpoints if known.path == path)
    expected = vendor.accept(endpoint, ("id-1", "id-2"))
    assert (reply.status_code, reply.content) == (expected.status, expected.body)
    (call,) = bench.received(event="b")
    assert (call["events"], call["users"], call["problems"]) == (["a", "b"], ["u"], [])


def test_appizers_users_call_hears_the_callers_own_id_back(bench: Bench) -> None:
    headers = {"authorization": "Bearer key"}
    reply = bench.ask("POST", "/appizer/v1/users", headers=headers, json={"user_id": "user_123"})
    assert (reply.status_code, reply.json()["external_id"]) == (200, "user_123")


def test_a_path_of_no_vendor_is_a_404_that_says_where_to_look(bench: Bench) -> None:
    for path in ("/nobody/v1/track", "/v1/track", "/-/nothing", "/userpilotx/v1/track"):
        reply = bench.ask("POST", path, json={})
        assert reply.status_code == 404
        assert "GET /" in reply.json()["message"]
    assert bench.count()["count"] == 0
