"""The owner's paths as a worker answers them, where the caller or the owner does not do its part."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from itertools import repeat
from typing import Any

import pytest

from trackgate.app import relay
from trackgate.app.lifetime import serve_beside
from trackgate.app.relay import AT_A_TIME, MAX_BODY, Relay
from trackgate.server import Bounds, Server
from trackgate.unix_socket import listening

NAME = "owner.sock"
WHOLE = {"type": "http.request", "body": b"", "more_body": False}
HALF = {"type": "http.request", "body": b"{", "more_body": True}


def call(method, *headers):
    return {
        "type": "http", "method": method, "raw_path": b"/readyz", "query_string": b"",
        "headers": [(b"host", b"here"), *headers],
    }  # fmt: skip


class Caller:
    """What it sends, and then nothing more; what it hears."""

    def __init__(self, *messages):
        self._messages = iter(messages)
        self._heard: list[dict[str, Any]] = []

    async def receive(self):
        for message in self._messages:
            return message
        return await asyncio.get_running_loop().create_future()

    async def send(self, message):
        self._heard.append(message)

    @property
    def status(self):
        return self._heard[0]["status"]

    @property
    def body(self):
        return json.loads(self._heard[1]["body"])


class Owner:
    """Answers every call with what came."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        names = [name.decode() for name, _ in scope["headers"]]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"names": names}).encode()})


async def silent(_scope, _receive, _send):
    await asyncio.get_running_loop().create_future()


def relayed(folder, step, app, body_timeout=60.0, look_patience=60.0):
    """Run a step with a relay to a process that answers so, or to none."""

    async def go():
        async with AsyncExitStack() as stack:
            if app is not None:
                listener = stack.enter_context(listening(folder, NAME))
                await serve_beside(stack, Server(app, Bounds(connections=AT_A_TIME), grace=1), listener)
            one = Relay(str(folder / NAME), body_timeout=body_timeout, patience=0.0, look_patience=look_patience)
            stack.push_async_callback(one.close)
            await step(one)

    asyncio.run(go())


def ask(folder, app, scope, *messages, body_timeout=60.0):
    """What one caller hears."""
    caller = Caller(*messages)

    async def step(one):
        await one(scope, caller.receive, caller.send)

    relayed(folder, step, app, body_timeout)
    return caller


@pytest.mark.parametrize("framing", [(b"content-length", b"10"), (b"transfer-encoding", b"chunked")])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_who_looks_is_answered_whatever_body_was_promised(tmp_path, framing, method):
    owner, caller = Owner(), Caller()

    async def step(one):
        await one.look(call(method, framing), caller.receive, caller.send)

    relayed(tmp_path, step, owner)
    assert caller.status == 200
    assert owner.bodies == [b""]


def test_who_looks_at_an_owner_that_does_not_answer_hears_so_soon(tmp_path):
    caller = Caller()

    async def step(one):
        await one.look(call("GET"), caller.receive, caller.send)

    relayed(tmp_path, step, silent, look_patience=0.01)
    assert (caller.status, caller.body["error"]) == (503, "unavailable")


def test_what_is_asked_by_get_goes_on_without_a_body(tmp_path):
    owner = Owner()
    caller = ask(tmp_path, owner, call("GET", (b"content-length", b"10"), (b"accept", b"*/*")))
    assert (caller.status, owner.bodies) == (200, [b""])
    assert caller.body == {"names": ["host", "accept"]}


def test_a_body_goes_on_in_one_piece(tmp_path):
    owner = Owner()
    rest = {"type": "http.request", "body": b"}", "more_body": False}
    caller = ask(tmp_path, owner, call("POST", (b"transfer-encoding", b"chunked")), HALF, rest)
    assert (caller.status, owner.bodies) == (200, [b"{}"])
    assert caller.body == {"names": ["host", "content-length"]}


def test_callers_that_never_finish_their_bodies_take_nobodys_turn(tmp_path):
    stuck = [Caller(HALF) for _ in range(2 * AT_A_TIME)]
    caller = Caller(WHOLE)

    async def step(one):
        post = call("POST", (b"content-length", b"10"))
        waiting = [asyncio.create_task(one(post, each.receive, each.send)) for each in stuck]
        await asyncio.sleep(0)
        await one(call("POST"), caller.receive, caller.send)
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    relayed(tmp_path, step, Owner())
    assert caller.status == 200


def test_a_body_that_does_not_come_in_time_is_a_408(tmp_path):
    owner = Owner()
    caller = ask(tmp_path, owner, call("POST", (b"content-length", b"10")), HALF, body_timeout=0.01)
    assert (caller.status, owner.bodies) == (408, [])
    assert caller.body["message"] == "The body did not arrive within 0.01 s."


def test_a_body_without_end_is_a_413_as_soon_as_it_is_too_long(tmp_path):
    owner = Owner()
    part = {"type": "http.request", "body": b" " * (MAX_BODY // 4), "more_body": True}
    caller = ask(tmp_path, owner, call("POST"), *repeat(part, 5))
    assert (caller.status, owner.bodies) == (413, [])


def test_a_caller_that_hangs_up_is_told_nothing(tmp_path):
    owner = Owner()
    caller = ask(tmp_path, owner, call("POST"), HALF, {"type": "http.disconnect"})
    assert (caller._heard, owner.bodies) == ([], [])


def test_headers_that_cannot_be_passed_on_are_the_callers_fault(tmp_path):
    caller = ask(tmp_path, Owner(), call("GET", (b"host", b"there")))
    assert (caller.status, caller.body["error"]) == (400, "bad_request")


def test_an_owner_that_does_not_answer_is_a_503(tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "REPLY_PATIENCE", 0.05)
    caller = ask(tmp_path, silent, call("GET"))
    assert (caller.status, caller.body["message"]) == (503, "The gateway is busy; ask again later.")


def test_an_owner_that_is_gone_is_a_503(tmp_path):
    caller = ask(tmp_path, None, call("GET"))
    assert (caller.status, caller.body["message"]) == (503, "The gateway is ending; ask again later.")
