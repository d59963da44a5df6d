"""The operators' app over a real outbox, called in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import structlog

from tests.made import NOON
from tests.outboxes.kinds import Sqlite, entry
from trackgate.config import load
from trackgate.masking import MaskedCall
from trackgate.operate.inquiries import Readiness, Running
from trackgate.operate.operator import Operator
from trackgate.operate.web import build
from trackgate.outbox import Attempt, Dead, Delivery, Held, Settlement, Standing
from trackgate.outboxes.sqlite.reader import SqliteReader
from trackgate.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from trackgate.outboxes.sqlite.outbox import SqliteOutbox

ROUTES = """
[sources.web]
vendor = "userpilot"
key = "in"
[destinations.here]
vendor = "appizer"
key = "a-secret-of-here"
[destinations.there]
vendor = "thrivestack"
key = "a-secret-of-there"
"""


class Bench:
    """``here`` and ``there`` are configured; whatever else events are owed to has left the file."""

    def __init__(self, kind: Sqlite, outbox: SqliteOutbox, app: Any) -> None:
        self.clock = kind.clock
        self.directory = kind.directory
        self.outbox = outbox
        self.app = app
        self.probed: list[str] = []
        self.readiness = Readiness("ready")
        self.stands = Standing()
        """How a destination stands after a probe."""

    async def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://x") as client:
            return await client.request(method, path, **sent)

    async def get(self, path: str, **query: Any) -> Any:
        return (await self.ask("GET", path, params=query)).raise_for_status().json()

    async def post(self, path: str, **body: Any) -> Any:
        return (await self.ask("POST", path, json=body)).raise_for_status().json()

    async def owe(self, destination: str, *numbers: int, **stated: Any) -> None:
        await self.outbox.append([entry(number, destination, **stated) for number in numbers])

    async def kill(
        self, destination: str, *numbers: int, reason: str = "status_400", detail: str = "said no", **stated: Any
    ) -> None:
        """Make events that die at a destination, a minute after one another."""
        for number in numbers:
            await self.owe(destination, number, **stated)
            for delivery in await self.outbox.take(destination, 1):
                self.clock.seconds += 60
                await self.outbox.settle([_died(delivery, reason, detail, self.clock.now())])

    async def hold(self, destination: str) -> None:
        """What waits there was tried once, and is held."""
        taken = await self.outbox.take(destination, 100)
        fates = [Settlement(delivery=one, fate=Held(due=self.clock.now() + timedelta(hours=1))) for one in taken]
        await self.outbox.settle(fates)


def _died(delivery: Delivery, reason: str, detail: str, now: Any) -> Settlement:
    sent = MaskedCall("POST", "https://old.example/v1/events", {"x": "***", "trackgate-hops": "1"}, '{"a":1}')
    request = msgspec.json.encode(sent).decode()
    attempt = Attempt(at=now, duration=0.01, step="track", outcome="refuse", reason=reason, status=400, reply="no")
    return Settlement(delivery=delivery, fate=Dead(reason, detail, request), attempts=(attempt,))


def play(folder: Path, act: Callable[[Bench], Awaitable[None]], *, live: bool = True, read_only: bool = False) -> None:
    """Act on a bench."""

    async def main() -> None:
        async with bench(folder, live=live, read_only=read_only) as made:
            await act(made)

    asyncio.run(main())


@asynccontextmanager
async def bench(folder: Path, *, live: bool, read_only: bool = False) -> AsyncIterator[Bench]:
    (folder / "routes.toml").write_text(ROUTES)
    config, _ = load(folder / "routes.toml", {}, {})
    assert config is not None
    kind = Sqlite(folder)
    outbox = await kind.open()
    made: Bench

    async def probe(name: str) -> Standing:
        made.probed.append(name)
        return made.stands

    running = Running(readiness=lambda: made.readiness, workers=Workers(1, {0}), rate=lambda _: 1.5, probe=probe)
    operator = Operator(
        lambda: SqliteReader(kind.directory),
        None if read_only else outbox,
        sources=config.sources,
        destinations=config.destinations,
        running=running if live else None,
        clock=kind.clock,
        log=structlog.get_logger(),
    )
    made = Bench(kind, outbox, build(operator, kind.clock))
    try:
        yield made
    finally:
        await outbox.close()


def minutes(number: int) -> str:
    """So long after the start of the bench's clock."""
    return (NOON + timedelta(minutes=number)).isoformat()
