"""What the sandbox remembers and how it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trackgate.sandbox.memory import Filter, Memory, Page, Received

if TYPE_CHECKING:
    from tests.sandbox.conftest import Bench, FakeClock
    from trackgate.vendor import Vendor


def send(bench: Bench, event: str, user: str, **headers: str) -> int:
    sample = bench.sample(bench.vendors["userpilot"])
    body = f'{{"user_id": "{user}", "event_name": "{event}"}}'.encode()
    return bench.post(sample, body=body, headers={**sample.headers, **headers}).status_code


def received(clock: FakeClock, vendor: str = "a", status: int | None = 200, body: str = "") -> Received:
    return Received(at=clock.now(), vendor=vendor, method="POST", path="/", headers={}, body_text=body, status=status)


def test_a_call_is_shown_as_it_came(bench: Bench, vendor: Vendor) -> None:
    """Method, path with its query, headers but for the credential, the body word for word, the time, the answer."""
    sample = bench.sample(vendor)
    bench.ask(
        "POST", sample.url + "?a=1", headers={**sample.headers, "trackgate-event-id": "018f"}, content=sample.body
    )
    shown = bench.ask("GET", "/-/received")
    (call,) = shown.json()
    assert (call["n"], call["vendor"], call["method"]) == (1, vendor.name, "POST")
    assert call["path"] == vendor.endpoints[0].path + "?a=1"
    assert call["at"] == "2026-11-20T12:00:00Z"
    assert call["trackgate_event_id"] == "018f"
    assert call["status"] in (200, 202)
    assert sample.body in shown.content
    assert call["events"] != []


def test_a_credential_is_shown_by_its_last_four_characters_only(bench: Bench, vendor: Vendor) -> None:
    bench.post(bench.sample(vendor, "SECRETSECRET7890"))
    shown = bench.ask("GET", "/-/received").text
    assert "SECRET" not in shown
    assert "***7890" in shown


def test_numbers_are_shown_word_for_word(bench: Bench) -> None:
    """A number that no float holds is still the one that was sent."""
    sample = bench.sample(bench.vendors["userpilot"])
    body = b'{"user_id": "u", "event_name": "e", "metadata": {"n": 12345678901234567890123, "f": 1.10}}'
    bench.post(sample, body=body)
    assert body in bench.ask("GET", "/-/received").content


@pytest.mark.parametrize(
    ("body", "shown"), [(b"plain", {"body_text": "plain"}), (b"\xff\xfe", {"body_base64": "//4="}), (b"3", {"body": 3})]
)
def test_a_body_that_is_no_json_is_shown_as_text_or_base64(bench: Bench, body: bytes, shown: dict[str, Any]) -> None:
    bench.post(bench.sample(bench.vendors["userpilot"]), body=body)
    (call,) = bench.received()
    assert {name: value for name, value in call.items() if name.startswith("body")} == shown


def test_filters_are_joined_by_and(bench: Bench) -> None:
    send(bench, "purchase_done", "u1")
    send(bench, "purchase_done", "u2", **{"trackgate-event-id": "x7"})
    send(bench, "signup", "u1")
    send(bench, "", "u1")

    def found(**query: Any) -> list[int]:
        numbers = [call["n"] for call in bench.received(**query)]
        assert bench.count(**query) == {
            "count": len(numbers),
            "by_vendor": {"userpilot": len(numbers)} if numbers else {},
            "complete": True,
        }
        return numbers

    assert found() == [1, 2, 3, 4]
    assert found(event="purchase_*") == [1, 2]
    assert found(event="purchase") == []
    assert found(user="u1") == [1, 3, 4]
    assert found(event="purchase_*", user="u1") == [1]
    assert found(status=400) == [4]
    assert found(status=202, user="u1") == [1, 3]
    assert found(id="x7") == [2]
    assert found(vendor="userpilot", event="signup") == [3]
    assert found(vendor="") == [1, 2, 3, 4]


def test_names_are_found_in_every_vendors_own_format(bench: Bench, vendor: Vendor) -> None:
    bench.post(bench.sample(vendor))
    (call,) = bench.received()
    assert bench.received(event=call["events"][0], user=call["users"][0] if call["users"] else "") == [call]


def test_the_newest_are_shown_unless_it_is_asked_to_page_on(bench: Bench) -> None:
    for number in range(5):
        send(bench, f"e{number}", "u")
    assert [call["n"] for call in bench.received(limit=2)] == [4, 5]
    assert [call["n"] for call in bench.received(limit=2, after=0)] == [1, 2]
    assert [call["n"] for call in bench.received(limit=2, after=2)] == [3, 4]
    assert bench.received(after=5) == []


def test_what_was_forgotten_is_still_counted(small_bench: Bench) -> None:
    """The counts are exact for ever by vendor and status; by anything else they say that they are not complete."""
    for number in range(5):
        send(small_bench, f"e{number}", "u")
    send(small_bench, "", "u")
    assert [call["n"] for call in small_bench.received()] == [4, 5, 6]
    assert small_bench.count() == {"count": 6, "by_vendor": {"userpilot": 6}, "complete": True}
    assert small_bench.count(status=202)["count"] == 5
    assert small_bench.count(user="u") == {"count": 3, "by_vendor": {"userpilot": 3}, "complete": False}


def test_memory_is_bounded_by_bytes_and_keeps_the_newest(clock: FakeClock) -> None:
    memory = Memory(max_bytes=5000)
    for _ in range(10):
        memory.remember(received(clock), 1000)
    assert [call.n for call in memory.show(Page())] == [9, 10]
    memory.remember(received(clock), 1_000_000)
    assert [call.n for call in memory.show(Page())] == [11]
    memory.remember(received(clock, "b", 503), 10)
    assert [call.n for call in memory.show(Page())] == [12]
    assert memory.count(Filter(status=503)).by_vendor == {"b": 1}


def test_forgetting_starts_the_counts_anew_and_never_reuses_a_number(bench: Bench) -> None:
    send(bench, "e", "u")
    send(bench, "e", "u")
    assert bench.ask("DELETE", "/-/received").json() == {"forgotten": 2}
    assert bench.count()["count"] == 0
    send(bench, "e", "u")
    assert [call["n"] for call in bench.received()] == [3]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("vendor=nobody", "vendor"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("after=-1", "after"),
        ("status=x", "status"),
        ("name=x", "name"),
    ],
)
def test_a_query_that_cannot_be_followed_is_a_400_that_names_the_parameter(
    bench: Bench, query: str, field: str
) -> None:
    reply = bench.ask("GET", f"/-/received?{query}")
    assert reply.status_code == 400
    assert reply.json()["field"] == field
    assert f"`{field}`" in reply.json()["message"]
    if field not in ("limit", "after"):
        assert bench.ask("GET", f"/-/received/count?{query}").status_code == 400
