"""The running program against callers that break the rules, or follow them to the letter where few do."""

from __future__ import annotations

import json
import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.program.running import VENDORS, appizer, arrived, metrics, stage, until

BEARER = "authorization: Bearer in-appizer"


@pytest.fixture(scope="module")
def its(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(its):
    return its.start()


def raw(gateway, *parts, hang_up=False):
    """What comes back for these bytes on one connection, until the gateway closes it."""
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
        for part in parts:
            sock.sendall(part)
        if hang_up:
            return b""
        said = b""
        while piece := sock.recv(65_536):
            said += piece
        return said


def call(body, *headers, path="/v1/events", method="POST", version="1.1"):
    """An Appizer call, byte by byte."""
    lines = [f"{method} {path} HTTP/{version}", "host: 127.0.0.1", BEARER, f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def accepted(gateway, source="appizer"):
    return metrics(gateway).get(f'trackgate_accepted_total{{source="{source}"}}', 0)


CLOSE = "connection: close"
EVENT = json.dumps(appizer(1)).encode()


def test_a_full_batch_is_stored_once_and_answered_as_stored(gateway):
    """A body far beyond the limit on headers is no header, whoever sends it in one piece."""
    before = accepted(gateway, "thrivestack")
    events = [{"event_name": "filled", "user_id": f"user-{n}", "properties": {"pad": "x" * 100}} for n in range(1000)]
    reply = httpx.post(f"{gateway.url}/api/track", headers={"x-api-key": "in-thrivestack"}, json=events)
    assert reply.status_code == 200
    assert accepted(gateway, "thrivestack") - before == 1000


@pytest.mark.parametrize("size", [40_000, 900_000])
def test_a_large_event_arrives_at_those_that_take_one(its, gateway, size):
    body = json.dumps({**appizer(1), "properties": {"pad": "x" * size}}).encode()
    said = raw(gateway, call(body, CLOSE))
    assert said.startswith(b"HTTP/1.1 200")
    event_id = said.partition(b"trackgate-event-id: ")[2].partition(b"\r\n")[0].decode()
    assert {seen["vendor"] for seen in arrived(its.sandbox.url, event_id, 3)} == set(VENDORS) - {"userpilot"}


def test_a_call_that_asks_for_http2_is_taken_as_it_is(gateway):
    """As Java's HttpClient does by default."""
    asked = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__")
    said = raw(gateway, call(EVENT, *asked), call(EVENT, CLOSE))
    assert said.count(b"HTTP/1.1 200") == 2


def test_pipelined_calls_are_answered_in_order(gateway):
    said = raw(gateway, call(EVENT) + call(b"{}") + call(EVENT) + call(EVENT, CLOSE, path="/nothing"))
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"400", b"200", b"404"]


def test_an_older_http_is_taken(gateway):
    assert b" 200 OK" in raw(gateway, call(EVENT, version="1.0"))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/events?key=x", 200),
        ("/v1/%65vents", 200),
        ("http://somewhere.example/v1/events", 200),
        ("/appizer/v1/events", 200),
        ("/v1/events/", 404),
        ("//v1/events", 404),
        ("/v1/../v1/events", 404),
        ("/%2e%2e/v1/events", 404),
        ("/Appizer/v1/events", 404),
        ("/v1/events%00", 404),
        ("/v1/%ff", 404),
        ("*", 404),
        ("/-/nothing", 404),
        ("/livez/", 405),
    ],
)
def test_paths_are_taken_by_the_letter(gateway, path, status):
    said = raw(gateway, call(EVENT, CLOSE, path=path))
    assert int(said.split()[1]) == status
    assert b"Traceback" not in said


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT"])
def test_other_methods_hear_what_is_taken(gateway, method):
    said = raw(gateway, call(b"", CLOSE, method=method))
    assert said.startswith(b"HTTP/1.1 405")
    assert b"\r\nallow: POST\r\n" in said


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nhost : x\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_400_and_ends_the_connection(gateway, said):
    assert raw(gateway, said).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "value",
    [
        b'"\\ud800"', b'{"\\udfff":1}', b"NaN", b"-Infinity", b"1e400", b"9" * 5000, b"[" * 100 + b"]" * 100, b'"\xff"',
        b'"', b"",
    ],
)  # fmt: skip
def test_what_cannot_be_kept_faithfully_is_turned_away(gateway, value):
    before = accepted(gateway)
    said = raw(gateway, call(b'{"event_name":"a","user_id":"u","properties":{"x":%b}}' % value, CLOSE))
    assert said.startswith(b"HTTP/1.1 400")
    assert accepted(gateway) == before


@pytest.mark.parametrize(
    "value",
    [b"9" * 4000, b"-9223372036854775809", b"1e-400", b"0.1", b"[" * 90 + b"]" * 90, b'"\\u0000\\ud83d\\ude00"'],
)
def test_what_can_be_kept_arrives_as_it_was_said(its, gateway, value):
    """At the vendor that takes any JSON."""
    said = raw(gateway, call(b'{"event_name":"a","user_id":"u","properties":{"x":%b}}' % value, CLOSE))
    event_id = said.partition(b"trackgate-event-id: ")[2].partition(b"\r\n")[0].decode()
    seen = next(each for each in arrived(its.sandbox.url, event_id, 4) if each["vendor"] == "appizer")
    assert seen["body"]["properties"]["x"] == json.loads(value)


def test_a_caller_that_hangs_up_in_the_middle_leaves_nothing_behind(gateway):
    before = metrics(gateway)
    for _ in range(5):
        raw(gateway, call(EVENT)[:-5], hang_up=True)
    raw(gateway, call(EVENT, CLOSE))
    until(lambda: accepted(gateway) == before['trackgate_accepted_total{source="appizer"}'] + 1)
    after = metrics(gateway)
    received = 'trackgate_received_total{source="appizer"}'
    assert after[received] - before[received] == 1
    assert not [line for line in gateway.log() if line["level"] == "error"]


def test_a_caller_that_sends_too_much_hears_so(gateway):
    """Also one that reads nothing before it has sent everything."""
    assert raw(gateway, call(b"x" * 5_000_000, CLOSE)).startswith(b"HTTP/1.1 413")


def test_the_gateway_is_well_after_all_that(gateway):
    reply = httpx.get(f"{gateway.url}/readyz")
    assert reply.status_code == 200
    assert reply.json()["status"] == "ready"
