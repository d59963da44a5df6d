"""What every engine promises, whatever the upstream does: each property is held against a hostile server.

One file, long as it is: it is the one contract that an engine has to keep.
"""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from trackgate.client import MAX_REPLY
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.clients.httpx_engine import HttpxClient
from trackgate.model import Call, NoReply, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from trackgate.client import Client

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "canary-of-a-secret"
GUARD = 20.0
"""Seconds after which a test that hangs is failed."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNASKED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 7\r\n\r\nunasked"


class StoppedClock:
    def now(self) -> datetime:
        return AT

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@pytest.fixture(params=[AsyncioClient, HttpxClient])
def engine(request) -> Callable[..., Client]:
    """An engine's class, bound to a clock and a version."""

    def build(**options: Any) -> Client:
        client: Client = request.param(StoppedClock(), "1.2.3", **options)
        return client

    return build


def call(url: str, path: str = "/v1/track", headers: dict[str, str] | None = None) -> Call:
    return Call(
        url=f"{url}{path}?key={SECRET}",
        headers={"content-type": "application/json", "authorization": f"Token {SECRET}", **(headers or {})},
        body=b'{"user_id": "' + SECRET.encode() + b'"}',
    )


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, GUARD))


def exchange(
    hostile, engine, answer, deadline: float = 5.0, headers: dict[str, str] | None = None
) -> tuple[Reply | NoReply, Any]:
    """One call to a server with this answer: what ``send`` gave, and the server as it stands afterwards."""

    async def once() -> tuple[Reply | NoReply, Any]:
        async with hostile(answer) as server:
            client = engine()
            try:
                return await client.send(call(server.url, headers=headers), deadline), server
            finally:
                await client.close()

    return asyncio.run(asyncio.wait_for(once(), GUARD))


def reply_of(result: Reply | NoReply) -> Reply:
    assert isinstance(result, Reply), result
    return result


BOMB = gzip.compress(b"\0" * 10_000_000)

REPLIES: dict[str, tuple[Callable[..., Answer], int, bytes, bool]] = {
    "plain": (lambda says: says(OK), 200, b"ok", True),
    "no content": (lambda says: says(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, b"", True),
    "an error": (lambda says: says(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy"), 503, b"busy", True),
    "a status nobody defined": (lambda says: says(b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n"), 799, b"", True),
    "chunked": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"2\r\nbc\r\n0\r\n\r\n"),
        200,
        b"abc",
        True,
    ),
    "until the end of the connection": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", then="close"),
        200,
        b"abc",
        True,
    ),
    "HTTP/1.0": (lambda says: says(b"HTTP/1.0 200 OK\r\n\r\nabc", then="close"), 200, b"abc", True),
    "early hints and a needless continue": (
        lambda says: says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", OK),
        200,
        b"ok",
        True,
    ),
    "cut": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"abc", then="close"),
        200,
        b"abc",
        False,
    ),
    "cut before its first byte": (
        lambda says: says(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", then="close"),
        202,
        b"",
        False,
    ),
    "reset": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"abc", then="reset"),
        200,
        b"abc",
        False,
    ),
    "chunks cut": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", then="close"),
        200,
        b"abc",
        False,
    ),
    "chunks of garbage": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", b"zebra\r\n"),
        200,
        b"abc",
        False,
    ),
    "stalled": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"abc", then="hang"),
        200,
        b"abc",
        False,
    ),
    "stalled before its first byte": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", then="hang"),
        200,
        b"",
        False,
    ),
    "just as long as we read": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_REPLY, b"x" * MAX_REPLY),
        200,
        b"x" * MAX_REPLY,
        True,
    ),
    "longer than we read": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_REPLY + 1), b"x" * (MAX_REPLY + 1)),
        200,
        b"x" * MAX_REPLY,
        False,
    ),
    "endless": (
        lambda says: says(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"4000\r\n" + b"x" * 0x4000 + b"\r\n",
            then="repeat",
        ),
        200,
        b"x" * MAX_REPLY,
        False,
    ),
    "a compression bomb": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
        200,
        BOMB,
        True,
    ),
    "garbage in the name of compression": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"),
        200,
        b"abc",
        True,
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_once_the_head_came_it_is_a_reply_whatever_becomes_of_the_body(hostile, says, engine, name):
    answer, status, body, complete = REPLIES[name]
    deadline = 0.5 if name.startswith("stalled") else 5.0
    result, server = exchange(hostile, engine, answer(says), deadline=deadline)
    reply = reply_of(result)
    assert (reply.status, reply.body, reply.complete, reply.at) == (status, body, complete, AT)
    assert len(server.calls) == 1


