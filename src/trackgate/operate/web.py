"""The operations over HTTP, at ``/-/``: JSON in and out, described at ``/-/openapi.json``.

Who may call is not decided here: see ``tokens`` and ``unix_socket``.
"""

# Litestar reads the annotations of its handlers when the app is built: no `annotations` from the future here.
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, HTTPException, SerializationException, ValidationException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import JSONBody, PathParameter, QueryParameter

from trackgate.asking import Mistaken, mistaken, no_object, not_known
from trackgate.model import Clock
from trackgate.operate.answers import (
    DeadPage,
    Dropped,
    FoundEvents,
    Letter,
    Moved,
    Refusal,
    Resumed,
    Retried,
    Status,
)
from trackgate.operate.description import EventSchema
from trackgate.operate.inquiries import Declined
from trackgate.operate.operator import Operator
from trackgate.operate.requests import LISTING, MAX_PAGE, WORDS, DropDead, DropWaiting, Filters, Move, RetryDead
from trackgate.outbox import OutboxUnavailable, Selection

ROOT = "/-"
"""What every path here begins with; no source can be called so."""

DESCRIPTION = f"{ROOT}/openapi.json"

ABOUT = (
    "What operators ask of a Trackgate gateway and order it to do. On the gateway's own address each call needs a"
    " token (`Authorization: Bearer TOKEN`): `server.read_token` for what is a GET, `server.act_token` for everything."
    " On the socket `control.sock` in the data directory it needs none."
)

CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 409: "conflict", 503: "unavailable"}

Web = Request[Any, Any, Any]
Text = str | None
EventId = Annotated[str, PathParameter(description="Trackgate's id of the event; to find it, also the caller's")]
Destination = Annotated[str, PathParameter(description="the name of a destination")]


SAYS = {
    400: "A field is not what it must be.",
    401: "No token, or none that is known.",
    403: "The token may only read.",
    404: "It is not there.",
    409: "Not as things are.",
    503: "The storage does not answer.",
}


def _says(*statuses: int) -> dict[int, ResponseSpec]:
    """How an operation is declined: in these ways, and in those that any is."""
    return {
        each: ResponseSpec(Refusal, description=SAYS[each], generate_examples=False) for each in (*statuses, 401, 503)
    }


def build(operator: Operator, clock: Clock) -> Litestar:
    """The app; every call that it does not know is a 404 or 405 in JSON."""
    return Litestar(
        [
            show_status,
            find_event,
            list_dead,
            show_dead,
            retry_dead,
            drop_dead,
            resume_destination,
            move_destination,
            drop_destination,
        ],
        state=State({"operator": operator, "clock": clock}, deep_copy=False),
        exception_handlers={
            Mistaken: _mistaken,
            Declined: _declined,
            OutboxUnavailable: _unavailable,
            ValidationException: _invalid,
            ClientException: _no_json,
            UnicodeDecodeError: _no_json,
            RecursionError: _no_json,
            HTTPException: _refused,
        },
        openapi_config=OpenAPIConfig(
            title="Trackgate, for operators",
            version=version("trackgate"),
            description=ABOUT,
            path=DESCRIPTION,
            render_plugins=[JsonRenderPlugin(path="/")],
            components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"token": []}],
            use_handler_docstrings=True,
        ),
        plugins=[EventSchema()],
        logging_config=None,
    )


# --- what is asked ----------------------------------------------------------------------------------------------


@get(f"{ROOT}/status", summary="Everything counted", responses=_says())
async def show_status(request: Web) -> Status:
    """Per source and destination, and whether it adds up; as /metrics has it."""
    return await _operator(request).status()


@get(f"{ROOT}/events/{{event_id:path}}", summary="Find an event", responses=_says(400, 404))
async def find_event(request: Web, event_id: EventId) -> FoundEvents:
    """By Trackgate's id or the caller's own: the event, and what became of it at each destination."""
    return await _operator(request).find(event_id.removeprefix("/"))


@get(f"{ROOT}/dead", summary="Look through the dead", responses=_says(400, 404), opt={"words": LISTING})
async def list_dead(
    request: Web,
    destination: Annotated[Text, QueryParameter(description=LISTING["destination"])] = None,
    reason: Annotated[Text, QueryParameter(description=LISTING["reason"])] = None,
    name: Annotated[Text, QueryParameter(description=LISTING["name"])] = None,
    since: Annotated[Text, QueryParameter(description=LISTING["since"])] = None,
    until: Annotated[Text, QueryParameter(description=LISTING["until"])] = None,
    event_id: Annotated[Text, QueryParameter(name="id", description=LISTING["id"])] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description=LISTING["limit"])] = 20,
    after: Annotated[Text, QueryParameter(description=LISTING["after"])] = None,
) -> DeadPage:
    """Why they are dead, with counts, then the deliveries themselves, the latest first."""
    for key in request.query_params:
        if key not in LISTING:
            raise not_known(key, LISTING)
    filters = Filters(destination=destination, reason=reason, name=name, since=since, until=until, id=event_id)
    return await _operator(request).dead(filters.selection(_clock(request).now()), limit, after)


