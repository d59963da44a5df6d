"""One delivery, tried once: encode, send the calls in order, say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trackgate.headers import EVENT_ID, HOPS
from trackgate.masking import masked
from trackgate.model import Call, Delivered, NoReply, Outcome, Reply, Retry, Unsupported
from trackgate.outbox import Attempt, Dead, Delivery

if TYPE_CHECKING:
    from trackgate.client import Client
    from trackgate.model import Clock
    from trackgate.vendor import Encoded, Target, Vendor

KEPT_OF_A_REPLY = 2048
"""Characters of an unsuccessful reply that are kept with its attempt."""

KEPT_OF_A_REQUEST = 64 * 2**10
"""Bytes of a body that are kept with a delivery that died."""


class Tried(Struct, frozen=True):
    """What one try gave.

    ``result`` is the outcome of the last call made, or ``Dead`` where the event cannot be said at all. ``step`` is
    the call to resume at; ``notes`` are the codes of the conversion; ``call`` is the last one made.
    """

    result: Outcome | Dead
    step: str | None = None
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    call: Call | None = None


class Sender:
    """Makes the calls of one destination.

    Args:
        vendor: the destination's dialect.
        client: the engine.
        clock: for the record.
        timeout: seconds for each call, all told.

    """

    def __init__(self, vendor: Vendor, client: Client, clock: Clock, timeout: float) -> None:
        self._vendor = vendor
        self._client = client
        self._clock = clock
        self._timeout = timeout

    async def attempt(self, delivery: Delivery, target: Target) -> Tried:
        """Try a delivery: from its step on, until a call is not delivered."""
        encoded = self._encode(delivery, target)
        if isinstance(encoded, Dead):
            return Tried(encoded)
        codes = tuple(dict.fromkeys(note.code for note in encoded.notes))
        attempts: list[Attempt] = []
        result: Outcome = Delivered()
        call = None
        for unmarked in _from_step(encoded.calls, delivery.step):
            call = _marked(unmarked, delivery)
            result, attempt = await self._make(call)
            attempts.append(attempt)
            if not isinstance(result, Delivered):
                return Tried(result, call.step, tuple(attempts), codes, call)
        return Tried(result, None, tuple(attempts), codes, call)

    def shown(self, call: Call) -> str:
        """A call as it was made, for people, as JSON: its credentials masked, a long body cut."""
        short = replace(call, body=call.body[:KEPT_OF_A_REQUEST])
        return msgspec.json.encode(masked(short, self._vendor.credentials(call.headers))).decode()

    def _encode(self, delivery: Delivery, target: Target) -> Encoded | Dead:
        try:
            return self._vendor.encode(delivery.event, target)
        except Unsupported as error:
            return Dead(error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - a bug in a dialect must not make a crash loop: kept, with its name
            return Dead("encode_failed", type(error).__name__)

    async def _make(self, call: Call) -> tuple[Outcome, Attempt]:
        at, start = self._clock.now(), self._clock.monotonic()
        answer = await self._client.send(call, self._timeout)
        outcome = self._vendor.classify(answer) if isinstance(answer, Reply) else Retry(answer.reason)
        attempt = Attempt(
            at=at,
            duration=self._clock.monotonic() - start,
            step=call.step,
            outcome=type(outcome).__name__.lower(),
            reason=None if isinstance(outcome, Delivered) else outcome.reason,
            status=answer.status if isinstance(answer, Reply) else None,
            reply=None if isinstance(outcome, Delivered) else _excerpt(answer),
        )
        return outcome, attempt


def _from_step(calls: tuple[Call, ...], step: str | None) -> tuple[Call, ...]:
    """The calls from ``step`` on; all of them where a changed configuration knows no such step."""
    if step is None:
        return calls
    steps = [call.step for call in calls]
    return calls[steps.index(step) :] if step in steps else calls


def _marked(call: Call, delivery: Delivery) -> Call:
    marks = {EVENT_ID: delivery.event.id, HOPS: str(delivery.hops + 1)}
    return replace(call, headers={**call.headers, **marks})


def _excerpt(answer: Reply | NoReply) -> str:
    text = answer.detail if isinstance(answer, NoReply) else answer.body[: KEPT_OF_A_REPLY * 4].decode(errors="replace")
    return text[:KEPT_OF_A_REPLY]
