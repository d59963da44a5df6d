"""The owner's own paths, as a worker answers them: it passes the call on, and the reply back, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from msgspec.structs import replace

from trackgate.deadlines import Deadlines
from trackgate.operate.answers import Refusal
from trackgate.operate.web import DESCRIPTION
from trackgate.payload import json_reply
from trackgate.wire import Gone, TooLong, collect, give

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

AT_A_TIME = 100
"""Calls that one worker has the owner answer; more wait for their turn."""

CONNECT_PATIENCE = 5.0
"""Seconds that a call waits for its turn, and for the owner to take its connection."""

LOOK_PATIENCE = 5.0
"""Seconds that the owner may take over what anybody may look at: a probe that hears nothing for longer has given up."""

REPLY_PATIENCE = 60.0
"""Seconds that the owner may take over a reply beyond the longest that a probe takes."""

MAX_BODY = 10_000_000
"""Bytes of an operator's body: what the owner's application takes, too."""

READING = frozenset({"GET", "HEAD"})
"""What is asked by these is asked without a body."""

NOT_PASSED_ON = frozenset(
    {b"connection", b"keep-alive", b"upgrade", b"http2-settings", b"expect", b"content-length", b"transfer-encoding"}
)
"""Headers of a call that are about its connection, or about how its body came: it is passed on in one piece."""

OF_EACH_REPLY = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date"})
"""Headers that the server adds by itself."""


class Refused(Exception):  # noqa: N818 - what happened
    """The call is not passed on, or the owner has no reply to it; what the caller is told."""

    def __init__(self, status: int, error: str, message: str, **headers: str) -> None:
        super().__init__(message)
        reply = json_reply(status, Refusal(error=error, message=message))
        self.reply = replace(reply, headers={**reply.headers, **headers})


class Relay:
    """An ASGI application that is another process's.

    Args:
        path: the Unix socket that the other one listens at.
        body_timeout: seconds that a caller may take over its body.
        patience: seconds that the longest probe of a destination takes.
        look_patience: seconds that the reply to a look may take.

    """

    def __init__(
        self, path: str, *, body_timeout: float, patience: float, look_patience: float = LOOK_PATIENCE
    ) -> None:
        limits = httpx.Limits(max_connections=AT_A_TIME, max_keepalive_connections=1)
        # The transport alone: a client adds headers of its own.
        self._transport = httpx.AsyncHTTPTransport(uds=path, limits=limits)
        self._timeout = httpx.Timeout(REPLY_PATIENCE + patience, connect=CONNECT_PATIENCE, pool=CONNECT_PATIENCE)
        self._look_timeout = httpx.Timeout(look_patience, connect=CONNECT_PATIENCE, pool=CONNECT_PATIENCE)
        self._body_timeout = body_timeout
        self._deadlines = Deadlines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, whose body is waited for before it takes anything of the owner's."""
        call: Any = scope
        try:
            body = b"" if call["method"] in READING else await self._read(receive)
        except Gone:
            return
        except Refused as refused:
            await give(send, refused.reply)
            return
        await self._pass_on(call, body, self._timeout, send)

    async def look(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call of anybody's: its body is not waited for, whatever its method."""
        await self._pass_on(scope, b"", self._look_timeout, send)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.aclose()

    async def _read(self, receive: Receive) -> bytes:
        try:
            with self._deadlines.within(self._body_timeout):
                return await collect(receive, MAX_BODY)
        except TooLong:  # in the words of the application that would have had it
            words = f"Request Entity Too Large. GET {DESCRIPTION} says what there is."
            raise Refused(413, "status_413", words) from None
        except TimeoutError:
            words = f"The body did not arrive within {self._body_timeout:g} s."
            raise Refused(408, "timeout", words, connection="close") from None

    async def _pass_on(self, scope: Any, body: bytes, patience: httpx.Timeout, send: Send) -> None:
        try:
            reply = await self._ask(_request(scope, body, patience))
        except Refused as refused:
            await give(send, refused.reply)
            return
        kept = [(name, value) for name, value in reply.headers.raw if name.lower() not in OF_EACH_REPLY]
        await _say(send, reply.status_code, kept, reply.content)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        try:
            reply = await self._transport.handle_async_request(request)
            try:
                await reply.aread()
            finally:
                await reply.aclose()
        except httpx.LocalProtocolError:
            words = "The call's headers are not valid HTTP (two `Host` headers, for instance): fix the call."
            raise Refused(400, "bad_request", words) from None
        except httpx.TimeoutException:
            raise Refused(503, "unavailable", "The gateway is busy; ask again later.") from None
        except httpx.TransportError:
            raise Refused(503, "unavailable", "The gateway is ending; ask again later.") from None
        return reply


def _request(scope: Any, body: bytes, timeout: httpx.Timeout) -> httpx.Request:
    headers = [(name, value) for name, value in scope["headers"] if name not in NOT_PASSED_ON]
    if not any(name == b"host" for name, _ in headers):  # HTTP/1.0 needs none
        headers.append((b"host", b"trackgate"))
    if body:
        headers.append((b"content-length", b"%d" % len(body)))
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    return httpx.Request(
        scope["method"],
        "http://trackgate",
        headers=headers,
        stream=httpx.ByteStream(body),
        extensions={"target": scope["raw_path"] + query, "timeout": timeout.as_dict()},
    )


async def _say(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if not any(name.lower() == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