@get(f"{ROOT}/dead/{{destination:str}}/{{event_id:path}}", summary="One of the dead", responses=_says(400, 404))
async def show_dead(request: Web, destination: Destination, event_id: EventId) -> Letter:
    """The event, the call as it was sent, what today's configuration would send, the replies."""
    return await _operator(request).letter(destination, event_id.removeprefix("/"))


# --- what is ordered --------------------------------------------------------------------------------------------


@post(
    f"{ROOT}/dead/retry",
    status_code=200,
    summary="Make dead deliveries due again",
    responses=_says(400, 403, 404),
    opt={"words": WORDS[RetryDead]},
)
async def retry_dead(request: Web, data: JSONBody[RetryDead]) -> Retried:
    """As if never tried. Idempotent: call it until it says 0."""
    selection = _selection(request, data.selection)
    if data.dry_run:
        return await _operator(request).rehearse(selection)
    return await _operator(request).retry(selection, data.limit)


@post(
    f"{ROOT}/dead/drop",
    status_code=200,
    summary="Give dead deliveries up",
    responses=_says(400, 403, 404),
    opt={"words": WORDS[DropDead]},
)
async def drop_dead(request: Web, data: JSONBody[DropDead]) -> Dropped:
    """For good; they are counted as dropped. Call it until it says 0."""
    selection = _selection(request, data.selection)
    if not data.yes:
        return await _operator(request).count_dead(selection)
    return await _operator(request).drop_dead(selection, data.limit)


@post(
    f"{ROOT}/destinations/{{name:str}}/resume",
    status_code=200,
    summary="Try a stopped or paused destination now",
    responses=_says(400, 403, 404, 409),
)
async def resume_destination(request: Web, name: Destination) -> Resumed:
    """A stopped one with one delivery; a pause that its vendor asked for is ended. The answer says how it stands."""
    return await _operator(request).resume(name)


@post(
    f"{ROOT}/destinations/{{name:str}}/move",
    status_code=200,
    summary="Move what waits elsewhere",
    responses=_says(400, 403, 404, 409),
    opt={"words": WORDS[Move]},
)
async def move_destination(request: Web, name: Destination, data: JSONBody[Move]) -> Moved:
    """What waits or is dead at a destination that has left routes.toml. Call it until it says 0."""
    return await _operator(request).move(name, data.to, data.limit)


@post(
    f"{ROOT}/destinations/{{name:str}}/drop",
    status_code=200,
    summary="Give up what waits at a destination",
    responses=_says(400, 403, 404, 409),
    opt={"words": WORDS[DropWaiting]},
)
async def drop_destination(request: Web, name: Destination, data: JSONBody[DropWaiting]) -> Dropped:
    """That has left routes.toml; it is counted as dropped. Call it until it says 0."""
    if not data.yes:
        return await _operator(request).count_waiting(name)
    return await _operator(request).drop(name, data.limit)


# --- how --------------------------------------------------------------------------------------------------------


def _operator(request: Web) -> Operator:
    operator: Operator = request.app.state.operator
    return operator


def _clock(request: Web) -> Clock:
    clock: Clock = request.app.state.clock
    return clock


def _selection(request: Web, filters: Filters) -> Selection:
    return filters.selection(_clock(request).now(), "selection.")


def _words(request: Web) -> Mapping[str, str]:
    words: Mapping[str, str] = request.route_handler.opt.get("words", {})
    return words


def said(status: int, refusal: Refusal) -> Response[bytes]:
    """A refusal as a reply."""
    return Response(msgspec.json.encode(refusal), status_code=status, media_type=MediaType.JSON)


def _mistaken(_: Web, error: Mistaken) -> Response[bytes]:
    return said(400, Refusal(error=CODES[400], message=error.message, field=error.field))


def _invalid(request: Web, error: ValidationException) -> Response[bytes]:
    """What does not fit a handler's parameters, in words of ours."""
    complaint = str(error.__cause__).replace("`$.data", "`$")
    return _mistaken(request, mistaken(complaint, _words(request)))


def _no_json(request: Web, error: Exception) -> Response[bytes]:
    if isinstance(error, HTTPException) and not isinstance(error.__cause__, SerializationException):
        return _refused(request, error)
    return _mistaken(request, no_object(_words(request)))


def _declined(_: Web, error: Declined) -> Response[bytes]:
    return said(error.status, Refusal(error=CODES[error.status], message=error.message, field=error.field))


def _unavailable(_: Web, error: OutboxUnavailable) -> Response[bytes]:
    return said(503, Refusal(error=CODES[503], message=f"{error}."))


def _refused(_: Web, refusal: HTTPException) -> Response[bytes]:
    """What is nobody's path, or not by this method."""
    message = f"{refusal.detail or 'There is nothing here'}. GET {DESCRIPTION} says what there is."
    code = CODES.get(refusal.status_code, f"status_{refusal.status_code}")
    reply = said(refusal.status_code, Refusal(error=code, message=message))
    reply.headers.update(refusal.headers or {})
    return reply
