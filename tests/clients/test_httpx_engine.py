"""The httpx engine with its transport mocked: what tests of other parts rely on."""

from __future__ import annotations

import asyncio
import ssl

import httpx
import respx

from trackgate.clients.httpx_engine import HttpxClient
from trackgate.clock import SystemClock
from trackgate.model import Call, NoReply, Reply

CALL = Call(url="https://analytics.example/v1/track", headers={"authorization": "Token k"}, body=b'{"a": 1}')


def send(call: Call) -> Reply | NoReply:
    async def once() -> Reply | NoReply:
        client = HttpxClient(SystemClock(), "1.2.3")
        try:
            return await client.send(call, 5.0)
        finally:
            await client.close()

    return asyncio.run(asyncio.wait_for(once(), 20))


@respx.mock
def test_a_call_maps_to_a_request_and_a_response_to_a_reply():
    route = respx.post(CALL.url).respond(202, headers={"Retry-After": "3"}, json={"ok": True})
    reply = send(CALL)
    request = route.calls.last.request
    assert request.headers["authorization"] == "Token k"
    assert request.headers["user-agent"] == "trackgate/1.2.3"
    assert request.content == CALL.body
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body, reply.complete) == (202, b'{"ok":true}', True)
    assert reply.headers["retry-after"] == "3"


@respx.mock
def test_a_mocked_failure_is_no_reply():
    respx.post(CALL.url).mock(side_effect=httpx.ConnectError("no route"))
    assert send(CALL) == NoReply("connect", "no connection could be made")


@respx.mock
def test_a_mocked_timeout_is_no_reply():
    respx.post(CALL.url).mock(side_effect=httpx.ReadTimeout("slow"))
    result = send(CALL)
    assert isinstance(result, NoReply)
    assert result.reason == "timeout"


def test_a_certificate_that_does_not_hold_is_a_fault_that_says_why():
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"
    failed = httpx.ConnectError("whatever")
    failed.__cause__ = refused
    assert HttpxClient(SystemClock(), "1").explain(failed) == NoReply("connect", "self-signed certificate")
