"""What a vendor would answer, and what is remembered of it: decisions over values, no I/O.

The vendor's own strict check decides (``Vendor.inspect``), the first problem words the reply, all are remembered. A
failure that was asked for comes before it.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct, structs

from trackgate.headers import EVENT_ID
from trackgate.masking import masked_headers
from trackgate.model import Problem, ProblemKind, Reply
from trackgate.payload import json_reply
from trackgate.sandbox import contents
from trackgate.sandbox.memory import Flaw, Received

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trackgate.model import Call, Clock
    from trackgate.sandbox.contents import Contents
    from trackgate.sandbox.failures import Failure, Failures
    from trackgate.sandbox.memory import Memory
    from trackgate.vendor import Endpoint, Vendor

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a body, where the vendor documents no limit of its own."""

SHOWN = 4
"""Of a credential, the last characters that tell one from another."""


class Answer(Struct, frozen=True):
    """What to do about a call: after ``delay`` seconds give the reply, or with ``None`` cut the connection."""

    reply: Reply | None
    delay: float = 0.0


class Emulator:
    """All the vendors.

    Args:
        vendors: by name.
        clock: says when a call came.
        memory: keeps the calls.
        failures: those asked for.
        mint: a new event id, as the vendor would make one.
        keys: vendor -> the one key that it takes; any key in the documented form is good at the others.

    """

    def __init__(
        self,
        *,
        vendors: Mapping[str, Vendor],
        clock: Clock,
        memory: Memory,
        failures: Failures,
        mint: Callable[[], str],
        keys: Mapping[str, str],
    ) -> None:
        self.vendors = vendors
        self.memory = memory
        self.failures = failures
        self._clock = clock
        self._mint = mint
        self._keys = keys

    def max_body(self, vendor: Vendor, path: str) -> int:
        """Bytes that a body to this path may have."""
        endpoint = _endpoint(vendor, path)
        return (endpoint and endpoint.max_body) or MAX_BODY

    def answer(self, vendor: Vendor, call: Call, query: str = "", *, oversize: bool = False) -> Answer:
        """Decide about a call, and remember it.

        Args:
            vendor: whom it was sent to.
            call: its ``url`` is the path at the vendor (``/v1/track``), without ``query``.
            query: remembered, and otherwise ignored.
            oversize: the body was over ``max_body`` and was not read.

        """
        endpoint = _endpoint(vendor, call.url)
        seen = contents.look(call.body, endpoint.envelope if endpoint is not None else None)
        problems = self._problems(vendor, call, endpoint, oversize=oversize)
        reply = self._word(vendor, endpoint, problems, seen)
        failure = self.failures.strike(vendor.name, seen)
        if failure is not None and failure.status is not None:
            reply = _failing(vendor, failure.status, failure.retry_after)
        self._remember(vendor, structs.replace(call, url=call.url + query), seen, problems, reply.status, failure)
        if failure is None:
            return Answer(reply)
        return Answer(None if failure.cut else reply, failure.delay)

    def _problems(
        self, vendor: Vendor, call: Call, endpoint: Endpoint | None, *, oversize: bool
    ) -> tuple[Problem, ...]:
        if endpoint is None:
            paths = ", ".join(f"POST {known.path}" for known in vendor.endpoints)
            return (
                Problem(ProblemKind.NOT_FOUND, f"There is no such path at {vendor.title}'s sandbox; it has {paths}."),
            )
        if call.method != "POST":
            return (Problem(ProblemKind.METHOD, f"{endpoint.path} takes POST only."),)
        if oversize:
            limit = self.max_body(vendor, call.url)
            return (Problem(endpoint.oversize, f"The request body is over {limit} bytes."),)
        found = vendor.inspect(call, endpoint)
        if self._is_stranger(vendor, call) and all(problem.status != 401 for problem in found):
            return (Problem(ProblemKind.UNAUTHORIZED, f"This is not the key that was set for {vendor.name}."), *found)
        return found

    def _is_stranger(self, vendor: Vendor, call: Call) -> bool:
        key = self._keys.get(vendor.name)
        return key is not None and key not in vendor.credentials(call.headers)

    def _word(self, vendor: Vendor, endpoint: Endpoint | None, problems: Sequence[Problem], seen: Contents) -> Reply:
        if endpoint is None or problems:
            reply = vendor.reject(problems[0])
            if reply.status == 405:
                return structs.replace(reply, headers={**reply.headers, "allow": "POST"})
            return reply
        return vendor.accept(endpoint, tuple(self._mint() for _ in range(seen.count)), user_id=seen.user_id)

    def _remember(
        self,
        vendor: Vendor,
        call: Call,
        seen: Contents,
        problems: Sequence[Problem],
        status: int,
        failure: Failure | None,
    ) -> None:
        cut = failure.cut if failure else None
        received = Received(
            at=self._clock.now(),
            vendor=vendor.name,
            method=call.method,
            path=call.url,
            headers=masked_headers(call.headers, vendor.credentials(call.headers), tail=SHOWN),
            **_shown(call.body, is_json=seen.is_json),
            status=None if cut == "before" else status,
            failed=failure is not None and (failure.status is not None or cut == "before"),
            cut=cut,
            problems=tuple(
                Flaw(status=problem.status, field=problem.field, message=problem.message, index=problem.index)
                for problem in problems
            ),
            events=seen.events,
            users=seen.users,
            trackgate_event_id=call.headers.get(EVENT_ID),
        )
        self.memory.remember(received, len(call.body))


def _endpoint(vendor: Vendor, path: str) -> Endpoint | None:
    return next((endpoint for endpoint in vendor.endpoints if endpoint.path == path), None)


def _failing(vendor: Vendor, status: int, retry_after: str | None) -> Reply:
    """The vendor's own words for the status where it is one that a dialect knows; else plain JSON."""
    message = f"The sandbox was told to answer {status}."
    if status in {kind.value for kind in ProblemKind}:
        seconds = int(retry_after) if retry_after and retry_after.isdigit() else None
        reply = vendor.reject(Problem(ProblemKind(status), message, retry_after=seconds))
    else:
        reply = json_reply(status, {"error": f"status_{status}", "message": message})
    if status == 304:  # HTTP allows it no body
        reply = structs.replace(reply, body=b"")
    extra = {} if retry_after is None else {"retry-after": retry_after}
    return structs.replace(reply, status=status, headers={**reply.headers, **extra})


def _shown(body: bytes, *, is_json: bool) -> dict[str, Any]:
    """The body, by the name of the field that shows it."""
    if is_json:
        return {"body": Raw(body)}
    try:
        return {"body_text": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode()}
