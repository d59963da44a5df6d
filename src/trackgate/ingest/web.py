"""The Litestar application of the gateway: Trackgate's own paths, and everything else to the vendors' edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar import Litestar, MediaType, Response, asgi, get
from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Request
    from litestar.types import HTTPScope, Receive, Scope, Send

    from trackgate.ingest.asgi import Edge

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build(edge: Edge, ready: Callable[[], tuple[bool, dict[str, Any]]], metrics: Callable[[], bytes]) -> Litestar:
    """Put the application together.

    Args:
        edge: answers every vendor's path.
        ready: whether new events are taken, and the detail that the reply shows.
        metrics: the Prometheus text.

    """

    @get("/livez", media_type=MediaType.JSON, sync_to_thread=False)
    def livez() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[dict[str, Any]]:
        good, detail = ready()
        return Response(detail, status_code=200 if good else 503, media_type=MediaType.JSON)

    @get("/metrics", sync_to_thread=False)
    def show_metrics() -> Response[bytes]:
        return Response(metrics(), media_type=METRICS_TYPE)

    @asgi("/", is_mount=True, copy_scope=False)
    async def vendors(scope: Scope, receive: Receive, send: Send) -> None:
        await edge(cast("HTTPScope", scope), receive, send)  # the server speaks no WebSocket

    return Litestar(
        route_handlers=[livez, readyz, show_metrics, vendors],
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
