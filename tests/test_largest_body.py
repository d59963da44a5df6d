"""Whatever fits into the largest body that may be configured can be stored, read back and passed between processes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.made import NOON
from trackgate import vendors
from trackgate.config.tables import LARGEST_BODY
from trackgate.model import Call, Problem, Receipt
from trackgate.outbox import Dedupe, Entry
from trackgate.outboxes.jobs import Append, ready
from trackgate.outboxes.remote import frames as remote_frames
from trackgate.outboxes.remote import outbox as remote
from trackgate.outboxes.remote.frames import frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackgate.vendor import Endpoint, Vendor

IN_ONE_PIECE = 10**9
"""Bytes of a value in SQLite, as it is built."""

LOADS = {
    "numbers": b"[" + b",".join([b"1e15"] * 20_000) + b"]",
    "quotes": b'"' + rb"\"" * 50_000 + b'"',
    "controls": b'"' + rb"\u0001" * 20_000 + b'"',
    "text": b'"' + b"x" * 100_000 + b'"',
}
"""Values that are longer when they are stored, when they are read back, or nowhere."""

ENDPOINTS = [
    pytest.param(vendor, endpoint, id=f"{vendor.name}{endpoint.path}")
    for vendor in vendors.load().values()
    for endpoint in vendor.endpoints
    if endpoint.max_body is None
]


def loaded(value: Any, load: msgspec.Raw) -> Iterator[Any]:
    """The value with the load in one of its places, each in its turn."""
    yield load
    if isinstance(value, dict):
        yield {**value, "more": load}
        for key, inside in value.items():
            yield from ({**value, key: one} for one in loaded(inside, load))


def bodies(vendor: Vendor, endpoint: Endpoint, load: msgspec.Raw) -> Iterator[bytes]:
    sample = msgspec.json.decode(vendor.sample("", "key").body)
    for event in loaded(sample, load):
        batch = [event] if endpoint.envelope is None else {endpoint.envelope: [event]}
        yield msgspec.json.encode(event if endpoint.batch is None else batch)


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(("vendor", "endpoint"), ENDPOINTS)
def test_what_is_stored_of_the_largest_body_is_within_every_bound(vendor, endpoint, load):
    numbers = count()
    receipt = Receipt("web", NOON, lambda: f"event-{next(numbers)}")
    taken = 0
    for body in bodies(vendor, endpoint, msgspec.Raw(LOADS[load])):
        try:
            decoded = vendor.decode(Call(url=endpoint.path, headers={}, body=body), endpoint, receipt)
        except Problem:
            continue
        taken += 1
        events = [each.event for each in decoded]
        rows = [ready(Entry(one, 1, frozenset(), dedupe=Dedupe(f"id:{one.event_id}", b""))) for one in events]
        job = Append(1, rows, sum(row.size for row in rows))
        scale = LARGEST_BODY / len(body)
        assert job.size * scale <= remote.LARGEST
        assert len(frame([job])) * scale <= remote_frames.MOST_FRAME
        assert sum(len(msgspec.json.encode(row.body)) for row in rows) * scale < IN_ONE_PIECE
    assert taken
