"""Made-up values that several tests need."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trackgate.model import Event
from trackgate.outbox import Delivery

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(number: int = 1, **stated: Any) -> Event:
    """The event with this number; ``stated`` overrides its fields."""
    given = {"vendor": "userpilot", "source": "web", "received_at": NOON, "name": "signed_up", "user_id": "u-1"}
    return Event(id=f"event-{number}", **{**given, **stated})


def delivery(seq: int = 1, lane: int = 1, **known: Any) -> Delivery:
    """The delivery of event ``seq``."""
    return Delivery(seq=seq, destination="there", lane=lane, event=event(seq), **known)
