"""What a connection may cost before its call is read, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from trackgate.address import Address
from trackgate.server import Bounds, Server, address_of, bind

GUARD = 20


async def echo(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def turn_away(scope, receive, send):
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(app=echo, **bounds):
    sock = bind(Address("127.0.0.1", 0))
    server = Server(app, Bounds(**bounds), grace=1)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield address_of(sock).port
    finally:
        server.stop()
        await asyncio.wait_for(task, GUARD)


def talk(*parts, **bounds):
    """Everything that the server says to these bytes, until it closes."""

    async def main():
        async with serving(**bounds) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in parts:
                writer.write(part)
            said = await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return said

    return asyncio.run(main())


CALL = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n%b\r\nhello"
CLOSE = b"connection: close\r\n"


def test_a_call_within_bounds_is_served_and_pipelined_ones_in_order():
    said = talk(CALL % b"", CALL % b"", CALL % CLOSE)
    assert said.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("header", [b"x-big: " + b"a" * 70_000, b"\r\n".join(b"x-%d: y" % n for n in range(9000))])
def test_headers_that_are_too_long_are_refused(header):
    said = talk(b"POST / HTTP/1.1\r\nhost: x\r\n" + header)
    assert said.startswith(b"HTTP/1.1 431")


def test_a_long_head_that_comes_in_one_piece_is_refused_before_its_call_is_made():
    said = talk(
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-big: " + b"a" * 5000 + b"\r\n\r\n", header_bytes=4096
    )
    assert said.count(b"HTTP/1.1") == 1
    assert said.startswith(b"HTTP/1.1 431")


def test_a_long_head_behind_another_call_is_refused_however_it_is_cut():
    long = b"POST / HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 3000

    async def main():
        async with serving(header_bytes=4096) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CALL % b"" + long)
            said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n5"), GUARD)  # so that the rest comes by itself
            writer.write(b"a" * 3000 + b"\r\n\r\n")
            said += await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return said

    said = asyncio.run(main())
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 431" in said


@pytest.mark.parametrize("size", [5_000, 60_000, 900_000])
def test_a_body_is_no_header_however_it_is_cut(size):
    """The last piece of a body comes with the end of its call, and counts towards no head."""
    call = b"POST / HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b"
    said = talk(call % (b"", size, b"a" * size), call % (CLOSE, size, b"a" * size), header_bytes=4096)
    assert said.count(b"HTTP/1.1 200") == said.count(b"HTTP/1.1") == 2
    assert said.count(b"%d" % size) == 2


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("cut", [0, 100, 160])
def test_a_call_that_asks_for_another_protocol_is_read_as_it_is(protocol, cut):
    """Java's HttpClient asks for h2c on each new connection; the body must not be lost over it."""
    asked = b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nupgrade: %b\r\n" % protocol
    call = CALL % asked
    said = talk(call[:cut], call[cut:] + CALL % CLOSE)
    assert said.count(b"HTTP/1.1 200") == said.count(b"HTTP/1.1") == 2
    assert said.count(b"\r\n\r\n5") == 2


def test_what_is_left_of_a_body_after_its_reply_may_not_dawdle():
    """A caller that was turned away holds no connection by never ending its body."""
    said = talk(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\na", app=turn_away, header_timeout=0.05)
    assert said.startswith(b"HTTP/1.1 401")


def test_a_body_that_ends_after_its_reply_leaves_the_connection_open():
    call = b"POST / HTTP/1.1\r\nhost: x\r\n%bcontent-length: 90000\r\n\r\n" + b"a" * 90_000
    said = talk(call % b"", call % CLOSE, app=turn_away)
    assert said.count(b"HTTP/1.1 401") == 2


@pytest.mark.parametrize("calls", [1, 2])
def test_a_connection_with_no_more_calls_is_closed_after_a_while(calls, monkeypatch):
    monkeypatch.setattr("trackgate.server.KEEP_ALIVE", 0.1)
    said = talk(*[CALL % b""] * calls)
    assert said.count(b"HTTP/1.1 200") == calls


def test_a_connection_whose_last_body_ended_after_its_reply_rests_as_any_other(monkeypatch):
    """Its body no longer has to hurry, so that the next call may take its time, and nothing else closes it."""
    monkeypatch.setattr("trackgate.server.KEEP_ALIVE", 0.3)

    async def main():
        async with serving(app=turn_away, header_timeout=2 * GUARD) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe")
            said = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), GUARD)
            writer.write(b"llo")
            said += await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return said

    assert asyncio.run(main()).count(b"HTTP/1.1 401") == 1


