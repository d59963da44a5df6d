"""What many processes may have: the way in, and the way out to some of the destinations, over one outbox."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING

from uuid_utils import uuid7

from trackgate.app.lifetime import SHARE_OF_GRACE
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.deliver.dispatcher import Dispatcher, Plan
from trackgate.deliver.send import Sender
from trackgate.headers import SANDBOX
from trackgate.ingest.asgi import Edge
from trackgate.ingest.doors import Doors
from trackgate.ingest.intake import Intake
from trackgate.ingest.refusals import Refusals
from trackgate.ingest.web import build
from trackgate.operate.tokens import Guarded
from trackgate.outbox import OutboxUnavailable, Standing
from trackgate.routing import Router
from trackgate.server import Bounds, Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from litestar.handlers import BaseRouteHandler
    from litestar.types import ASGIApp
    from structlog.typing import FilteringBoundLogger

    from trackgate.config import Config, Destination
    from trackgate.metrics import Metrics
    from trackgate.model import Clock
    from trackgate.outbox import Outbox

PROBE_PATIENCE = 5.0
"""Seconds that whoever asks for a probe waits beyond the timeout of its call."""


class Station:
    """Takes in from every source, and delivers to the destinations that are its own.

    Args:
        config: all of it.
        destinations: where this station delivers.
        outbox: where everything is kept.
        metrics: counts what is done here.
        log: bound to nothing yet.
        clock: the time.
        sandboxed: whether replies say that nothing reaches a real vendor.

    """

    def __init__(
        self,
        config: Config,
        destinations: Mapping[str, Destination],
        outbox: Outbox,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Clock,
        *,
        sandboxed: bool,
    ) -> None:
        self._config = config
        self._destinations = destinations
        self._outbox = outbox
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._sandboxed = sandboxed
        self._dispatchers: dict[str, Dispatcher] = {}

    # --- the way in -------------------------------------------------------------------------------------------

    def server(self, stack: AsyncExitStack, operators: ASGIApp, looked_at: Sequence[BaseRouteHandler]) -> Server:
        """Takes the calls; those in flight when it stops get their share of the grace.

        Args:
            stack: where it ends, the calls that were turned away and not told of yet are told.
            operators: answers what begins with `/-/`, to those who show a token for it.
            looked_at: answer `/readyz` and `/metrics`.

        """
        config = self._config.server
        app = build(self._edge(), Guarded(operators, config), looked_at)
        return Server(app, self._bounds(stack), config.grace * SHARE_OF_GRACE)

    def _edge(self) -> Edge:
        """Answers every vendor's path."""
        server = self._config.server
        filters = {name: destination.filters for name, destination in self._config.destinations.items()}
        intake = Intake(
            outbox=self._outbox,
            router=Router(self._config.routes, filters),
            clock=self._clock,
            mint=_mint,
            log=self._log,
            accept_timeout=server.accept_timeout,
        )
        return Edge(
            Doors(self._config.sources),
            intake,
            self._outbox,
            self._clock,
            self._log,
            self._metrics,
            max_body=server.max_body,
            body_timeout=server.body_timeout,
            marks={SANDBOX: "true"} if self._sandboxed else {},
        )

    def _bounds(self, stack: AsyncExitStack) -> Bounds:
        """What callers' connections may cost: of all that may be open, each process has an equal share."""
        server = self._config.server
        refusals = Refusals(self._log, self._metrics)
        stack.callback(refusals.close)
        return Bounds(
            header_bytes=server.max_header_bytes,
            header_timeout=server.header_timeout,
            connections=-(-server.max_connections // server.workers),
            spared=frozenset({b"/livez"}),
            on_refusal=refusals,
        )

    # --- the way out ------------------------------------------------------------------------------------------

    def deliver(self, stack: AsyncExitStack) -> list[asyncio.Task[None]]:
        """Start to deliver; what is in flight when the stack ends gets its share of the grace."""
        known = self._outbox.ledger().destinations
        running: list[asyncio.Task[None]] = []
        for name, destination in self._destinations.items():
            # A client each: what hangs at one destination takes no connection from another.
            client = AsyncioClient(self._clock, version("trackgate"), destination.concurrency)
            stack.push_async_callback(client.close)
            sender = Sender(destination.vendor, client, self._clock, destination.timeout)
            plan = Plan(
                name=name,
                concurrency=destination.concurrency,
                policy=destination.retry,
                rate=destination.rate,
                target=destination.target,
                known_target=destination.known_target(),
            )
            dispatcher = Dispatcher(plan, self._outbox, sender, self._clock, self._log, self._metrics)
            self._dispatchers[name] = dispatcher
            standing = known[name].standing if name in known else Standing()
            running.append(asyncio.create_task(dispatcher.run(standing)))
        self._outbox.on_append(self._wake)
        self._outbox.on_retry(self._wake_held)
        self._metrics.show_in_flight(self._in_flight)
        stack.push_async_callback(self._stop, running)
        return running

    async def _stop(self, running: list[asyncio.Task[None]]) -> None:
        """All at once: one hanging destination must not eat the others' grace."""
        grace = self._config.server.grace * SHARE_OF_GRACE
        await asyncio.gather(*(dispatcher.stop(grace) for dispatcher in self._dispatchers.values()))
        for task in running:
            task.cancel()  # one that has not ended by now waits for a storage that does not answer
        if running:
            await asyncio.wait(running)

    def _wake(self, names: frozenset[str]) -> None:
        """Something new is owed to these destinations."""
        for name in names & self._dispatchers.keys():
            self._dispatchers[name].wake()

    def _wake_held(self, names: frozenset[str]) -> None:
        """Some of the dead of these destinations are due again."""
        for name in names & self._dispatchers.keys():
            self._dispatchers[name].wake(held=True)

    def _in_flight(self) -> dict[str, int]:
        """Calls under way, by destination."""
        return {name: dispatcher.in_flight for name, dispatcher in self._dispatchers.items()}

    async def probe(self, name: str) -> Standing:
        """Try a stopped or paused destination at once; how it stands then.

        Raises:
            OutboxUnavailable: deliveries have not started yet.

        """
        if name not in self._dispatchers:
            raise OutboxUnavailable("the gateway is still starting: ask again")
        return await self._dispatchers[name].probe_now(self._destinations[name].timeout + PROBE_PATIENCE)


def _mint() -> str:
    return str(uuid7())
