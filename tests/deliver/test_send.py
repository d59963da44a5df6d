"""One delivery, tried once: what the sender makes of a dialect that cannot say it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.made import event
from tests.outboxes.kinds import HandClock
from trackgate import vendors
from trackgate.deliver.send import Sender, Tried
from trackgate.model import Unsupported
from trackgate.outbox import Dead, Delivery
from trackgate.vendor import Target

VENDOR = vendors.load()["flywheel"]


class NobodyCalls:
    """A client that must not be used."""

    async def send(self, call: Any, _: float) -> Any:
        raise AssertionError("nothing is half-sent")

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (Unsupported("no_user_id", "nobody is named"), Dead("no_user_id", "nobody is named")),
        (ZeroDivisionError("secret value"), Dead("encode_failed", "ZeroDivisionError")),
    ],
    ids=["what a dialect cannot say", "a bug in a dialect: its name and nothing that was in the event"],
)
def test_what_cannot_be_encoded_is_dead_with_its_reason_and_nothing_is_sent(monkeypatch, error: Exception, dead: Dead):
    def encode(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(type(VENDOR), "encode", encode)
    sender = Sender(VENDOR, NobodyCalls(), HandClock(), timeout=1)
    target = Target(url="http://localhost", key="key", options=VENDOR.options())
    delivery = Delivery(seq=1, destination="d", lane=1, event=event(1))
    assert asyncio.run(sender.attempt(delivery, target)) == Tried(dead)
