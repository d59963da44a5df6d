"""From a call at its door to the vendor's own acceptance: decode, route, append, and only then say yes."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trackgate.deadlines import Deadlines
from trackgate.headers import BATCH_ID, EVENT_ID, HOPS, IDEMPOTENCY_KEY
from trackgate.model import Call, Event, Problem, ProblemKind, Receipt, Reply
from trackgate.outbox import Appended, Dedupe, Entry, OutboxError, OutboxFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from trackgate.ingest.doors import Door
    from trackgate.model import Clock
    from trackgate.outbox import Outbox
    from trackgate.routing import Router
    from trackgate.vendor import Decoded

MAX_HOPS = 8
"""Gateways that an event may come through; more is a loop."""

COME_BACK = 5
"""Seconds of Retry-After when the storage does not answer."""
COME_BACK_FULL = 30
"""Seconds of Retry-After when there is no room."""


class Intake(Struct, frozen=True, kw_only=True):
    """What taking a call in needs."""

    outbox: Outbox
    router: Router
    clock: Clock
    mint: Callable[[], str]
    log: FilteringBoundLogger
    accept_timeout: float
    """Seconds that a caller waits for the commit before it hears a 503."""
    deadlines: Deadlines = msgspec.field(default_factory=Deadlines)

    async def take(self, door: Door, call: Call) -> Reply:
        """Make the events of a call durable and say so in the vendor's words.

        Raises:
            Problem: the call is turned away, and nothing is promised; where the storage was too slow to answer, the
                events may be kept all the same.

        """
        receipt = Receipt(door.source.name, self.clock.now(), self.mint)
        hops = _hops(call)
        decoded = door.source.vendor.decode(call, door.endpoint, receipt)
        key = call.headers.get(IDEMPOTENCY_KEY, "")
        entries = [self._entry(each.event, hops, key, index) for index, each in enumerate(decoded)]
        appended = await self._append(entries)
        ids = tuple(each.id for each in appended)
        reply = door.source.vendor.accept(door.endpoint, ids, user_id=entries[0].event.user_id)
        if door.endpoint.batch is None:
            self._tell(decoded, entries, appended)
            return replace(reply, headers={**reply.headers, EVENT_ID: ids[0]})
        # The first event's, since that is stored: a repeat gets the same, and it finds the event.
        self._tell(decoded, entries, appended, batch_id=ids[0])
        only = {EVENT_ID: ids[0]} if len(ids) == 1 else {}
        return replace(reply, headers={**reply.headers, **only, BATCH_ID: ids[0]})

    def _entry(self, event: Event, hops: int, idempotency_key: str, index: int) -> Entry:
        routed = self.router.route(event)
        return Entry(event, lane_of(event), routed.owed, routed.filtered, hops, _dedupe(event, idempotency_key, index))

    async def _append(self, entries: Sequence[Entry]) -> Sequence[Appended]:
        try:
            with self.deadlines.within(self.accept_timeout):
                return await self.outbox.append(entries)
        except OutboxFull as full:
            words = f"Trackgate has no room for new events ({full.limit.replace('_', ' ')}); try again later."
            raise Problem(
                ProblemKind.UNAVAILABLE, words, retry_after=COME_BACK_FULL, reason=f"{full.limit}_full"
            ) from None
        except OutboxError:
            words = "Trackgate cannot store events right now; try again later."
            raise Problem(ProblemKind.UNAVAILABLE, words, retry_after=COME_BACK) from None
        except TimeoutError:
            words = f"Trackgate did not hear within {self.accept_timeout:g} s that this is stored; try again later."
            raise Problem(ProblemKind.UNAVAILABLE, words, retry_after=COME_BACK) from None

    def _tell(
        self, decoded: Sequence[Decoded], entries: Sequence[Entry], appended: Sequence[Appended], **batch: str
    ) -> None:
        for each, entry, result in zip(decoded, entries, appended, strict=True):
            codes = [note.code for note in each.notes]
            tell = self.log.warning if codes or result.conflict else self.log.info
            tell(
                "event.accepted",
                event_id=result.id,
                source=entry.event.source,
                kind=entry.event.kind,
                owed=sorted(entry.owed),
                duplicate=result.duplicate,
                conflict=result.conflict,
                notes=codes,
                **batch,
            )


def lane_of(event: Event) -> int:
    """The stable hash of the event's user, else of its anonymous id, else of itself; signed 64 bit."""
    if event.user_id:
        text = f"user:{event.user_id}"
    elif event.anonymous_id:
        text = f"anonymous:{event.anonymous_id}"
    else:
        text = f"event:{event.id}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _hops(call: Call) -> int:
    text = call.headers.get(HOPS)
    if text is None:
        return 0
    hops = int(text[:9]) if text.isascii() and text.isdigit() else 0
    if hops > MAX_HOPS:
        raise Problem(ProblemKind.INVALID, f"The call came through more than {MAX_HOPS} gateways; look for a loop.")
    return hops


def _dedupe(event: Event, idempotency_key: str, index: int) -> Dedupe | None:
    """The caller's own id of the event, else its Idempotency-Key (with the place in a batch)."""
    if event.event_id:
        return Dedupe(f"id:{event.event_id}", _digest(event))
    if idempotency_key:
        return Dedupe(f"key:{index}:{idempotency_key}", _digest(event))
    return None


def _digest(event: Event) -> bytes:
    """Of everything that the caller said, in whatever order it said it."""
    said = replace(event, id="", received_at=msgspec.UNSET)
    return blake2b(msgspec.json.encode(said, order="deterministic"), digest_size=16).digest()
