"""HTTP by ASGI: a call's body read within its limit, a reply given, the connection cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import HTTPScope, Receive, Send

    from trackgate.model import Reply


class Body(Struct, frozen=True):
    """A body; ``oversize`` is one that was not read, or not to its end, since it is over the limit."""

    content: bytes = b""
    oversize: bool = False


def headers_of(scope: HTTPScope) -> dict[str, str]:
    """The headers by lower-case name; one that comes twice is joined by a comma (RFC 9110)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> Body | None:
    """The body, at most ``limit`` bytes of it; ``None`` where the caller went away before its end."""
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated[:20]) > limit:
        return Body(oversize=True)
    content = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        content += message.get("body", b"")
        if len(content) > limit:
            return Body(oversize=True)
        if not message.get("more_body", False):
            return Body(bytes(content))


async def give(send: Send, reply: Reply) -> None:
    """Send a reply whole."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


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
