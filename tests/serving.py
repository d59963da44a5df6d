"""A server over real sockets, and callers that say any bytes to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from trackgate.address import Address
from trackgate.connection import Bounds
from trackgate.server import Server, address_of, bind

CALL = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n%b\r\nhello"
CLOSE = b"connection: close\r\n"
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
