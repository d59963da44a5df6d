"""What a connection may cost before its call is read, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from trackgate.server import Bounds, Listen, Server, address_of

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


@asynccontextmanager
async def serving(**bounds):
    sock = Listen("127.0.0.1", 0).bind()
    server = Server(echo, Bounds(**bounds), grace=1)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield int(address_of(sock).rpartition(":")[2])
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


def test_what_is_no_http_is_refused():
    assert talk(b"\x16\x03\x01 garbage\r\n\r\n").startswith(b"HTTP/1.1 400")


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

    assert asyncio.run(main()).startswith(b"HTTP/1.1 503")


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


@pytest.mark.parametrize(
    ("text", "listen"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text, listen):
    read = Listen.read(text)
    assert (read.host, read.port) == listen


@pytest.mark.parametrize("text", ["", "8080", ":8080", "a:b", "a:99999", "tcp://10.0.0.1:80x"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="HOST:PORT"):
        Listen.read(text)
