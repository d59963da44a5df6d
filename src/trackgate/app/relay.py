"""The owner's own paths, as a worker answers them: it passes the call on, and the reply back, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar.types import Receive, Scope, Send

AT_A_TIME = 100
"""Calls that one worker has the owner answer; more wait for their turn."""

OF_ONE_CONNECTION = frozenset({b"connection", b"keep-alive", b"upgrade", b"http2-settings", b"expect"})
"""Headers of a call that are not the owner's to see; how its body is framed is."""

OF_EACH_REPLY = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date"})
"""Headers that the server adds by itself."""

UNAVAILABLE = msgspec.json.encode({"error": "unavailable", "message": "The gateway is ending; ask again later."})


class Gone(Exception):  # noqa: N818 - nobody is left to hear a reply
    """The caller hung up before its call was whole."""


class Relay:
    """An ASGI application that is another process's.

    Args:
        path: the Unix socket that the other one listens at.

    """

    def __init__(self, path: str) -> None:
        limits = httpx.Limits(max_connections=AT_A_TIME, max_keepalive_connections=1)
        # The transport alone: a client adds headers of its own.
        self._transport = httpx.AsyncHTTPTransport(uds=path, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        try:
            reply = await self._transport.handle_async_request(_request(scope, receive))
            body = await reply.aread()
            await reply.aclose()
        except Gone:
            return
        except httpx.TransportError:
            await _say(send, 503, [(b"content-type", b"application/json")], UNAVAILABLE)
            return
        kept = [(name, value) for name, value in reply.headers.raw if name.lower() not in OF_EACH_REPLY]
        await _say(send, reply.status_code, kept, body)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.aclose()


class _Body(httpx.AsyncByteStream):
    """What the caller sends, as it comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message: Any = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            yield message.get("body", b"")
            more = message.get("more_body", False)


def _request(scope: Any, receive: Receive) -> httpx.Request:
    headers = [(name, value) for name, value in scope["headers"] if name not in OF_ONE_CONNECTION]
    if not any(name == b"host" for name, _ in headers):  # HTTP/1.0 needs none
        headers.append((b"host", b"trackgate"))
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    return httpx.Request(
        scope["method"],
        "http://trackgate",
        headers=headers,
        stream=_Body(receive),
        extensions={"target": scope["raw_path"] + query},
    )


async def _say(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if not any(name.lower() == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
