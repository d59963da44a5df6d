"""The outboxes that the laws hold for, and what the tests make them of."""

from __future__ import annotations

import shutil
import socket
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.made import NOON, event
from trackgate.outbox import Dedupe, Delivery, Done, Entry, Fate, Found, Settlement
from trackgate.outboxes.remote.outbox import RemoteOutbox
from trackgate.outboxes.remote.server import OutboxServer
from trackgate.outboxes.sqlite.limits import Limits
from trackgate.outboxes.sqlite.outbox import SqliteOutbox
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
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


class Remote(Sqlite):
    """The embedded outbox, reached through a socket; the operators' orders are given where it is."""

    name = "remote"

    async def open(self, *, log: Any = None, vfs: str | None = None, **limits: Any) -> Any:
        owned = await super().open(log=log, vfs=vfs, **limits)
        with TemporaryDirectory() as folder:  # its path is short
            path = f"{folder}/socket"
            server = await OutboxServer.start(owned, listener(path), log=log, ledger_every=0)
            return _Reached(owned, server, await RemoteOutbox.open(path))


class _Reached:
    """An outbox that is served, and the way to it."""

    def __init__(self, owned: SqliteOutbox, server: OutboxServer, remote: RemoteOutbox) -> None:
        self._owned = owned
        self._server = server
        self._remote = remote

    def __getattr__(self, name: str) -> Any:
        return getattr(self._remote, name)

    def healthy(self) -> str | None:
        return self._owned.healthy()

    async def retry_dead(self, *order: Any) -> int:
        return await self._heard(self._owned.retry_dead(*order))

    async def drop_dead(self, *order: Any) -> int:
        return await self._heard(self._owned.drop_dead(*order))

    async def move(self, *order: Any) -> int:
        return await self._heard(self._owned.move(*order))

    async def drop_waiting(self, *order: Any) -> int:
        return await self._heard(self._owned.drop_waiting(*order))

    async def _heard(self, order: Coroutine[Any, Any, int]) -> int:
        done = await order
        await self._remote.give_back([STALE])  # what is answered after it was told what the order changed
        return done

    async def close(self) -> None:
        await self._remote.close()
        await self._server.close()
        await self._owned.close()


STALE = Delivery(seq=10**9, destination="nowhere", lane=0, event=event(0))
"""In nobody's hand: to settle it, or to give it back, changes nothing."""


def listener(path: str) -> socket.socket:
    """A Unix socket, listening."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    return listening


KINDS: list[type[Sqlite]] = [Sqlite, Remote]
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
