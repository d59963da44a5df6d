"""What a user would otherwise write: takes a call, sends it on, answers. Nothing is kept, retried or in order.

    UPSTREAMS="http://127.0.0.1:9000/a http://127.0.0.1:9000/b" python -m bench.forwarder

It is written as its libraries' documents show it, not to be slow: one client for all calls, kept-alive connections.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from litestar import Litestar, Response, post
from litestar.datastructures import State
from msgspec import Struct

from bench.listening import listener


class Track(Struct):
    """The body of a call."""

    user_id: str
    event_name: str
    metadata: dict[str, Any]


@post("/single/v1/track", status_code=202)
async def forward(data: Track, state: State) -> Response[None]:
    """Send it to all upstreams at once and say the worst that one of them said."""
    body = {"user_id": data.user_id, "event_name": data.event_name, "metadata": data.metadata}
    headers = {"authorization": "Token out-key"}
    calls = [state.client.post(f"{url}/v1/track", json=body, headers=headers) for url in state.upstreams]
    replies = await asyncio.gather(*calls)
    return Response(None, status_code=max(reply.status_code for reply in replies))


@asynccontextmanager
async def upstream(app: Litestar) -> AsyncIterator[None]:
    """One client for as long as the application lives."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        app.state.client = client
        app.state.upstreams = os.environ["UPSTREAMS"].split()
        yield


def main() -> None:
    """Serve until SIGTERM."""
    app = Litestar([forward], lifespan=[upstream], openapi_config=None, logging_config=None)
    with listener() as listening:
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
