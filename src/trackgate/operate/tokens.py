"""Who may call where anybody can knock: whoever shows a token, also on loopback, where any web page can knock."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from msgspec.structs import replace

from trackgate.operate.answers import Refusal
from trackgate.payload import json_reply
from trackgate.wire import give

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from trackgate.config import Secret, Server
    from trackgate.model import Reply

READING = frozenset({"GET", "HEAD"})
SCHEME = b"bearer "


class Guarded:
    """An app behind two tokens: the one reads, the other does everything.

    Args:
        app: what answers those who may call.
        server: names the tokens; read once, as the sources' keys are.

    Raises:
        SecretUnreadable: the file of a token is gone, or empty.

    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._read = _bytes(server.read_token)
        self._act = _bytes(server.act_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or turn it away."""
        if scope["type"] == ScopeType.HTTP:
            shown = _shown(scope["headers"])
            reading = scope["method"] in READING
            refusal = self._refusal(shown, reading=reading)
            if refusal is not None:
                await give(send, _turned_away(*refusal))
                return
        await self._app(scope, receive, send)

    def _refusal(self, shown: bytes | None, *, reading: bool) -> tuple[int, Refusal] | None:
        acts = _same(self._act, shown)
        reads = _same(self._read, shown)
        if acts or (reads and reading):
            return None
        if self._act is None and (not reading or self._read is None):
            return 404, Refusal(error="not_found", message=_unset("read" if reading else "act"))
        if reads:
            words = "This token may only read: what changes something needs `server.act_token`."
            return 403, Refusal(error="forbidden", message=words)
        key = "`server.read_token` or `server.act_token`" if reading else "`server.act_token`"
        words = f"Send `Authorization: Bearer TOKEN` with the token that is configured as {key}."
        return 401, Refusal(error="unauthorized", message=words)


def _bytes(token: Secret | None) -> bytes | None:
    return None if token is None else token.credential().encode()


def _shown(headers: Any) -> bytes | None:
    """The token that a caller shows, if it shows one in the right form."""
    for name, value in headers:
        if name == b"authorization" and value[: len(SCHEME)].lower() == SCHEME:
            return bytes(value[len(SCHEME) :].strip())
    return None


def _same(token: bytes | None, shown: bytes | None) -> bool:
    return bool(token) and bool(shown) and hmac.compare_digest(token or b"", shown or b"")


def _unset(which: str) -> str:
    doing = "look at the gateway" if which == "read" else "change anything"
    return (
        f"To {doing} over HTTP, set `server.{which}_token` (or TRACKGATE_{which.upper()}_TOKEN) and restart the"
        " gateway; beside it, the `trackgate` command needs no token."
    )


def _turned_away(status: int, refusal: Refusal) -> Reply:
    reply = json_reply(status, refusal)
    if status != 401:
        return reply
    return replace(reply, headers={**reply.headers, "www-authenticate": 'Bearer realm="trackgate"'})
