"""Over a real server: connections that are cut, bodies that never end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from trackgate.sandbox.emulator import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.sandbox.conftest import Bench


@pytest.fixture(params=["h11", "httptools"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Each of uvicorn's HTTP protocols."""
    return str(request.param)


@asynccontextmanager
async def served(app: Any, protocol: Any) -> AsyncIterator[int]:
    """Serve an app on a free port, which is given."""
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def spoken(port: int, bench: Bench, body: bytes | None = None) -> bytes:
    """Everything that comes back for a sample, to the end of the connection."""
    sample = bench.sample(bench.vendors["userpilot"])
    lines = [f"POST /userpilot{bench.vendors['userpilot'].endpoints[0].path} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in sample.headers.items()]
    lines += [f"content-length: {len(sample.body)}", "connection: close", "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(lines).encode() + (sample.body if body is None else body))
        if body is not None:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_cut_connection_gives_not_a_byte(bench: Bench, protocol: str, cut: str, caplog: Any) -> None:
    """...and the server does not complain; what came is remembered as taken only where it was cut after that."""
    bench.fail(cut=cut)

    async def scene() -> tuple[bytes, bytes]:
        async with served(bench.app, protocol) as port:
            return await spoken(port, bench), await spoken(port, bench)

    first, second = asyncio.run(scene())
    assert first == b""
    assert second.startswith(b"HTTP/1.1 202")
    lost, taken = bench.received()
    assert (lost["cut"], lost["status"], lost["failed"]) == (
        (cut, None, True) if cut == "before" else (cut, 202, False)
    )
    assert (taken["cut"], taken["status"]) == (None, 202)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_a_client_sees_a_broken_connection(bench: Bench, protocol: str) -> None:
    bench.fail(cut="after", delay="1s")

    async def scene() -> None:
        async with served(bench.app, protocol) as port, httpx.AsyncClient(trust_env=False) as client:
            sample = bench.vendors["userpilot"].sample(f"http://127.0.0.1:{port}/userpilot", "key")
            with pytest.raises(httpx.TransportError):
                await client.post(sample.url, headers=sample.headers, content=sample.body)
            reply = await client.post(sample.url, headers=sample.headers, content=sample.body)
            assert reply.status_code == 202

    asyncio.run(scene())
    assert bench.clock.slept == [1.0]


def test_a_server_that_shows_no_transport_cuts_the_reply_instead(bench: Bench, protocol: str) -> None:
    """Behind another layer the status line comes, but never the promised end."""
    bench.fail(cut="before")

    async def layered(scope: Any, receive: Any, send: Any) -> None:
        async def passed_on(message: Any) -> None:
            await send(message)

        await bench.app(scope, receive, passed_on)

    async def scene() -> bytes:
        async with served(layered, protocol) as port:
            return await spoken(port, bench)

    reply = asyncio.run(scene())
    assert reply.startswith(b"HTTP/1.1 503")
    assert b"content-length: 1\r\n" in reply.lower()
    assert reply.endswith(b"\r\n\r\n")


def test_a_caller_who_goes_away_before_the_end_of_its_body_is_not_remembered(bench: Bench, protocol: str) -> None:
    async def scene() -> bytes:
        async with served(bench.app, protocol) as port:
            return await spoken(port, bench, body=b'{"user')

    asyncio.run(scene())
    assert bench.count()["count"] == 0


def test_a_failing_status_arrives_whole_over_the_wire(bench: Bench, protocol: str) -> None:
    """304 too, which may have no body, and HEAD, whose reply has none."""
    for status in (304, 401, 503):
        bench.fail(status=status, retry_after="7")

    async def scene() -> list[int]:
        async with served(bench.app, protocol) as port, httpx.AsyncClient(trust_env=False) as client:
            sample = bench.vendors["userpilot"].sample(f"http://127.0.0.1:{port}/userpilot", "key")
            replies = [await client.post(sample.url, headers=sample.headers, content=sample.body) for _ in range(4)] + [
                await client.head(sample.url),
                await client.get(f"http://127.0.0.1:{port}/-/received/count"),
            ]
            return [reply.status_code for reply in replies]

    assert asyncio.run(scene()) == [304, 401, 503, 202, 405, 200]


def test_a_body_that_says_it_is_too_large_is_not_read(bench: Bench) -> None:
    """So that a caller who waits for a 100 Continue never sends it."""
    heard: list[Any] = []

    async def receive() -> Any:
        pytest.fail("the body was asked for")

    async def send(message: Any) -> None:
        heard.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/userpilot/v1/track", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % (MAX_BODY + 1))],
    }  # fmt: skip
    asyncio.run(bench.app(scope, receive, send))
    assert heard[0]["status"] == 413