def test_between_two_calls_a_connection_may_rest_for_longer_than_headers_may_take():
    async def main():
        async with serving(header_timeout=0.05) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(2):
                writer.write(CALL % b"")
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n5"), GUARD)
                await asyncio.sleep(0.2)
            writer.write(CALL % CLOSE)
            said = await asyncio.wait_for(reader.read(), GUARD)
            writer.close()
            return said

    assert asyncio.run(main()).startswith(b"HTTP/1.1 200")


def test_a_head_that_began_while_the_call_before_it_was_answered_may_not_dawdle(monkeypatch):
    monkeypatch.setattr("trackgate.server.KEEP_ALIVE", GUARD)
    said = talk(CALL % b"" + b"POST / HTTP/1.1\r\nhost:", header_timeout=0.05)
    assert said.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in said


def test_a_reply_is_dated_by_the_second_of_its_call_however_long_nobody_called(monkeypatch):
    days = 24 * 3600
    times = iter([5.0, 5.9, 30 * days + 0.5])
    monkeypatch.setattr("trackgate.server.time", SimpleNamespace(time=lambda: next(times)))
    said = talk(CALL % b"", CALL % b"", CALL % CLOSE)
    dates = [line for line in said.decode().split("\r\n") if line.startswith("date: ")]
    assert dates == ["date: Thu, 01 Jan 1970 00:00:05 GMT"] * 2 + ["date: Sat, 31 Jan 1970 00:00:00 GMT"]


def test_headers_that_dawdle_are_refused():
    assert talk(b"POST / HTTP/1.1\r\nhost:", header_timeout=0.05).startswith(b"HTTP/1.1 408")


def test_a_connection_that_says_nothing_is_closed():
    assert talk(header_timeout=0.05) == b""


def test_a_second_call_that_dawdles_is_refused_too():
    said = talk(CALL % b"", b"POST / HTTP/1.1\r\n", header_timeout=0.2)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in said


def test_trailers_are_ignored():
    chunked = (
        b"POST / HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: y\r\n\r\n" % CLOSE
    )
    assert b"200" in talk(chunked)


def test_what_is_no_http_is_refused_and_whoever_hears_of_refusals_tells_of_it(caplog):
    """A flood of it would be a flood of lines."""
    assert talk(b"\x16\x03\x01 garbage\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize(
    ("sent", "bounds", "heard"),
    [
        (b"POST / HTTP/1.1\r\nhost:", {"header_timeout": 0.05}, [408]),
        (b"POST / HTTP/1.1\r\nx: %b\r\n\r\n" % (b"y" * 300), {"header_bytes": 200}, [431]),
        (b"\x16\x03\x01 garbage\r\n\r\n", {}, [400]),
        (CALL % CLOSE, {"connections": 0}, [503]),
        (CALL % CLOSE, {}, []),
    ],
)
def test_each_call_that_is_turned_away_unread_is_heard_of_once(sent, bounds, heard):
    statuses: list[int] = []
    talk(sent, on_refusal=statuses.append, **bounds)
    assert statuses == heard


def test_beyond_the_connections_allowed_a_call_hears_503():
    async def main():
        async with serving(connections=3) as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CALL % CLOSE)
            said = await asyncio.wait_for(reader.read(), GUARD)
            for _, each in [*idle, (reader, writer)]:
                each.close()
            return said

    said = asyncio.run(main())
    assert said.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in said


def test_a_spared_path_is_answered_however_many_connections_there_are():
    said = talk(CALL % CLOSE, connections=0, spared=frozenset({b"/"}))
    assert said.startswith(b"HTTP/1.1 200")


def test_stop_lets_the_call_in_hand_finish():
    async def main():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((CALL % CLOSE)[:-2])
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().call_later(0.1, writer.write, b"lo")
        said = await asyncio.wait_for(reader.read(), GUARD)
        writer.close()
        await writer.wait_closed()
        return said

    assert b"200 OK" in asyncio.run(main())
