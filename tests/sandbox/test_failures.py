"""The sandbox fails as it is told to: which calls, how, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from trackgate.model import Problem, ProblemKind

if TYPE_CHECKING:
    import httpx

    from tests.sandbox.conftest import Bench
    from trackgate.vendor import Vendor


def send(bench: Bench, vendor: str = "userpilot", **other: Any) -> httpx.Response:
    return bench.post(bench.sample(bench.vendors[vendor]), **other)


def statuses(bench: Bench, calls: int) -> list[int]:
    return [send(bench).status_code for _ in range(calls)]


@pytest.mark.parametrize("kind", [kind for kind in ProblemKind if kind is not ProblemKind.METHOD], ids=lambda k: k.name)
def test_a_failure_has_the_vendors_shape(bench: Bench, vendor: Vendor, kind: ProblemKind) -> None:
    assert bench.fail(vendor=vendor.name, status=kind.value).status_code == 201
    reply = send(bench, vendor.name)
    shape = msgspec.json.decode(vendor.reject(Problem(kind, "")).body)
    assert reply.status_code == kind.value
    assert reply.json().keys() == shape.keys()
    assert send(bench, vendor.name).status_code < 300


@pytest.mark.parametrize("status", [300, 302, 402, 404, 405, 409, 418, 422, 425, 500, 502, 504, 599])
def test_any_failing_status_can_be_asked_for(bench: Bench, status: int) -> None:
    bench.fail(status=status)
    reply = send(bench)
    assert reply.status_code == status
    assert reply.json()


def test_a_304_has_no_body(bench: Bench) -> None:
    bench.fail(status=304)
    assert send(bench).content == b""


def test_a_failure_is_a_503_once_unless_it_says_more(bench: Bench) -> None:
    order = bench.fail()
    assert order.json() == {
        "id": 1,
        "vendor": None,
        "status": 503,
        "retry_after": None,
        "delay": 0.0,
        "cut": None,
        "times": 1,
        "remaining": 1,
        "match": {"event": None, "user": None},
    }
    assert statuses(bench, 2) == [503, 202]


def test_a_failure_strikes_as_often_as_it_was_told(bench: Bench) -> None:
    bench.fail(status=500, times=2)
    assert statuses(bench, 1) == [500]
    assert [(ready["times"], ready["remaining"]) for ready in bench.ask("GET", "/-/fail").json()] == [(2, 1)]
    assert statuses(bench, 2) == [500, 202]
    assert bench.ask("GET", "/-/fail").json() == []


def test_a_failure_without_an_end_stands_until_it_is_cleared(bench: Bench) -> None:
    number = bench.fail(status=401, times=-1).json()["id"]
    assert statuses(bench, 3) == [401, 401, 401]
    assert bench.ask("DELETE", f"/-/fail/{number}").json() == {"cleared": 1}
    assert statuses(bench, 1) == [202]
    assert bench.ask("DELETE", f"/-/fail/{number}").status_code == 404


def test_all_failures_are_cleared_at_once(bench: Bench) -> None:
    bench.fail(times=-1)
    bench.fail(status=401)
    assert bench.ask("DELETE", "/-/fail").json() == {"cleared": 2}
    assert statuses(bench, 1) == [202]


def test_failures_strike_in_the_order_they_were_asked_for(bench: Bench) -> None:
    for status in (500, 429, 401):
        bench.fail(status=status)
    assert statuses(bench, 4) == [500, 429, 401, 202]


def test_a_failure_strikes_its_vendor_alone(bench: Bench, vendor: Vendor) -> None:
    bench.fail(vendor=vendor.name, times=-1)
    failing = {name for name in bench.vendors if send(bench, name).status_code == 503}
    assert failing == {vendor.name}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"event": "user_*"}, 503),
        ({"event": "user_subscribed"}, 503),
        ({"event": "USER_*"}, 202),
        ({"user": "unique_user_id"}, 503),
        ({"user": "unique"}, 202),
        ({"event": "user_*", "user": "another"}, 202),
        ({}, 503),
    ],
)
def test_a_failure_strikes_what_it_matches(bench: Bench, match: dict[str, str], expected: int) -> None:
    bench.fail(match=match)
    assert statuses(bench, 1) == [expected]


@pytest.mark.parametrize("said", ["30", "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-1", "9" * 200])
def test_retry_after_is_given_word_for_word(bench: Bench, vendor: Vendor, said: str) -> None:
    """Nonsense too: how a client takes it is worth a test."""
    bench.fail(status=429, retry_after=said)
    assert send(bench, vendor.name).headers["retry-after"] == said


def test_retry_after_may_be_a_number_and_is_heard_by_the_vendors_own_reading(bench: Bench, vendor: Vendor) -> None:
    bench.fail(status=429, retry_after=30)
    reply = send(bench, vendor.name)
    assert reply.headers["retry-after"] == "30"


def test_a_failed_call_is_remembered_as_failed_with_the_status_given(bench: Bench) -> None:
    """...and with what was wrong with it anyway."""
    bench.fail(status=503)
    send(bench, body=b"{}")
    (call,) = bench.received(status=503)
    assert (call["failed"], call["status"], len(call["problems"])) == (True, 503, 2)


@pytest.mark.parametrize(("delay", "seconds"), [("500ms", 0.5), ("2m", 120.0), (1.5, 1.5), (3, 3.0), (0, None)])
def test_a_delay_alone_is_a_slow_success(bench: Bench, delay: Any, seconds: float | None) -> None:
    bench.fail(delay=delay)
    assert statuses(bench, 1) == [202]
    assert bench.clock.slept == ([] if seconds is None else [seconds])
    (call,) = bench.received()
    assert (call["failed"], call["status"]) == (False, 202)


def test_a_delay_comes_before_a_failing_reply(bench: Bench) -> None:
    bench.fail(delay="1s", status=500)
    assert statuses(bench, 1) == [500]
    assert bench.clock.slept == [1.0]


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"vendor": "nobody"}, "vendor"),
        ({"vendor": 3}, "vendor"),
        ({"status": 200}, "status"),
        ({"status": 600}, "status"),
        ({"status": "503"}, "status"),
        ({"times": 0}, "times"),
        ({"times": -2}, "times"),
        ({"times": True}, "times"),
        ({"delay": "fast"}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": "2h"}, "delay"),
        ({"delay": []}, "delay"),
        ({"cut": "during"}, "cut"),
        ({"cut": "before", "status": 500}, "cut"),
        ({"retry_after": "a\nb"}, "retry_after"),
        ({"retry_after": "\u20ac"}, "retry_after"),
        ({"retry_after": "9" * 201}, "retry_after"),
        ({"retry_after": "30", "cut": "after"}, "retry_after"),
        ({"retry_after": "30", "delay": "1s"}, "retry_after"),
        ({"match": 3}, "match"),
        ({"match": {"event": 3}}, "match.event"),
        ({"match": {"usr": "x"}}, "match.usr"),
        ({"state": 503}, "state"),
    ],
)
def test_an_order_that_cannot_be_followed_is_a_400_that_names_the_field(
    bench: Bench, order: dict[str, Any], field: str
) -> None:
    reply = bench.fail(**order)
    assert reply.status_code == 400
    assert reply.json()["field"] == field
    assert f"`{field}`" in reply.json()["message"]
    assert bench.ask("GET", "/-/fail").json() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_an_order_that_is_no_object_says_what_may_be_in_one(bench: Bench, body: bytes) -> None:
    reply = bench.ask("POST", "/-/fail", content=body)
    assert reply.status_code == 400
    assert "retry_after" in reply.json()["message"]


def test_an_unknown_field_is_met_with_those_that_are_known(bench: Bench) -> None:
    assert bench.fail(state=503).json()["message"] == (
        "`state` is not known here; known are: vendor, status, retry_after, delay, cut, times, match."
    )
    assert bench.fail(match={"usr": "x"}).json()["message"] == (
        "`match.usr` is not known here; known are: event, user."
    )
