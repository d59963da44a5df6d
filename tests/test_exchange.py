"""A call and its reply over real sockets: what an application may rely on, and what its caller hears if it fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.serving import CALL, CLOSE, GUARD, echo, serving, talk
from trackgate import connection


def reply(*parts, headers=(), status=200):
    """An application that answers at once with these parts."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


async def fails(scope, receive, send):
    raise LookupError


async def says_nothing(scope, receive, send):
    pass


async def stops_halfway(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})


def test_a_reply_without_a_length_gets_that_of_its_body():
    said = talk(CALL % b"", CALL % CLOSE, app=reply(b"four"))
    assert said.count(b"content-length: 4\r\n") == said.count(b"\r\n\r\nfour") == 2


def test_a_reply_in_parts_is_sent_as_it_comes():
    said = talk(CALL % CLOSE, app=reply(b"one", b"two", headers=[(b"content-length", b"6")]))
    assert said.endswith(b"\r\n\r\nonetwo")


def test_the_reply_to_a_head_call_has_no_body():
    said = talk(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", app=reply(b"four"))
    assert b"content-length: 4\r\n" in said
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "app",
    [
        fails,
        says_nothing,
        pytest.param(reply(b"", headers=[(b"x", b"y\r\nset-cookie: z")]), id="a header in a header"),
        pytest.param(reply(b"", headers=[(b"x", b"y\nz")]), id="a line break in a header"),
        pytest.param(reply(b"one", b"two"), id="parts of no known length"),
    ],
)
def test_an_application_that_does_not_answer_as_it_should_is_a_500_and_a_line_in_the_log(app, caplog):
    with caplog.at_level(logging.ERROR):
        said = talk(CALL % b"", app=app)
    assert said.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert said.count(b"HTTP/1.1") == 1
    assert b"set-cookie" not in said
    assert [record.name for record in caplog.records] == ["trackgate.exchange"]


@pytest.mark.parametrize("app", [stops_halfway, reply(b"1", headers=[(b"content-length", b"2")])])
def test_a_reply_that_breaks_its_promise_ends_its_connection(app, caplog):
    with caplog.at_level(logging.ERROR):
        said = talk(CALL % b"", app=app)
    assert said.count(b"HTTP/1.1") <= 1
    assert len(caplog.records) == 1


def test_a_caller_that_waits_for_our_word_hears_it_when_its_body_is_wanted():
    async def main():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, _, body = (CALL % (CLOSE + b"expect: 100-continue\r\n")).partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), GUARD)
            writer.write(body)
            said = await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return told, said

    told, said = asyncio.run(main())
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert said.endswith(b"\r\n\r\n5")


def test_a_caller_that_hangs_up_is_told_of_to_the_application():
    heard: list[str] = []

    async def app(scope, receive, send):
        while not heard or heard[-1] == "http.request":
            heard.append((await receive())["type"])

    async def main():
        async with serving(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((CALL % b"")[:-2])
            await writer.drain()
            writer.close()
            while "http.disconnect" not in heard:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), GUARD))


def test_a_caller_that_does_not_read_holds_the_application_and_not_its_memory():
    """32 MiB of replies to a caller that reads none of them do not pile up here."""
    written = 0

    async def app(scope, receive, send):
        nonlocal written
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 2**25)]})
        for _ in range(2**9):
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
            written += 2**16
        await send({"type": "http.response.body", "body": b""})

    async def main():
        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**10)
            writer.write(CALL % CLOSE)
            before = -1
            while before != written or not written:
                before = written
                await asyncio.sleep(0.2)
            held = written
            while await reader.read(2**16):
                pass
            writer.close()
            return held

    assert asyncio.run(asyncio.wait_for(main(), GUARD)) < 2**25
    assert written == 2**25


def test_a_connection_between_two_calls_is_idle_for_as_long_as_it_may_and_no_longer(monkeypatch):
    """The deadline of a head does not hold for what comes after it."""
    monkeypatch.setattr(connection, "KEEP_ALIVE", 0.6)

    async def main():
        async with serving(echo, header_timeout=0.2) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(CALL % b"")
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n5"), GUARD)
                await asyncio.sleep(0.3)
            rest = await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return rest

    assert asyncio.run(main()) == b""
