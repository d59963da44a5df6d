"""The workers, as the owner asks them: what they have counted, and to try a destination at once.

Each answers at a Unix socket of its own in the data directory:

    GET  /share          its share of the metrics
    POST /probe/{name}   try a stopped or paused destination now; how it stands then
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import msgspec
from litestar import Litestar, MediaType, Request, Response, get, post

from trackgate.app import station
from trackgate.metrics_share import Share
from trackgate.outbox import OutboxUnavailable, Standing
from trackgate.unix_socket import path_to
from trackgate.workers import works_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from trackgate.app.station import Station
    from trackgate.config import Destination
    from trackgate.metrics import Metrics

SHARE_PATIENCE = 2.0
"""Seconds that a scrape waits for a worker; then what that one said last is shown."""

PROBE_PATIENCE = station.PROBE_PATIENCE + 5.0
"""Seconds that a probe may take beyond the timeout of its call: what the worker waits, and the way there and back."""


def name_of(number: int) -> str:
    """A worker's socket in the data directory."""
    return f"worker-{number}.sock"


def longest_probe(destinations: Iterable[Destination]) -> float:
    """Seconds that a probe of any of these may take."""
    return max((each.timeout for each in destinations), default=0.0) + PROBE_PATIENCE


def build(worker: Station, metrics: Metrics) -> Litestar:
    """What a worker answers the owner."""

    @get("/share", sync_to_thread=False)
    def share() -> Response[bytes]:
        return Response(msgspec.json.encode(metrics.share()), media_type=MediaType.JSON)

    @post("/probe/{name:str}")
    async def probe(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            standing = await worker.probe(request.path_params["name"])
        except OutboxUnavailable as error:
            return Response(str(error).encode(), status_code=503)
        return Response(msgspec.json.encode(standing), media_type=MediaType.JSON)

    return Litestar([share, probe], openapi_config=None, logging_config=None)


class Crew:
    """All workers.

    Args:
        directory: where their sockets are.
        destinations: all that are configured, in their order.
        workers: how many there are.
        stack: ends the connections.
        log: bound to nothing yet.

    """

    def __init__(
        self,
        directory: Path,
        destinations: Mapping[str, Destination],
        workers: int,
        stack: AsyncExitStack,
        log: FilteringBoundLogger,
    ) -> None:
        self._log = log
        self._destinations = destinations
        self._places = list(destinations)
        self._workers = [
            httpx.AsyncHTTPTransport(uds=stack.enter_context(path_to(directory, name_of(number))))
            for number in range(workers)
        ]
        for worker in self._workers:
            stack.push_async_callback(worker.aclose)
        self._last: list[Share] = [{} for _ in self._workers]

    def __len__(self) -> int:
        return len(self._workers)

    async def shares(self) -> Sequence[Share]:
        """What each of them has counted; of one that cannot say, what it had counted when it last did."""
        return await asyncio.gather(*(self._share(number) for number in range(len(self._workers))))

    async def probe(self, name: str) -> Standing:
        """Have a configured destination tried; how it stands then.

        Raises:
            OutboxUnavailable: its worker does not answer.

        """
        worker = works_at(self._places.index(name), len(self._workers))
        patience = self._destinations[name].timeout + PROBE_PATIENCE
        try:
            reply = await self._ask(worker, "POST", f"/probe/{quote(name, safe='')}", patience)
        except httpx.TransportError:
            raise OutboxUnavailable(f"worker {worker}, which delivers to {name}, does not answer: ask again") from None
        if not reply.is_success:
            raise OutboxUnavailable(reply.text)
        return msgspec.json.decode(reply.content, type=Standing)

    async def _share(self, worker: int) -> Share:
        with suppress(httpx.TransportError):
            reply = await self._ask(worker, "GET", "/share", SHARE_PATIENCE)
            if reply.is_success:
                self._last[worker] = msgspec.json.decode(reply.content, type=Share)
            else:
                advice = "/metrics shows what it had counted before; if this stays, restart the gateway"
                self._log.warning("share.failed", worker=worker, status=reply.status_code, advice=advice)
        return self._last[worker]

    async def _ask(self, worker: int, method: str, path: str, patience: float) -> httpx.Response:
        timeout = httpx.Timeout(patience).as_dict()
        request = httpx.Request(method, f"http://worker{path}", extensions={"timeout": timeout})
        reply = await self._workers[worker].handle_async_request(request)
        await reply.aread()
        await reply.aclose()
        return reply
