"""The sandbox as an app: each vendor at ``/{vendor}`` and its own paths below, the operator's calls at ``/-/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from litestar.enums import ScopeType

from trackgate.address import names_loopback
from trackgate.model import Call
from trackgate.payload import json_reply
from trackgate.sandbox.control import control
from trackgate.sandbox.emulator import Emulator
from trackgate.sandbox.failures import Failures
from trackgate.sandbox.memory import Memory
from trackgate.wire import Gone, TooLong, collect, give

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from trackgate.model import Clock
    from trackgate.vendor import Vendor


class Sandbox:
    """The ASGI app.

    Args:
        emulator: the vendors.
        operator: the app that answers everything but the vendors' paths.
        clock: waits, where a failure is to be slow.
        loopback_only: refuse a call whose Host is no loopback name, which is a web page's trick to get here.

    """

    def __init__(self, emulator: Emulator, operator: ASGIApp, clock: Clock, *, loopback_only: bool) -> None:
        self._emulator = emulator
        self._operator = operator
        self._clock = clock
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's call, or the server's lifespan."""
        if scope["type"] == ScopeType.HTTP:
            headers = _headers_of(scope)
            if self._loopback_only and not names_loopback(headers.get("host", "")):
                message = "This sandbox listens on loopback: call it by 127.0.0.1 or localhost."
                await give(send, json_reply(403, {"error": "forbidden", "field": "host", "message": message}))
                return
            name, _, rest = scope["path"].removeprefix("/").partition("/")
            if name in self._emulator.vendors:
                await self._serve(self._emulator.vendors[name], f"/{rest}", headers, scope, receive, send)
                return
        await self._operator(scope, receive, send)

    async def _serve(
        self, vendor: Vendor, path: str, headers: dict[str, str], scope: HTTPScope, receive: Receive, send: Send
    ) -> None:
        try:
            body = await _read(receive, headers, self._emulator.max_body(vendor, path))
        except Gone:
            return
        query = scope["query_string"].decode("latin-1")
        call = Call(method=scope["method"], url=path, headers=headers, body=body or b"")
        answer = self._emulator.answer(vendor, call, f"?{query}" if query else "", oversize=body is None)
        if answer.delay:
            await self._clock.sleep(answer.delay)
        if answer.reply is None:
            await hang_up(receive, send)
        else:
            await give(send, answer.reply)


def build(
    vendors: Mapping[str, Vendor],
    clock: Clock,
    *,
    keys: Mapping[str, str] | None = None,
    loopback_only: bool = False,
) -> Sandbox:
    """The sandbox, ready for a server. Nothing runs before its first call.

    Args:
        vendors: by name, which is the first part of their paths here.
        clock: the time.
        keys: vendor -> the one key that it takes; any key in the documented form is good at the others.
        loopback_only: whether the Host of a call must be a loopback one; say so when listening on loopback.

    """
    emulator = Emulator(
        vendors=vendors,
        clock=clock,
        memory=Memory(),
        failures=Failures(vendors),
        mint=lambda: str(uuid4()),
        keys=keys or {},
    )
    return Sandbox(emulator, control(emulator), clock, loopback_only=loopback_only)


def _headers_of(scope: HTTPScope) -> dict[str, str]:
    """The headers by lower-case name; one that comes twice is joined by a comma (RFC 9110)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _read(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes | None:
    """The body; ``None`` for one over the limit, which is not read to its end."""
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated[:20]) > limit:
        return None
    try:
        return await collect(receive, limit)
    except TooLong:
        return None


async def hang_up(receive: Receive, send: Send) -> None:
    """Cut the connection without a byte of a reply.

    ASGI has no word for it. Both of uvicorn's protocols hand in a ``send`` that belongs to an object with the
    connection's ``transport``: that is aborted. At a server that shows none, a reply that promises more than it
    gives makes the server cut the connection; the caller sees its status line then, but never its end.
    """
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        return
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
