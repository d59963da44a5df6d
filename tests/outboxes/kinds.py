"""The outboxes that the laws hold for, and what the tests make them of."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.made import NOON, event
from trackgate.outbox import Dedupe, Delivery, Done, Entry, Fate, Found, Settlement
from trackgate.outboxes.sqlite import SqliteOutbox
from trackgate.outboxes.sqlite_limits import Limits
from trackgate.outboxes.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HOUR = 3600.0
ROOMY: dict[str, Any] = {
    "max_backlog": 2**30,
    "min_free": 0,
    "retention": HOUR,
    "dead_retention": 1000 * HOUR,
    "dedupe_window": 2 * HOUR,
}


class HandClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Sqlite:
    """The embedded outbox."""

    name = "sqlite"

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lives = 0
        self.clock = HandClock()

    @property
    def directory(self) -> Path:
        return self._place / f"life-{self._lives}"

    async def open(self, *, log: Any = None, vfs: str | None = None, **limits: Any) -> SqliteOutbox:
        bounds = Limits(**{**ROOMY, **limits})
        return await SqliteOutbox.open(self.directory, self.clock, bounds, log=log, vfs=vfs)

    def find(self, event_id: str) -> Found | None:
        """An event by our id, and what became of it."""
        with SqliteReader(self.directory) as reader:
            return reader.find(event_id)

    def crash(self) -> None:
        """Go on with the files as a kill at this moment would leave them (what was open stays with the old ones)."""
        dead = self.directory
        self._lives += 1
        shutil.copytree(dead, self.directory, ignore=shutil.ignore_patterns("*-shm"))


KINDS = [Sqlite]
"""One class each: ``open`` gives an outbox on the same data each time, ``crash`` loses what a kill would lose, ``find``
tells what is known of an event."""


def entry(number: int, *owed: str, lane: int | None = None, key: str | None = None, **stated: Any) -> Entry:
    """The entry of event ``number``, owed to these; a lane of its own unless told."""
    digest = repr(sorted(stated.items())).encode()
    return Entry(
        event(number, **stated),
        lane=number if lane is None else lane,
        owed=frozenset(owed),
        dedupe=None if key is None else Dedupe(key, digest),
    )


def settled(deliveries: Iterable[Delivery], fate: Fate | None = None) -> list[Settlement]:
    """Settlements of these, delivered unless told."""
    return [Settlement(delivery=one, fate=fate or Done()) for one in deliveries]


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    """The numbers of the events, as text."""
    return [one.event.id.removeprefix("event-") for one in deliveries]
