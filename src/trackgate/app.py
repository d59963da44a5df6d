"""The composition root: builds the whole program from one configuration, runs it, and takes it down in order."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace
from uuid_utils import uuid7

from trackgate import data, vendors
from trackgate.backlog import BacklogWatch, Filling, SheddingBegan, SheddingEnded
from trackgate.clients.pyreqwest_engine import PyreqwestClient
from trackgate.deliver.send import Sender
from trackgate.deliver.worker import Plan, Worker
from trackgate.headers import SANDBOX
from trackgate.ingest.asgi import Edge
from trackgate.ingest.doors import Doors
from trackgate.ingest.intake import Intake
from trackgate.ingest.refusals import Refusals
from trackgate.ingest.web import build
from trackgate.metrics import Metrics
from trackgate.operate.control_socket import listening
from trackgate.operate.inquiries import Running
from trackgate.operate.meter import Meter
from trackgate.operate.operator import Operator
from trackgate.operate.tally import GONE
from trackgate.operate.tokens import Guarded
from trackgate.operate.web import build as build_operators
from trackgate.outbox import OutboxUnavailable, Standing
from trackgate.outboxes.sqlite_reader import SqliteReader
from trackgate.routing import Router
from trackgate.sandbox import build as build_sandbox
from trackgate.sandbox import redirected
from trackgate.server import Bounds, Server, address_of, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from litestar import Litestar
    from structlog.typing import FilteringBoundLogger

    from trackgate.address import Address
    from trackgate.config import Config, Destination
    from trackgate.model import Clock
    from trackgate.outbox import Ledger, Outbox
    from trackgate.outboxes.sqlite import SqliteOutbox

BACKLOG_EVENTS = {
    Filling: "backlog.filling",
    SheddingBegan: "backlog.shedding_began",
    SheddingEnded: "backlog.shedding_ended",
}

SHARE_OF_GRACE = 0.45
"""Of ``server.grace``: for the callers, then for the deliveries in flight; the rest is for closing the outbox."""

OPERATORS = 16
"""Connections to the control socket that are served at a time."""

LOOK_AFTER = 0.2
"""Seconds from a commit to a look at the ledger: there may be thousands of commits a second, and a look is dear."""

PROBE_PATIENCE = 5.0
"""Seconds that whoever asks for a probe waits beyond the timeout of its call."""


class PartEnded(Exception):  # noqa: N818 - what happened
    """A part that runs as long as the program ended by itself: a bug. A supervisor starts the program anew."""


class Gateway:
    """The running program, for as long as ``run`` lasts.

    Args:
        config: all of it; it is never changed.
        log: bound to nothing yet.
        clock: the time.
        sandbox: where the emulated vendors listen, if they run beside the gateway and get every delivery.

    """

    def __init__(
        self,
        config: Config,
        log: FilteringBoundLogger,
        clock: Clock,
        *,
        sandbox: Address | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._sandbox = sandbox
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        self._phase = "starting"
        self._watch = BacklogWatch()
        self._looking = False

    async def run(self, announce: Callable[[str, str | None], None]) -> None:
        """Serve until a SIGTERM or SIGINT, then drain; ``announce`` hears the addresses once everything listens.

        Raises:
            OSError: an address cannot be listened at.
            OutboxError: the data directory cannot be used.
            PartEnded: something that runs as long as the program ended by itself; everything was drained.

        """
        signalled = _signals()
        async with AsyncExitStack() as stack:
            # First of all: where two gateways meet, that they share a directory is what has to be said.
            outbox = await self._open_outbox(stack)
            listener = bind(self._config.server.address)
            stack.callback(listener.close)
            sandbox_at = await self._start_sandbox(stack)
            destinations = self._config.destinations
            if sandbox_at is not None:
                destinations = redirected(destinations, sandbox_at)
            operators = build_operators(self._operator(outbox, destinations), self._clock)
            await self._serve_operators(stack, operators)
            running = await self._start_workers(stack, destinations, outbox)
            server = self._server(outbox, Guarded(operators, self._config.server))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            damage = asyncio.create_task(outbox.until_damaged())
            stack.callback(damage.cancel)
            for task in (serving, damage, *running):
                task.add_done_callback(lambda _: signalled.set())
            self._phase = "ready"
            address = str(address_of(listener))
            self._log.info("gateway.started", listen=address, sandbox=sandbox_at, data=str(self._data))
            announce(address, sandbox_at)
            await signalled.wait()
            ended = [task for task in (serving, damage, *running) if task.done()]
            self._phase = "draining"
            self._log.info("gateway.draining", grace=self._config.server.grace)
            server.stop()
            await asyncio.wait([serving])
        self._log.info("gateway.stopped")
        if ended:
            raise PartEnded from ended[0].exception()

    # --- parts ------------------------------------------------------------------------------------------------

    async def _start_sandbox(self, stack: AsyncExitStack) -> str | None:
        if self._sandbox is None:
            return None
        listener = bind(self._sandbox)
        sandbox = build_sandbox(vendors.load(), self._clock, loopback_only=self._sandbox.loopback)
        server = Server(sandbox, Bounds(), grace=1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stack.push_async_callback(_stop_server, server, serving)
        return str(address_of(listener))

    async def _open_outbox(self, stack: AsyncExitStack) -> SqliteOutbox:
        self._data = data.make(self._config.server, sandbox=self._sandbox is not None)
        outbox = await data.open_outbox(
            self._data, self._config, self._clock, self._log, lambda seconds, _: self._committed(outbox, seconds)
        )
        stack.push_async_callback(outbox.close)
        self._metrics = Metrics(outbox.ledger, self._in_flight, self._clock)
        self._meter = Meter(outbox.ledger(), self._clock)
        outbox.on_append(self._appended)
        outbox.on_retry(self._retried)
        return outbox

    async def _serve_operators(self, stack: AsyncExitStack, operators: Litestar) -> None:
        """On the control socket, from before the workers start until they have stopped."""
        try:
            listener = stack.enter_context(listening(self._data))
        except OSError as error:
            advice = "`trackgate status` and its like cannot reach this gateway; give it a shorter `server.data`"
            self._log.warning("control.unavailable", error=error.strerror or str(error), advice=advice)
            return
        server = Server(operators, Bounds(connections=OPERATORS), grace=1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stack.push_async_callback(_stop_server, server, serving)

    def _operator(self, outbox: SqliteOutbox, destinations: Mapping[str, Destination]) -> Operator:
        return Operator(
            lambda: SqliteReader(self._data),
            outbox,
            sources=self._config.sources,
            destinations=destinations,
            running=Running(phase=lambda: self._phase, rate=self._meter.rate, probe=self._probe),
            clock=self._clock,
            log=self._log,
        )

    async def _start_workers(
        self, stack: AsyncExitStack, destinations: Mapping[str, Destination], outbox: Outbox
    ) -> list[asyncio.Task[None]]:
        known = outbox.ledger().destinations
        running: list[asyncio.Task[None]] = []
        for name in known.keys() - destinations.keys():
            if known[name].waiting or known[name].dead:
                self._log.warning(
                    "destination.parked",
                    destination=name,
                    reason=GONE,
                    waiting=known[name].waiting,
                    dead=known[name].dead,
                    advice=f"put it back, or: trackgate move {name} NEW",
                )
            await outbox.stand(
                name, replace(known[name].standing, state="parked", reason=GONE, since=self._clock.now())
            )
        for name, destination in destinations.items():
            # A client each: what hangs at one destination takes no connection from another.
            client = PyreqwestClient(self._clock, version("trackgate"), destination.concurrency)
            stack.push_async_callback(client.close)
            sender = Sender(destination.vendor, client, self._clock, destination.timeout)
            plan = Plan(
                name=name,
                concurrency=destination.concurrency,
                policy=destination.retry,
                rate=destination.rate,
                target=destination.target,
            )
            worker = Worker(plan, outbox, sender, self._clock, self._log, self._metrics)
            self._workers[name] = worker
            tally = known.get(name)
            standing = tally.standing if tally is not None else Standing()
            if standing.reason == GONE:
                standing = replace(standing, state="up", reason=None, since=self._clock.now())
                await outbox.stand(name, standing)
                self._log.info("destination.resumed", destination=name, was="parked", reason=GONE)
            running.append(asyncio.create_task(worker.run(standing)))
        stack.push_async_callback(self._stop_workers, running)
        return running

    async def _stop_workers(self, running: list[asyncio.Task[None]]) -> None:
        """All at once: one hanging destination must not eat the others' grace."""
        grace = self._config.server.grace * SHARE_OF_GRACE
        await asyncio.gather(*(worker.stop(grace) for worker in self._workers.values()))
        for task in running:
            task.cancel()  # one that has not ended by now waits for a storage that does not answer
        if running:
            await asyncio.wait(running)

    def _server(self, outbox: SqliteOutbox, operators: Guarded) -> Server:
        server = self._config.server
        filters = {name: destination.filters for name, destination in self._config.destinations.items()}
        intake = Intake(
            outbox=outbox,
            router=Router(self._config.routes, filters),
            clock=self._clock,
            mint=_mint,
            log=self._log,
            accept_timeout=server.accept_timeout,
        )
        edge = Edge(
            Doors(self._config.sources),
            intake,
            outbox,
            self._clock,
            self._log,
            self._metrics,
            max_body=server.max_body,
            body_timeout=server.body_timeout,
            marks={SANDBOX: "true"} if self._sandbox is not None else {},
        )
        bounds = Bounds(
            header_bytes=server.max_header_bytes,
            header_timeout=server.header_timeout,
            connections=server.max_connections,
            spared=frozenset({b"/livez"}),
            on_refusal=Refusals(self._clock, self._log, self._metrics),
        )
        app = build(edge, operators, lambda: self._ready(outbox), self._metrics.render)
        return Server(app, bounds, server.grace * SHARE_OF_GRACE)

    # --- seen from outside ------------------------------------------------------------------------------------

    def _ready(self, outbox: SqliteOutbox) -> tuple[bool, dict[str, Any]]:
        ledger = outbox.ledger()
        trouble = outbox.healthy()
        good = self._phase == "ready" and trouble is None
        return good, {
            "status": "ready" if good else self._phase if self._phase != "ready" else "refusing",
            "reason": trouble,
            "sandbox": self._sandbox is not None,
            "backlog_bytes": ledger.backlog_bytes,
            "backlog_limit_bytes": ledger.backlog_limit,
            "destinations": {name: _shown(ledger, name) for name in ledger.destinations.keys() | self._workers.keys()},
        }

    def _in_flight(self) -> dict[str, int]:
        return {name: worker.in_flight for name, worker in self._workers.items()}

    async def _probe(self, name: str) -> Standing:
        if name not in self._workers:
            raise OutboxUnavailable("the gateway is still starting: ask again")
        patience = self._config.destinations[name].timeout + PROBE_PATIENCE
        return await self._workers[name].probe_now(patience)

    def _committed(self, outbox: SqliteOutbox, seconds: float) -> None:
        self._metrics.committed(seconds)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_AFTER, self._look, outbox)

    def _look(self, outbox: Outbox) -> None:
        """A moment after a commit: take a sample for the rates, and see whether the backlog fills."""
        self._looking = False
        ledger = outbox.ledger()
        self._meter.note(ledger)
        for told in self._watch.look(ledger):
            self._log.warning(BACKLOG_EVENTS[type(told)], **asdict(told))

    def _appended(self, owed: frozenset[str]) -> None:
        """After a commit that owes something: wake those who deliver it."""
        for name in owed & self._workers.keys():
            self._workers[name].wake()

    def _retried(self, names: frozenset[str]) -> None:
        for name in names & self._workers.keys():
            self._workers[name].wake(held=True)


def _mint() -> str:
    return str(uuid7())


def _shown(ledger: Ledger, name: str) -> dict[str, Any]:
    tally = ledger.destinations.get(name)
    if tally is None:
        return {"state": "up", "waiting": 0, "dead": 0}
    return {
        "state": tally.standing.state,
        "reason": tally.standing.reason,
        "since": tally.standing.since,
        "waiting": tally.waiting,
        "dead": tally.dead,
        "oldest": tally.oldest,
        "backlog_bytes": tally.backlog_bytes,
        "backlog_limit_bytes": tally.backlog_limit,
        "backlog_full": tally.backlog_full,
    }


def _signals() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; a second one ends the process at once (what was promised is on disk)."""
    first = asyncio.Event()

    def on_signal(number: int) -> None:
        if first.is_set():
            os._exit(128 + number)
        first.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return first


async def _stop_server(server: Server, serving: asyncio.Task[None]) -> None:
    server.stop()
    await serving
