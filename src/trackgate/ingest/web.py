"""The Litestar application of the gateway: Trackgate's own paths, and everything else to the vendors' edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import msgspec
from litestar import Litestar, MediaType, Response, asgi, get
from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar import Request
    from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
    from litestar.types import ASGIApp, ExceptionHandlersMap, HTTPScope, Receive, Scope, Send

    Calls = Callable[[HTTPScope, Receive, Send], Awaitable[None]]


METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


OPERATORS = b"/-/"
"""What the operators' paths begin with."""


class Mount(asgi):
    """Litestar's, which would find out anew at each call what handles its exceptions."""

    _handlers: ExceptionHandlersMap | None = None

    def resolve_exception_handlers(self) -> ExceptionHandlersMap:
        if self._handlers is None:
            self._handlers = super().resolve_exception_handlers()
        return self._handlers


def looking(
    ready: Callable[[], tuple[bool, dict[str, Any]]], metrics: Callable[[], Awaitable[bytes]]
) -> list[HTTPRouteHandler]:
    """What anybody may look at.

    Args:
        ready: whether new events are taken, and the detail that the reply shows.
        metrics: the Prometheus text.

    """

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[dict[str, Any]]:
        good, detail = ready()
        return Response(detail, status_code=200 if good else 503, media_type=MediaType.JSON)

    @get("/metrics")
    async def show_metrics() -> Response[bytes]:
        return Response(await metrics(), media_type=METRICS_TYPE)

    return [readyz, show_metrics]


def build(edge: Calls, operators: ASGIApp, looked_at: Sequence[BaseRouteHandler]) -> Litestar:
    """Put the application together.

    Args:
        edge: answers every vendor's path.
        operators: answers what begins with `/-/`.
        looked_at: answer `/readyz` and `/metrics`.

    """

    @get("/livez", media_type=MediaType.JSON, sync_to_thread=False)
    def livez() -> dict[str, str]:
        return {"status": "alive"}

    @Mount("/", is_mount=True, copy_scope=False)
    async def others(scope: Scope, receive: Receive, send: Send) -> None:
        call = cast("HTTPScope", scope)  # the server speaks no WebSocket
        if call["raw_path"].startswith(OPERATORS):
            # An app of its own, which finds the path as it came: this mount has taken its first slash off.
            await operators({**call, "path": unquote(call["raw_path"].decode("latin-1")), "state": {}}, receive, send)
        else:
            await edge(call, receive, send)

    return Litestar(
        route_handlers=[livez, *looked_at, others],
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _refused},
        debug=False,
    )


def _refused(_: Request[Any, Any, Any], refusal: HTTPException) -> Response[bytes]:
    """Trackgate's own paths take GET only, and say so as its other replies do."""
    body = msgspec.json.encode({"error": f"{refusal.detail}; send a GET.", "status": refusal.status_code})
    headers = {**(refusal.headers or {}), "allow": "GET"}
    return Response(body, status_code=refusal.status_code, media_type=MediaType.JSON, headers=headers)
