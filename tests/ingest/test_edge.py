"""The way in over ASGI: the vendors' own words, limits, and nothing ever turned into a 500."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.outboxes.kinds import Sqlite
from trackgate import vendors
from trackgate.clock import SystemClock
from trackgate.config import Source
from trackgate.config.secret import Secret
from trackgate.ingest.asgi import Edge
from trackgate.ingest.doors import Doors
from trackgate.ingest.intake import Intake
from trackgate.ingest.web import build, looking
from trackgate.metrics import Metrics
from trackgate.outbox import Appended, Ledger, OutboxFull, OutboxUnavailable
from trackgate.routing import Route, Router

VENDORS = vendors.load()
CANARY = "canary-7f3a"


class Shelf:
    """Stands for the outbox: keeps entries in memory, or fails as told."""

    def __init__(self, failure=None, stall=0.0):
        self.entries = []
        self.rejected = []
        self.failure = failure
        self.stall = stall

    async def append(self, entries):
        await asyncio.sleep(self.stall)
        if self.failure is not None:
            raise self.failure
        self.entries.extend(entries)
        return [Appended(each.event.id) for each in entries]

    def count_rejected(self, source, reason, count=1):
        self.rejected.append((source, reason))


def gateway(shelf, *sources, **options):
    """The web application over a shelf; by default one keyless source per vendor."""
    known = sources or [Source(name=name, vendor=vendor, auth="none") for name, vendor in VENDORS.items()]
    clock, log = SystemClock(), structlog.get_logger()
    metrics = Metrics(lambda: Ledger(sources={}, destinations={}), clock)
    numbers = itertools.count(1)
    intake = Intake(
        outbox=shelf,
        router=Router([Route(name="all", to=("there",))], {"there": lambda _: False}),
        clock=clock,
        mint=lambda: f"id-{next(numbers)}",
        log=log,
        accept_timeout=options.get("accept_timeout", 5.0),
    )
    edge = Edge(
        Doors({each.name: each for each in known}),
        intake,
        shelf,
        clock,
        log,
        metrics,
        max_body=options.get("max_body", 2**20),
        body_timeout=options.get("body_timeout", 5.0),
        marks={},
    )

    async def rendered():
        return metrics.render()

    return build(edge, _nobody, looking(lambda: (True, {"status": "ready"}), rendered))


async def _nobody(_scope, _receive, _send):
    raise AssertionError("no operator is asked here")


def ask(app, method, url, **request):
    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.request(method, url, **request)

    return asyncio.run(main())


def post(app, url, **request):
    return ask(app, "POST", url, **request)


def sample(vendor, key="any"):
    call = vendor.sample("", key)
    return {"url": call.url, "headers": call.headers, "content": call.body}


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_the_documented_call_is_stored_before_it_is_answered_in_the_vendors_words(vendor):
    shelf = Shelf()
    reply = post(gateway(shelf), **sample(vendor))
    assert reply.is_success, reply.text
    assert reply.headers["trackgate-event-id"] == shelf.entries[0].event.id == "id-1"
    assert shelf.entries[0].owed == {"there"}
    assert reply.content == vendor.accept(vendor.endpoints[0], ("id-1",)).body


def test_appizers_users_call_hears_the_callers_own_id_back():
    reply = post(gateway(Shelf()), url="/appizer/v1/users", json={"user_id": "user_123", "email": "a@b.c"})
    assert reply.json() == {
        "success": True,
        "user_id": "usr_id-1",
        "external_id": "user_123",
        "message": "User saved successfully",
    }


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
@pytest.mark.parametrize(
    ("failure", "again", "reason"),
    [
        (OutboxFull("backlog"), "30", "backlog_full"),
        (OutboxFull("disk"), "30", "disk_full"),
        (OutboxFull("destination_backlog", "d"), "30", "destination_backlog_full"),
        (OutboxUnavailable("x"), "5", "unavailable"),
    ],
)
def test_without_room_the_answer_is_the_vendors_503(vendor, failure, again, reason):
    shelf = Shelf(failure)
    reply = post(gateway(shelf), **sample(vendor))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, again)
    assert isinstance(reply.json(), dict)
    assert shelf.rejected == [(vendor.name, reason)]


def test_a_commit_that_stalls_is_a_503_in_time():
    reply = post(gateway(Shelf(stall=30.0), accept_timeout=0.05), **sample(VENDORS["appizer"]))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    words = "Trackgate did not hear within 0.05 s that this is stored; try again later."
    assert reply.json()["message"] == words


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_every_error_has_the_vendors_shape(vendor):
    """The keys of a 400 are those of every other error."""
    source = Source(name="mine", vendor=vendor, keys=(Secret("right"),))
    app = gateway(Shelf(), source, max_body=1000)
    track = f"/mine{vendor.endpoints[0].path}"
    good, wrong = vendor.sample("", "right").headers, vendor.sample("", "wrong").headers
    limit = vendor.endpoints[0].max_body or 1000
    replies = {
        400: post(app, track, headers=good, content=b"{"),
        401: post(app, track, headers=wrong, content=b"{}"),
        404: post(app, "/mine/v1/nothing", headers=good, content=b"{}"),
        405: ask(app, "PUT", track, headers=good, content=b"{}"),
        413: post(app, track, headers=good, content=b" " * (limit + 1)),
        415: post(app, track, headers={**good, "content-encoding": "gzip"}, content=b"{}"),
    }
    expected = {status: status for status in replies} | {413: 400 if vendor.name == "thrivestack" else 413}
    assert {status: reply.status_code for status, reply in replies.items()} == expected
    shape = set(replies[400].json())
    assert all(shape >= set(reply.json()) for reply in replies.values())
    assert replies[405].headers["allow"] == "POST"


def test_a_body_that_never_ends_is_cut_at_the_limit():
    async def endless():
        for _ in range(10_000):
            yield b" " * 1000

    shelf = Shelf()
    reply = post(gateway(shelf, max_body=10_000), "/v1/track", headers={"authorization": "Token k"}, content=endless())
    assert reply.status_code == 413
    assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("stated", [True, False], ids=["content-length", "chunked"])
def test_a_body_over_thrivestacks_own_limit_is_its_documented_400_and_counted_as_too_large(stated):
    """...and the connection is closed as for a 413: the rest of such a body may still be on its way."""

    async def endless():
        while True:
            yield b" " * 2**20

    shelf = Shelf()
    headers = {**sample(VENDORS["thrivestack"])["headers"], **({"content-length": str(10**9)} if stated else {})}
    reply = post(gateway(shelf), "/thrivestack/api/track", headers=headers, content=endless())
    assert reply.status_code == 400
    assert reply.json() == {
        "success": False,
        "status": "error",
        "message": "The body is over the limit of 2000000 bytes.",
        "error_code": "invalid",
    }
    assert reply.headers["connection"] == "close"
    assert shelf.rejected == [("thrivestack", "too_large")]


def test_a_body_that_does_not_arrive_is_a_408():
    async def stuck():
        yield b"{"
        await asyncio.sleep(30)

    reply = post(
        gateway(Shelf(), body_timeout=0.05), "/v1/track", headers={"authorization": "Token k"}, content=stuck()
    )
    assert reply.status_code == 408


def test_a_caller_that_hangs_up_is_neither_told_nor_counted():
    """What a dying client leaves behind is no fault of ours, and was never received."""
    shelf, sent = Shelf(), []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    call = sample(VENDORS["appizer"])
    headers = [(name.encode(), value.encode()) for name, value in {**call["headers"], "host": "localhost"}.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": call["url"],
        "raw_path": call["url"].encode(),
        "headers": headers,
    }
    with capture_logs() as logs:
        asyncio.run(gateway(shelf)({**scope, "query_string": b"", "root_path": ""}, receive, send))
    assert (sent, shelf.rejected, logs) == ([], [], [])


@pytest.mark.parametrize(("headers", "read"), [({}, True), ({"expect": "100-continue"}, False)])
def test_a_body_that_is_somewhat_too_long_is_read_to_its_end_unless_its_caller_waits_for_our_word(headers, read):
    """A caller that is cut off while it sends often never hears why."""
    parts = []

    async def body():
        for part in [b"x" * 1000] * 20:
            parts.append(part)
            yield part

    call = sample(VENDORS["appizer"])
    headers = {**call["headers"], **headers, "content-length": "20000"}
    reply = post(gateway(Shelf(), max_body=5000), **{**call, "headers": headers, "content": body()})
    assert reply.status_code == 413
    assert (len(parts) == 20) == read


def test_trackgates_own_paths_say_in_its_own_words_what_they_take():
    for path in ("/livez", "/readyz", "/metrics"):
        reply = post(gateway(Shelf()), path)
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
        assert reply.json() == {"error": "Method Not Allowed; send a GET or a HEAD.", "status": 405}


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_trackgates_own_paths_answer_a_head_as_a_get(path):
    """Load balancers probe with it. The server keeps the body to itself."""
    app = gateway(Shelf())
    looked, probed = (ask(app, method, path) for method in ("GET", "HEAD"))
    assert (probed.status_code, probed.headers["content-type"]) == (200, looked.headers["content-type"])


def test_the_id_of_a_batch_is_its_first_events_and_found_in_the_log():
    call = sample(VENDORS["thrivestack"])
    with capture_logs() as logs:
        reply = post(
            gateway(Shelf()), call["url"], headers=call["headers"], json=[{"event_name": "a", "user_id": "u"}] * 2
        )
    assert reply.headers["trackgate-batch-id"] == "id-1"
    assert "trackgate-event-id" not in reply.headers
    lines = [(line["event_id"], line["batch_id"]) for line in logs if line["event"] == "event.accepted"]
    assert lines == [("id-1", "id-1"), ("id-2", "id-1")]


ONE = {"event_name": "a", "user_id": "u"}


@pytest.mark.parametrize(
    ("path", "body", "batch"),
    [
        ("/thrivestack/api/track", [ONE], "id-1"),
        ("/appizer/v1/events/batch", {"events": [ONE]}, "id-1"),
        ("/appizer/v1/events", ONE, None),
    ],
)
def test_a_batch_of_one_has_the_id_of_its_event_and_of_the_batch(path, body, batch):
    with capture_logs() as logs:
        reply = post(gateway(Shelf()), path, json=body)
    assert (reply.headers["trackgate-event-id"], reply.headers.get("trackgate-batch-id")) == ("id-1", batch)
    assert [(line["event_id"], line.get("batch_id")) for line in logs] == [("id-1", batch)]


def test_a_batch_that_comes_again_has_the_id_that_it_had_and_that_finds_an_event(tmp_path):
    async def main():
        kept = Sqlite(tmp_path)
        outbox = await kept.open()
        transport = httpx.ASGITransport(gateway(outbox))
        call: dict[str, Any] = {"headers": {"idempotency-key": "k1"}, "json": [ONE, {**ONE, "event_name": "b"}]}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first, again = [await client.post("/thrivestack/api/track", **call) for _ in range(2)]
        batch = first.headers["trackgate-batch-id"]
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["trackgate-batch-id"] == batch
        found = kept.find(batch)
        assert found is not None
        assert (found.event.id, found.event.name) == (batch, "a")
        await outbox.close()

    asyncio.run(main())


def test_a_batch_is_taken_whole_or_not_at_all():
    shelf = Shelf()
    event = {"event_name": "a", "user_id": "u"}
    headers = {"authorization": "Bearer k"}
    good = post(gateway(shelf), "/v1/events/batch", headers=headers, json={"events": [event] * 3})
    assert good.json()["processed_count"] == 3
    assert good.headers["trackgate-batch-id"]
    bad = post(gateway(shelf), "/v1/events/batch", headers=headers, json={"events": [event, {"event_name": "a"}]})
    assert bad.status_code == 400
    assert "event 1" in bad.text
    assert len(shelf.entries) == 3


def test_the_users_events_share_a_lane_whatever_their_source():
    shelf = Shelf()
    app = gateway(shelf)
    for call in (
        {"url": "/userpilot/v1/track", "json": {"user_id": "u", "event_name": "a"}},
        {"url": "/appizer/v1/events", "json": {"user_id": "u", "event_name": "b"}},
        {"url": "/flywheel/v1/events", "json": {"event": {"event": "c", "anonymous_id": "u"}}},
        {"url": "/flywheel/v1/events", "json": {"event": {"event": "d"}}},
        {"url": "/flywheel/v1/events", "json": {"event": {"event": "d"}}},
    ):
        assert post(app, **call).is_success
    lanes = [entry.lane for entry in shelf.entries]
    assert lanes[0] == lanes[1]
    assert len(set(lanes)) == 4


def test_what_makes_a_repeat_is_the_callers_id_and_the_content_in_any_order():
    shelf = Shelf()
    app = gateway(shelf)
    first = {"event": "a", "event_id": "e1", "user_id": "u", "properties": {"x": 1, "y": 2}}
    for event in (first, dict(reversed(first.items())), {**first, "properties": {"x": 2, "y": 2}}):
        post(app, "/flywheel/v1/events", json={"event": event})
    post(
        app,
        "/v1/track",
        headers={"authorization": "Token k", "idempotency-key": "k1"},
        json={"user_id": "u", "event_name": "a"},
    )
    one, same, other, keyed = (entry.dedupe for entry in shelf.entries)
    assert one == same
    assert (one.key, one.digest != other.digest) == (other.key, True)
    assert keyed.key == "key:0:k1"


def test_an_event_that_goes_in_circles_is_turned_away():
    call = sample(VENDORS["appizer"])
    shelf = Shelf()
    for hops, status in (("3", 200), ("9", 400), ("nonsense", 200)):
        reply = post(gateway(shelf), **{**call, "headers": {**call["headers"], "trackgate-hops": hops}})
        assert reply.status_code == status
    assert [entry.hops for entry in shelf.entries] == [3, 0]


def test_a_listed_origin_may_preflight_and_read_the_reply():
    source = Source(name="web", vendor=VENDORS["appizer"], auth="none", cors=("https://a.example",))
    app = gateway(Shelf(), source)
    asked = {"origin": "https://a.example", "access-control-request-headers": "authorization,content-type"}
    preflight = ask(app, "OPTIONS", "/v1/events", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    call = sample(VENDORS["appizer"])
    reply = post(app, **{**call, "headers": {**call["headers"], "origin": "https://a.example"}})
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    assert ask(app, "OPTIONS", "/v1/events", headers={**asked, "origin": "https://b.example"}).status_code == 403


def test_a_listed_page_may_read_that_it_was_turned_away():
    source = Source(name="web", vendor=VENDORS["appizer"], keys=(Secret("k"),), cors=("https://a.example",))
    for origin, readable in (("https://a.example", True), ("https://b.example", False)):
        headers = {"origin": origin, "authorization": "Bearer wrong"}
        reply = post(gateway(Shelf(), source), "/v1/events", headers=headers, json={})
        assert reply.status_code == 401
        assert ("access-control-allow-origin" in reply.headers) is readable


def test_neither_logs_nor_errors_repeat_what_the_caller_sent():
    bodies = [
        {"user_id": CANARY, "event_name": CANARY, "metadata": {"k": CANARY}},
        {"user_id": CANARY, "event_name": 5},
        {"user_id": 5, CANARY: CANARY},
        [CANARY],
    ]
    app = gateway(Shelf())
    with capture_logs() as logs:
        replies = [
            post(app, f"/userpilot/v1/track?{CANARY}", headers={"authorization": f"Token {CANARY}"}, json=body)
            for body in bodies
        ]
        replies.append(post(app, f"/{CANARY}/v1/track", headers={"authorization": CANARY}, json={}))
    assert [reply.status_code for reply in replies] == [202, 400, 400, 400, 404]
    assert CANARY not in repr(logs)
    assert not any(CANARY in reply.text for reply in replies)


def test_a_bug_in_a_dialect_keeps_nothing_and_asks_to_try_again(monkeypatch):
    shelf = Shelf()
    monkeypatch.setattr(type(VENDORS["appizer"]), "decode", lambda *_: 1 / 0)
    reply = post(gateway(shelf), **sample(VENDORS["appizer"]))
    assert reply.status_code == 503
    assert not shelf.entries


def test_a_bug_behind_the_commit_claims_nothing_of_what_was_kept(monkeypatch):
    shelf = Shelf()
    monkeypatch.setattr(type(VENDORS["appizer"]), "accept", lambda *_, **__: 1 / 0)
    reply = post(gateway(shelf), **sample(VENDORS["appizer"]))
    assert reply.status_code == 503
    words = "Trackgate stumbled over this call and does not promise that it kept it; try again."
    assert reply.json()["message"] == words
    assert len(shelf.entries) == 1


PATHS = [endpoint.path for vendor in VENDORS.values() for endpoint in vendor.endpoints]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("event", "event_name", "user_id", "events", "properties", "metadata", "context", "timestamp", "company")
NEAR = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(VENDORS)),
    st.sampled_from(PATHS),
    st.binary() | NEAR.map(msgspec.json.encode) | JSON.map(msgspec.json.encode),
)
def test_no_body_is_ever_a_server_error(name, path, body):
    """Whatever is posted is taken, or turned away with a 4xx; what is taken is stored."""
    shelf = Shelf()
    reply = post(gateway(shelf), f"/{name}{path}", content=body)
    assert reply.status_code < 500, reply.text
    assert reply.is_success == bool(shelf.entries)


@pytest.mark.parametrize(
    ("url", "content", "told"),
    [
        ("/userpilot/v1/track", b'{"user_id"', {"source": "userpilot", "reason": "invalid", "flaw": "syntax"}),
        ("/userpilot/v1/track", b"\xff", {"source": "userpilot", "reason": "invalid", "flaw": "syntax"}),
        ("/userpilot/v1/track", b" ", {"source": "userpilot", "reason": "invalid", "flaw": "empty"}),
        ("/userpilot/v1/track", b"[" * 150 + b"]" * 150, {"source": "userpilot", "reason": "invalid", "flaw": "depth"}),
        (
            "/userpilot/v1/track",
            b'{"event_name":"e"}',
            {"source": "userpilot", "reason": "invalid", "field": "user_id", "flaw": "missing"},
        ),
        ("/nowhere", b"", {"source": "(none)", "reason": "not_found"}),
        ("/v1/events", b"{}", {"source": "(none)", "reason": "unauthorized", "flaw": "missing"}),
    ],
)
def test_a_rejection_is_logged_with_the_source_as_status_has_it_and_what_is_wrong(url, content, told):
    shelf = Shelf()
    with capture_logs() as logs:
        reply = post(gateway(shelf), url=url, content=content)
    line = {name: value for name, value in logs[0].items() if name not in {"event", "log_level", "status"}}
    assert (logs[0]["event"], logs[0]["status"], line) == ("event.rejected", reply.status_code, told)
    assert shelf.rejected == [("" if told["source"] == "(none)" else told["source"], told["reason"])]
