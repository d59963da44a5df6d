"""The operator's calls: what came, how much, and what is to fail; an app without the vendors."""

# Litestar reads the annotations of its handlers when the app is built: no `annotations` from the future here.
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Litestar, MediaType, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from trackgate.asking import Mistaken, from_body, from_query
from trackgate.sandbox.emulator import Emulator
from trackgate.sandbox.failures import WORDS, FailureOrder
from trackgate.sandbox.index import index, page
from trackgate.sandbox.memory import MAX_CALLS, Filter, Page

FILTERS = {
    "vendor": "the name of a vendor",
    "event": "a glob on an event's name",
    "user": "a user id or anonymous id",
    "status": "a status such as 200",
    "id": "a trackgate-event-id",
}
PAGES = {**FILTERS, "limit": f"a number from 1 to {MAX_CALLS}", "after": "the `n` of a call, or 0"}
"""What each parameter of a query must be."""

Web = Request[Any, Any, Any]
Wanted = TypeVar("Wanted", bound=Filter)


def control(emulator: Emulator) -> Litestar:
    """The app; every call it does not know is a 404 or 405 in JSON."""
    return Litestar(
        [
            show_index,
            show_received,
            count_received,
            forget_received,
            add_failure,
            show_failures,
            clear_failures,
            clear_failure,
        ],
        state=State({"emulator": emulator}, deep_copy=False),
        exception_handlers={Mistaken: _mistaken, HTTPException: _refused},
        openapi_config=None,
        logging_config=None,
    )


@get("/", sync_to_thread=False)
def show_index(request: Web) -> Response[Any]:
    """Say what this is."""
    said = index(_emulator(request).vendors, str(request.base_url).rstrip("/"))
    if "text/html" in request.headers.get("accept", ""):
        return Response(page(said), media_type=MediaType.HTML)
    return _json(said)


@get("/-/received", sync_to_thread=False)
def show_received(request: Web) -> Response[bytes]:
    """Show what came."""
    return _json(_emulator(request).memory.show(_wanted(request, Page, PAGES)))


@get("/-/received/count", sync_to_thread=False)
def count_received(request: Web) -> Response[bytes]:
    """Say how much came."""
    return _json(_emulator(request).memory.count(_wanted(request, Filter, FILTERS)))


@delete("/-/received", status_code=200, sync_to_thread=False)
def forget_received(request: Web) -> Response[bytes]:
    """Forget what came."""
    return _json({"forgotten": _emulator(request).memory.forget()})


@post("/-/fail")
async def add_failure(request: Web) -> Response[bytes]:
    """Make a failure stand ready."""
    order = from_body(await request.body(), FailureOrder, WORDS)
    return _json(_emulator(request).failures.add(order), 201)


@get("/-/fail", sync_to_thread=False)
def show_failures(request: Web) -> Response[bytes]:
    """Show the failures that stand ready."""
    return _json(_emulator(request).failures.ready())


@delete("/-/fail", status_code=200, sync_to_thread=False)
def clear_failures(request: Web) -> Response[bytes]:
    """Clear all failures."""
    return _json({"cleared": _emulator(request).failures.clear()})


@delete("/-/fail/{failure_id:int}", status_code=200, sync_to_thread=False)
def clear_failure(request: Web) -> Response[bytes]:
    """Clear one failure."""
    if not _emulator(request).failures.clear(request.path_params["failure_id"]):
        message = "No such failure stands ready: it is used up, or was never asked for. GET /-/fail lists them."
        return _json({"error": "not_found", "field": "id", "message": message}, 404)
    return _json({"cleared": 1})


def _emulator(request: Web) -> Emulator:
    emulator: Emulator = request.app.state.emulator
    return emulator


def _wanted(request: Web, into: type[Wanted], words: Mapping[str, str]) -> Wanted:
    wanted = from_query(request.scope["query_string"], into, words)
    if wanted.vendor and wanted.vendor not in _emulator(request).vendors:
        raise Mistaken("vendor", f"`vendor` must be one of: {', '.join(_emulator(request).vendors)}.")
    return wanted


def _json(value: object, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type=MediaType.JSON)


def _mistaken(_: Web, mistaken: Mistaken) -> Response[bytes]:
    return _json({"error": "bad_request", "field": mistaken.field, "message": mistaken.message}, 400)


def _refused(_: Web, refusal: HTTPException) -> Response[bytes]:
    """What is nobody's path, or not by this method."""
    message = f"{refusal.detail}. GET / says what there is." if refusal.detail else "GET / says what there is."
    reply = _json({"error": f"status_{refusal.status_code}", "message": message}, refusal.status_code)
    reply.headers.update(refusal.headers or {})
    return reply
