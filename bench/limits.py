"""What bounds the gateway on this machine: each of its hops done bare, with nothing around it, as a process.

    python -m bench.limits asgi                            decodes the body, answers
    python -m bench.limits litestar                        the same behind Litestar's ``@asgi``, as the gateway is
    python -m bench.limits client URL FILE --in-flight 32  a loop of upstream calls (--engine ours)
    python -m bench.limits commit FOLDER --size 400        a loop of group commits

The first two serve until they are stopped, the others run for ``--seconds`` and print what they reached a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import apsw
import click
import msgspec
import uvicorn
import uvloop
from litestar import Litestar, asgi
from msgspec import Struct
from pyreqwest.client import ClientBuilder

from bench import calls
from bench.listening import listener
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.clock import SystemClock
from trackgate.model import Call, Reply

GROUP = 64
"""Rows a commit."""

HEADERS = {"content-type": "application/json", "authorization": "Token out-key", "trackgate-event-id": "0" * 36}
PATIENCE = 10.0
"""Seconds that an upstream has for its answer."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Track(Struct):
    """The body that is decoded."""

    user_id: str
    event_name: str
    metadata: dict[str, Any]


DECODER = msgspec.json.Decoder(Track)


async def accept(scope: Message, receive: Receive, send: Send) -> None:  # noqa: ARG001 - Litestar wants all three
    """Decode a call and answer as the vendor would; nothing is kept."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    DECODER.decode(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def behind_litestar() -> Litestar:
    """``accept`` as a mounted ``@asgi`` handler."""
    handler = asgi("/", is_mount=True, copy_scope=False)(accept)
    return Litestar([handler], openapi_config=None, logging_config=None)


def serve(app: Any) -> None:
    """Serve an application at any free port as the gateway's server would, until SIGTERM."""
    with listener() as listening:
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listening])


def by_pyreqwest(url: str, body: bytes, in_flight: int) -> Callable[[], Awaitable[int]]:
    """One call, and the status that it got."""
    client = ClientBuilder().http1_only().no_proxy().pool_max_idle_per_host(in_flight).build()

    async def make() -> int:
        response = await client.post(url).headers(HEADERS).body_bytes(body).build().send()
        await response.bytes()
        return response.status

    return make


def by_ours(url: str, body: bytes, in_flight: int) -> Callable[[], Awaitable[int]]:
    """The same with all that the gateway's client sees to: what may be sent, the deadline, the connections' bound."""
    client = AsyncioClient(SystemClock(), "bench", in_flight)
    made = Call(url=url, headers=HEADERS, body=body)

    async def make() -> int:
        reply = await client.send(made, PATIENCE)
        return reply.status if isinstance(reply, Reply) else 599

    return make


CLIENTS = {"pyreqwest": by_pyreqwest, "ours": by_ours}


async def call(engine: str, url: str, body: bytes, seconds: float, in_flight: int) -> float:
    """Calls a second to an upstream."""
    make = CLIENTS[engine](url, body, in_flight)
    made = 0
    end = time.monotonic() + seconds

    async def loop() -> None:
        nonlocal made
        while time.monotonic() < end:
            status = await make()
            made += status < 300

    start = time.monotonic()
    await asyncio.gather(*(loop() for _ in range(in_flight)))
    return made / (time.monotonic() - start)


def commit(folder: Path, seconds: float, size: int) -> float:
    """Rows a second into a file of one table, ``GROUP`` rows a transaction, each transaction fsynced."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(folder / "limit.db"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("create table if not exists row (seq integer primary key, body blob)")
    rows = [(bytes(size),)] * GROUP
    stored = 0
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        with connection:
            connection.executemany("insert into row (body) values (?)", rows)
        stored += GROUP
    connection.close()
    return stored / passed


@click.group()
def main() -> None:
    """One limit."""


main.command("asgi")(lambda: serve(accept))
main.command("litestar")(lambda: serve(behind_litestar()))


@main.command("client")
@click.argument("url")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, default=2.0)
@click.option("--in-flight", type=int, default=32)
@click.option("--engine", type=click.Choice(list(CLIENTS)), default="pyreqwest")
def client_loop(url: str, file: Path, seconds: float, in_flight: int, engine: str) -> None:
    """Print calls a second."""
    body = calls.body_of(calls.read(file)[0])
    click.echo(uvloop.run(call(engine, url, body, seconds, in_flight)))


@main.command("commit")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seconds", type=float, default=2.0)
@click.option("--size", type=int, default=400)
def commit_loop(folder: Path, seconds: float, size: int) -> None:
    """Print rows a second."""
    click.echo(commit(folder, seconds, size))


if __name__ == "__main__":
    main()