FAULTS: dict[str, tuple[Callable[..., Answer], set[str]]] = {
    "closed": (lambda says: says(then="close"), {"network"}),
    "reset": (lambda says: says(then="reset"), {"network"}),
    "silent": (lambda says: says(then="hang"), {"timeout"}),
    "half a status line": (lambda says: says(b"HTTP/1.1 20", then="close"), {"network", "protocol"}),
    "half a head": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nX-A: " + SECRET.encode(), then="close"),
        {"network", "protocol"},
    ),
    "half a head, then silence": (lambda says: says(b"HTTP/1.1 200 OK\r\nX-A: b\r\n", then="hang"), {"timeout"}),
    "half a head, then a reset": (lambda says: says(b"HTTP/1.1 200 OK\r\nX-A: b\r\n", then="reset"), {"network"}),
    "a head, drop by drop": (lambda says: says(OK, pause=0.05), {"timeout"}),
    "another protocol": (lambda says: says(b"SSH-2.0-" + SECRET.encode() + b"\r\n\r\n", then="close"), {"protocol"}),
    "a status that is no number": (lambda says: says(b"HTTP/1.1 abc OK\r\n\r\n"), {"protocol"}),
    "a status below 100": (lambda says: says(b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"), {"protocol"}),
    "a header without a name": (
        lambda says: says(b"HTTP/1.1 200 OK\r\n: " + SECRET.encode() + b"\r\n\r\n"),
        {"protocol"},
    ),
    "a length that is no number": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: " + SECRET.encode() + b"\r\n\r\n"),
        {"protocol"},
    ),
    "two lengths": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        {"protocol"},
    ),
    "a head without end": (
        lambda says: says(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n"),
        {"protocol"},
    ),
    "switched protocols": (
        lambda says: says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        {"protocol"},
    ),
    "continues and never comes": (lambda says: says(b"HTTP/1.1 100 Continue\r\n\r\n", then="hang"), {"timeout"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_before_the_head_came_it_is_a_fault_that_quotes_nothing(hostile, says, engine, name):
    answer, reasons = FAULTS[name]
    result, server = exchange(hostile, engine, answer(says), deadline=0.2 if reasons == {"timeout"} else 5.0)
    assert isinstance(result, NoReply), result
    assert result.reason in reasons
    assert result.detail
    assert SECRET not in repr(result)
    assert "127.0.0.1" not in result.detail
    assert len(server.calls) == 1


def test_a_refused_connection_is_a_failure_to_connect_that_says_so(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            url = server.url
        client = engine()
        result = await client.send(call(url), 5.0)
        await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "connect"
        assert "Connection refused" in result.detail
        assert SECRET not in repr(result)

    run(test())


def test_tls_to_a_server_without_tls_is_a_failure_to_connect(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK), greeting=b"220 mail.example ESMTP\r\n") as server:
            client = engine()
            result = await client.send(call(server.url.replace("http:", "https:")), 5.0)
            await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "connect"
        assert result.detail

    run(test())


def test_the_call_arrives_byte_for_byte_with_the_same_head_from_every_engine(hostile, says, engine):
    result, server = exchange(hostile, engine, says(OK), headers={"x-api-version": "2020-09-22"})
    reply_of(result)
    head, _, body = server.calls[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert first == f"POST /v1/track?key={SECRET} HTTP/1.1"
    assert len(headers) == len(lines)
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "trackgate/1.2.3",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "authorization": f"Token {SECRET}",
        "x-api-version": "2020-09-22",
        "content-length": str(len(body)),
    }
    assert body == call("").body


def test_an_empty_body_has_its_length_stated_too(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            client = engine()
            reply_of(await client.send(Call(url=server.url + "/x", headers={}, body=b""), 5.0))
            await client.close()
        assert b"content-length: 0\r\n" in server.calls[0].lower()

    run(test())


def test_framing_is_the_engines_own_whatever_the_call_says(hostile, says, engine):
    result, server = exchange(
        hostile, engine, says(OK), headers={"content-length": "3", "transfer-encoding": "chunked"}
    )
    reply_of(result)
    assert server.calls[0].endswith(call("").body)
    assert b"chunked" not in server.calls[0]


def test_a_header_that_the_call_states_wins_over_ours(hostile, says, engine):
    result, server = exchange(hostile, engine, says(OK), headers={"user-agent": "another/2"})
    reply_of(result)
    assert b"another/2" in server.calls[0]
    assert b"trackgate/" not in server.calls[0]


ODD_VALUES = {
    "a line break": "key\n",
    "a smuggled header": "key\r\nX-Evil: 1",
    "a null": "key\0b",
    "a letter beyond ASCII": "key-schl\u00fcssel",
    "a snowman": "key\u2603",
    "a lone surrogate": "key\ud800",
    "a space before": " key",
    "a space behind": "key ",
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_a_header_value_that_http_does_not_allow_is_never_sent_and_never_quoted(hostile, says, engine, name):
    result, server = exchange(hostile, engine, says(OK), headers={"x-key": ODD_VALUES[name].replace("key", SECRET)})
    assert isinstance(result, NoReply)
    assert result.reason == "protocol"
    assert "x-key" in result.detail
    assert SECRET not in result.detail
    assert server.calls == []


def test_a_header_name_that_http_does_not_allow_is_never_sent(hostile, says, engine):
    result, server = exchange(hostile, engine, says(OK), headers={"bad name": "v"})
    assert isinstance(result, NoReply)
    assert result.reason == "protocol"
    assert server.calls == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://",
        "ftp://h/x",
        "http://[::1",
        "http://h:99999/",
        "http://h:p/",
        "http://u:p@h/x",
        "/v1/track",
    ],
)
def test_a_url_that_cannot_be_called_is_a_fault_with_words(engine, url):
    async def test() -> None:
        client = engine()
        result = await client.send(Call(url=url, headers={}, body=b""), 5.0)
        await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "protocol"
        assert "http" in result.detail

    run(test())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_reply_and_the_call_arrives_exactly_once(hostile, says, engine, status):
    async def test() -> None:
        async with hostile(says(OK)) as elsewhere:
            moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/x\r\nContent-Length: 0\r\n\r\n"
            async with hostile(says(moved.encode())) as server:
                client = engine()
                reply = reply_of(await client.send(call(server.url), 5.0))
                await client.close()
        assert reply.status == status
        assert reply.headers["location"] == f"{elsewhere.url}/x"
        assert (len(server.calls), len(elsewhere.calls)) == (1, 0)

    run(test())


def test_header_names_are_lower_case_and_same_names_are_joined(hostile, says, engine):
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 17\r\nX-ODD: a\r\nx-odd: b\r\nX-Odd: c\r\nContent-Length: 0\r\n\r\n"
    result, _ = exchange(hostile, engine, says(head))
    reply = reply_of(result)
    assert reply.headers["retry-after"] == "17"
    assert reply.headers["x-odd"] == "a, b, c"
    assert all(name == name.lower() for name in reply.headers)


def test_a_reply_header_that_is_not_text_costs_neither_the_reply_nor_the_other_headers(hostile, says, engine):
    head = b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nX-Odd: b\r\nRetry-After: 17\r\nContent-Length: 2\r\n\r\nok"
    result, _ = exchange(hostile, engine, says(head))
    reply = reply_of(result)
    assert reply.complete
    assert reply.headers["retry-after"] == "17"


def test_proxies_of_the_environment_are_ignored(hostile, says, engine, monkeypatch):
    async def test() -> None:
        async with hostile(says(OK)) as proxy, hostile(says(OK)) as server:
            for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, proxy.url)
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            client = engine()
            reply_of(await client.send(call(server.url), 5.0))
            await client.close()
        assert (proxy.connections, len(server.calls)) == (0, 1)

    run(test())


def test_cookies_are_not_kept(hostile, says, engine):
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"

    async def test() -> None:
        async with hostile(says(cookie)) as server:
            client = engine()
            for _ in range(2):
                reply_of(await client.send(call(server.url), 5.0))
            await client.close()
        assert len(server.calls) == 2
        assert b"cookie" not in server.calls[1].lower()

    run(test())


def test_a_connection_is_used_again(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            client = engine(connections=1)
            for _ in range(10):
                reply_of(await client.send(call(server.url), 5.0))
            await client.close()
        assert len(server.calls) == 10
        assert server.connections < 10

    run(test())


def in_turn(*answers: Answer) -> Answer:
    """An answer that differs from call to call; the last one stands for all further calls."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(reader, writer)

    return answer


def test_a_connection_that_the_server_closed_while_idle_is_not_used_and_nothing_is_sent_twice(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK, then="close")) as server:
            client = engine()
            for _ in range(3):
                reply_of(await client.send(call(server.url), 5.0))
                await asyncio.wait_for(server.gone.wait(), GUARD)
                server.gone.clear()
                await asyncio.sleep(0.05)  # until the client has heard of it
            await client.close()
        assert len(server.calls) == 3

    run(test())


def test_a_reply_that_nobody_asked_for_is_never_taken_for_the_next_calls(hostile, says, engine):
    """Some servers say a 408 on a connection that is idle."""

    async def grows_tired(reader, writer) -> None:
        await says(OK)(reader, writer)
        await asyncio.sleep(0.05)
        await says(UNASKED)(reader, writer)

    async def test() -> None:
        async with hostile(in_turn(grows_tired, says(OK))) as server:
            client = engine(connections=1)
            for _ in range(2):
                reply = reply_of(await client.send(call(server.url), 5.0))
                assert (reply.status, reply.body) == (200, b"ok")
                await asyncio.sleep(0.2)
            await client.close()
        assert len(server.calls) == 2

    run(test())


def test_a_name_with_several_addresses_is_reached_at_the_one_that_answers(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            client = engine()
            reply_of(await client.send(call(f"http://localhost:{server.port}"), 5.0))
            await client.close()
        assert f"host: localhost:{server.port}".encode() in server.calls[0].lower()

    run(test())


@pytest.mark.parametrize("host", ["nobody.invalid", f"{'nobody' * 11}.invalid"])
def test_a_name_that_cannot_be_looked_up_is_a_failure_to_connect(engine, host):
    async def test() -> None:
        client = engine()
        result = await client.send(call(f"http://{host}"), 5.0)
        await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "connect"
        assert result.detail
        assert "nobody" not in result.detail

    run(test())


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_kept_connection_that_ends_after_it_took_a_call_is_a_fault_and_the_call_is_not_repeated(
    hostile, says, engine, then
):
    async def test() -> None:
        async with hostile(in_turn(says(OK), says(then=then), says(OK))) as server:
            client = engine()
            reply_of(await client.send(call(server.url), 5.0))
            result = await client.send(call(server.url), 5.0)
            await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "network"
        assert len(server.calls) == 2

    run(test())


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_kept_connection_that_ends_amid_a_call_is_a_fault_and_the_call_is_not_repeated(hostile, says, engine, then):
    """As soon as one byte was written, nobody can know how much of the call was read."""

    async def one_byte_more(reader, writer) -> None:
        await says(OK)(reader, writer)
        assert await reader.read(1) == b"P"
        await says(then=then)(reader, writer)

    async def test() -> None:
        async with hostile(in_turn(one_byte_more, says(OK))) as server:
            client = engine()
            reply_of(await client.send(call(server.url), 5.0))
            result = await client.send(call(server.url), 5.0)
            await client.close()
        assert isinstance(result, NoReply)
        assert result.reason == "network"
        assert len(server.calls) == 1

    run(test())


def test_no_call_arrives_twice_where_the_server_closes_at_the_moment_that_the_next_is_sent(hostile, engine):
    """The race that no engine can win: no reply now and then, but never more calls at the server than were made."""

    async def hasty(reader, writer) -> None:
        writer.write(OK)
        writer.close()

    async def test() -> None:
        async with hostile(hasty) as server:
            client = engine()
            results = [await client.send(call(server.url), 5.0) for _ in range(100)]
            await client.close()
        replies = sum(isinstance(result, Reply) for result in results)
        assert replies <= len(server.calls) <= len(results)
        assert all(result.reason == "network" for result in results if isinstance(result, NoReply))

    run(test())


def test_fifty_calls_at_once_each_get_their_own_reply(hostile, engine):
    async def echo(reader, writer) -> None:
        path = server_of[0].calls[-1].split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    server_of: list[Any] = []

    async def test() -> None:
        async with hostile(echo) as server:
            server_of.append(server)
            client = engine()
            results = await asyncio.gather(*(client.send(call(server.url, f"/{n}"), 5.0) for n in range(50)))
            await client.close()
        assert [reply_of(result).body for result in results] == [f"/{n}?key={SECRET}".encode() for n in range(50)]
        assert len(server.calls) == 50

    run(test())


def test_no_more_calls_are_in_flight_than_the_client_may_have_connections(hostile, engine):
    most = now = 0

    async def count(reader, writer) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(OK)

    async def test() -> None:
        async with hostile(count) as server:
            client = engine(connections=3)
            results = await asyncio.gather(*(client.send(call(server.url), 5.0) for _ in range(12)))
            await client.close()
        assert all(reply_of(result).status == 200 for result in results)

    run(test())
    assert most == 3


def test_waiting_for_a_connection_counts_towards_the_deadline(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(then="hang")) as server:
            client = engine(connections=1)
            results = await asyncio.gather(*(client.send(call(server.url), 0.3) for _ in range(2)))
            await client.close()
        assert all(isinstance(result, NoReply) and result.reason == "timeout" for result in results)

    run(test())


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
def test_a_cancelled_call_gives_its_place_away_and_hangs_up_by_its_deadline(hostile, says, engine, head):
    async def test() -> None:
        async with hostile(in_turn(says(head, then="hang"), says(OK))) as server:
            client = engine(connections=1)
            sending = asyncio.ensure_future(client.send(call(server.url), 2.0))
            await server.called.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert reply_of(await client.send(call(server.url), 5.0)).body == b"ok"
            await asyncio.wait_for(server.gone.wait(), GUARD)
            await client.close()

    run(test())


def test_a_cancellation_that_meets_the_head_of_the_reply_is_heeded(hostile, says, engine):
    """At whichever moment it comes: fifty calls are cancelled just as their replies begin."""

    async def test() -> None:
        async with hostile(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", then="hang")) as server:
            client = engine(connections=50)
            for number in range(50):
                server.called.clear()
                sending = asyncio.ensure_future(client.send(call(server.url), GUARD))
                await server.called.wait()
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.wait_for(asyncio.shield(sending), GUARD / 2)
            await client.close()

    run(test())


def test_a_call_cancelled_while_it_waits_for_a_connection_is_never_sent(hostile, says, engine):
    async def test() -> None:
        async with hostile(in_turn(says(then="hang"), says(OK))) as server:
            client = engine(connections=1)
            first = asyncio.ensure_future(client.send(call(server.url), GUARD))
            await server.called.wait()
            second = asyncio.ensure_future(client.send(call(server.url), GUARD))
            await asyncio.sleep(0.05)
            second.cancel()
            first.cancel()
            await asyncio.gather(first, second, return_exceptions=True)
            reply_of(await client.send(call(server.url), 5.0))
            await client.close()
        assert len(server.calls) == 2

    run(test())


def test_closing_the_client_ends_the_calls_in_flight_as_faults(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(then="hang")) as server:
            client = engine()
            sending = asyncio.ensure_future(client.send(call(server.url), 1.0))
            await server.called.wait()
            await client.close()
            assert isinstance(await sending, NoReply)

    run(test())


def test_a_client_that_was_closed_answers_that_no_reply_came(hostile, says, engine):
    async def test() -> None:
        async with hostile(says(OK)) as server:
            client = engine()
            await client.close()
            await client.close()
            result = await client.send(call(server.url), 5.0)
        assert isinstance(result, NoReply)
        assert server.calls == []

    run(test())
