"""Who may call where anybody can knock."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from trackgate.config import Secret, SecretUnreadable, Server
from trackgate.operate.tokens import Guarded


async def _app(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


def knock(method, authorization, *, read="reads", act="acts"):
    server = Server(read_token=read and Secret(read), act_token=act and Secret(act))
    headers = {} if authorization is None else {"authorization": authorization}

    async def go():
        app: Any = Guarded(_app, server)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, "/-/status", headers=headers)

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("method", "authorization", "status"),
    [
        ("GET", "Bearer reads", 200),
        ("GET", "bearer reads", 200),
        ("GET", "Bearer acts", 200),
        ("POST", "Bearer acts", 200),
        ("POST", "Bearer reads", 403),
        ("DELETE", "Bearer reads", 403),
        ("GET", None, 401),
        ("GET", "Bearer", 401),
        ("GET", "Bearer ", 401),
        ("GET", "Bearer read", 401),
        ("GET", "Bearer readss", 401),
        ("GET", "reads", 401),
        ("GET", "Basic reads", 401),
        ("GET", b"Bearer \xff\xe9", 401),
        ("POST", None, 401),
        ("POST", "Bearer wrong", 401),
    ],
)
def test_the_read_token_reads_and_the_act_token_does_everything(method, authorization, status):
    reply = knock(method, authorization)
    assert reply.status_code == status, reply.text
    assert ("www-authenticate" in reply.headers) == (status == 401)


@pytest.mark.parametrize(
    ("tokens", "method", "authorization", "status", "words"),
    [
        ({"read": None, "act": None}, "GET", None, 404, "server.read_token"),
        ({"read": None, "act": None}, "GET", "Bearer ", 404, "TRACKGATE_READ_TOKEN"),
        ({"read": None, "act": None}, "POST", "Bearer None", 404, "TRACKGATE_ACT_TOKEN"),
        ({"read": None}, "GET", None, 401, "server.act_token"),
        ({"read": None}, "GET", "Bearer acts", 200, ""),
        ({"act": None}, "POST", "Bearer reads", 404, "server.act_token"),
        ({"act": None}, "GET", "Bearer reads", 200, ""),
        ({"act": None}, "GET", "Bearer ", 401, "server.read_token"),
    ],
)
def test_a_token_that_is_not_set_opens_nothing_and_its_key_is_named(tokens, method, authorization, status, words):
    reply = knock(method, authorization, **tokens)
    assert (reply.status_code, words in reply.text) == (status, True), reply.text


def test_an_empty_secret_is_no_token(tmp_path):
    (tmp_path / "token").write_text("\n")
    for empty in (Secret(""), Secret(tmp_path / "token")):
        with pytest.raises(SecretUnreadable):
            Guarded(_app, Server(read_token=empty))
