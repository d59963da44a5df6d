"""The application of the gateway: Trackgate's own paths to Litestar, everything else to the vendors' edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar import Request
    from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    Calls = Callable[[HTTPScope, Receive, Send], Awaitable[None]]


METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


OPERATORS = "/-/"
"""What the operators' paths begin with."""


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


def build(edge: Calls, operators: ASGIApp, looked_at: Sequence[BaseRouteHandler]) -> ASGIApp:
    """Put the application together.

    Args:
        edge: answers every vendor's path.
        operators: answers what begins with `/-/`.
        looked_at: answer `/readyz` and `/metrics`.

    """

    @get("/livez", media_type=MediaType.JSON, sync_to_thread=False)
    def livez() -> dict[str, str]:
        return {"status": "alive"}

    own = Litestar(
        route_handlers=[livez, *looked_at],
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _refused},
        debug=False,
    )
    own_paths = {path for route in own.routes for path in (route.path, f"{route.path}/")}

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        # The edge has its own table of paths and its own words for what is wrong: behind a router that has no part in
        # either, a tenth of the time that an event takes went to the router.
        call = cast("HTTPScope", scope)  # the server speaks neither WebSocket nor lifespan
        path = call["path"]
        if path in own_paths:
            # The server keeps the body of a reply to a HEAD to itself.
            asked: Any = {**scope, "method": "GET"} if call["method"] == "HEAD" else scope
            await own(asked, receive, send)
        elif path.startswith(OPERATORS):
            await operators(scope, receive, send)
        else:
            await edge(call, receive, send)

    return front


def _refused(_: Request[Any, Any, Any], refusal: HTTPException) -> Response[bytes]:
    """Trackgate's own paths are only looked at, and say so as its other replies do."""
    body = msgspec.json.encode({"error": f"{refusal.detail}; send a GET or a HEAD.", "status": refusal.status_code})
    headers = {**(refusal.headers or {}), "allow": "GET, HEAD"}
    return Response(body, status_code=refusal.status_code, media_type=MediaType.JSON, headers=headers)
