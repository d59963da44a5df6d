"""HTTP by ASGI, as every edge of the program speaks it: a call's body read within its limit, a reply given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Receive, Send

    from trackgate.model import Reply


class Gone(Exception):  # noqa: N818 - nobody is left to hear a reply
    """The caller hung up before its call was whole."""


class TooLong(Exception):  # noqa: N818 - what the body is
    """The body is over its limit."""


async def collect(receive: Receive, limit: int, surplus: int = 0) -> bytes:
    """The body of a call.

    Args:
        receive: as ASGI hands it in.
        limit: the most bytes that it may have.
        surplus: bytes over the limit that are read and thrown away, so that the caller can hear of it at the end.

    Raises:
        Gone: the caller hung up.
        TooLong: it is over the limit; not all of it has been read where it is over the surplus too.

    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        more = message.get("more_body", False)
        if size > limit + surplus or (size > limit and not more):
            raise TooLong
        if not more:
            return b"".join(parts) if len(parts) > 1 else part


async def give(send: Send, reply: Reply) -> None:
    """Send a reply whole."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
