"""The ASGI edge of the way in: reads calls within limits, writes replies, and turns nothing into a 500."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trackgate.deadlines import Deadlines
from trackgate.headers import BATCH_ID, EVENT_ID
from trackgate.ingest.doors import Door, Doors, Turned
from trackgate.ingest.intake import COME_BACK
from trackgate.model import Call, Problem, ProblemKind, Reply
from trackgate.outbox import NO_SOURCE
from trackgate.payload import stated
from trackgate.wire import Gone, TooLong, collect, give

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import HTTPScope, Receive, Send
    from structlog.typing import FilteringBoundLogger

    from trackgate.ingest.intake import Intake
    from trackgate.metrics import Metrics
    from trackgate.model import Clock
    from trackgate.outbox import Outbox
    from trackgate.vendor import Endpoint

PREFLIGHT_AGE = "600"

SURPLUS = 16 * 2**20
"""Bytes of a body over its limit that are read and thrown away: a caller that is cut off while it sends often never
hears its 413."""

TOO_LARGE = "too_large"
LEFT_UNREAD = frozenset({TOO_LARGE, "timeout"})
"""Reasons of a problem after which the rest of the body may still be on its way."""


class Edge:
    """The ASGI application of all vendors' paths."""

    def __init__(
        self,
        doors: Doors,
        intake: Intake,
        outbox: Outbox,
        clock: Clock,
        log: FilteringBoundLogger,
        metrics: Metrics,
        *,
        max_body: int,
        body_timeout: float,
        marks: Mapping[str, str],
    ) -> None:
        """Put the edge together; ``marks`` are headers for every reply."""
        self._doors = doors
        self._intake = intake
        self._outbox = outbox
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._max_body = max_body
        self._body_timeout = body_timeout
        self._deadlines = Deadlines()
        self._marks = marks

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        start = self._clock.monotonic()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        if scope["method"] == "OPTIONS" and "origin" in headers:
            await give(send, self._preflight(path, headers))
            return
        found = self._doors.find(scope["method"], path, headers)
        try:
            reply = await self._answer(found, headers, path, receive)
        except Gone:
            return
        source = found.source if isinstance(found, Turned) else found.source.name
        more = self._cors(found, path, headers) if "origin" in headers else {}
        if more or self._marks:
            reply = replace(reply, headers={**reply.headers, **self._marks, **more})
        await give(send, reply)
        self._metrics.answered(source, reply.status, self._clock.monotonic() - start)

    async def _answer(self, found: Door | Turned, headers: dict[str, str], path: str, receive: Receive) -> Reply:
        if isinstance(found, Turned):
            return self._reject(found, found.problem)
        try:
            body = await self._read(receive, headers, found.endpoint)
            return await self._intake.take(found, Call(url=path, headers=headers, body=body))
        except Problem as problem:
            return self._reject(found, problem)
        except Gone:
            raise
        except Exception:  # noqa: BLE001 - the outermost edge of the way in: a bug, of which nobody knows where it struck
            self._log.exception("ingest.stumbled")
            words = "Trackgate stumbled over this call and does not promise that it kept it; try again."
            return self._reject(found, Problem(ProblemKind.UNAVAILABLE, words, retry_after=COME_BACK))

    def _reject(self, found: Door | Turned, problem: Problem) -> Reply:
        source = found.source if isinstance(found, Turned) else found.source.name
        vendor = found.vendor if isinstance(found, Turned) else found.source.vendor
        self._outbox.count_rejected(source, problem.reason)
        where = stated({"field": problem.field, "flaw": problem.flaw})
        self._log.warning(
            "event.rejected", source=source or NO_SOURCE, status=problem.status, reason=problem.reason, **where
        )
        reply = vendor.reject(problem) if vendor is not None else _own_words(problem)
        extra = {"allow": "POST"} if problem.kind is ProblemKind.METHOD else {}
        if problem.reason in LEFT_UNREAD:
            extra["connection"] = "close"
        return replace(reply, headers={**reply.headers, **extra})

    async def _read(self, receive: Receive, headers: Mapping[str, str], endpoint: Endpoint) -> bytes:
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(ProblemKind.ENCODING, "Compressed bodies are not taken; send the JSON as it is.")
        limit = endpoint.max_body or self._max_body
        length = headers.get("content-length", "0")
        waits = "expect" in headers  # for our word, and can be told before it sends
        if length.isdecimal() and int(length) > limit + (0 if waits else SURPLUS):
            raise _too_large(limit, endpoint)
        try:
            with self._deadlines.within(self._body_timeout):
                return await collect(receive, limit, SURPLUS)
        except TooLong:
            raise _too_large(limit, endpoint) from None
        except TimeoutError:
            words = f"The body did not arrive within {self._body_timeout:g} s."
            raise Problem(ProblemKind.TIMEOUT, words) from None

    def _cors(self, found: Door | Turned, path: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Lets a listed page read the reply, also that it was turned away; the headers have an Origin."""
        origin = headers["origin"]
        doors = self._doors.candidates(path) if isinstance(found, Turned) else (found,)
        if not any(origin in door.source.cors for door in doors):
            return {}
        exposed = f"{EVENT_ID}, {BATCH_ID}, retry-after"
        return {"access-control-allow-origin": origin, "access-control-expose-headers": exposed, "vary": "origin"}

    def _preflight(self, path: str, headers: Mapping[str, str]) -> Reply:
        """A browser asks before it posts; at the root any source there that lists the Origin says yes."""
        origin = headers["origin"]
        if not any(origin in door.source.cors for door in self._doors.candidates(path)):
            return _own_words(Problem(ProblemKind.FORBIDDEN, "No source here lists this Origin under `cors`."))
        allowed = {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "POST",
            "access-control-allow-headers": headers.get("access-control-request-headers", "content-type"),
            "access-control-max-age": PREFLIGHT_AGE,
            "vary": "origin",
        }
        return Reply(status=204, headers=allowed)


def _too_large(limit: int, endpoint: Endpoint) -> Problem:
    return Problem(endpoint.oversize, f"The body is over the limit of {limit} bytes.", reason=TOO_LARGE)


def _own_words(problem: Problem) -> Reply:
    """A reply in nobody's shape, for paths that are nobody's."""
    body = msgspec.json.encode({"error": problem.message, "status": problem.status})
    return Reply(status=problem.status, headers={"content-type": "application/json"}, body=body)
