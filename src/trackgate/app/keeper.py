"""What one process has alone: the data directory with its outbox and ledger, and what is asked of them from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import asdict, replace

from trackgate import data, vendors
from trackgate.app.lifetime import serve_beside
from trackgate.backlog import BacklogWatch, Filling, SheddingBegan, SheddingEnded
from trackgate.metrics import Metrics
from trackgate.operate.inquiries import Readiness, Running
from trackgate.operate.meter import Meter
from trackgate.operate.operator import Operator
from trackgate.operate.tally import GONE, complete, of_workers, standing_of
from trackgate.operate.web import build as build_operators
from trackgate.outboxes.sqlite.reader import SqliteReader
from trackgate.sandbox import build as build_sandbox
from trackgate.sandbox import redirected
from trackgate.server import Bounds, Server, address_of, bind
from trackgate.unix_socket import listening
from trackgate.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime
    from pathlib import Path

    from litestar import Litestar
    from structlog.typing import FilteringBoundLogger

    from trackgate.address import Address
    from trackgate.config import Config, Destination
    from trackgate.metrics_share import Share
    from trackgate.model import Clock
    from trackgate.outbox import DestinationTally, Ledger, Standing
    from trackgate.outboxes.sqlite.outbox import SqliteOutbox

BACKLOG_EVENTS = {
    Filling: "backlog.filling",
    SheddingBegan: "backlog.shedding_began",
    SheddingEnded: "backlog.shedding_ended",
}

LOOK_AFTER = 0.2
"""Seconds from a commit to a look at the ledger: there may be thousands of commits a second, and a look is dear."""

OPERATORS = 16
"""Connections to the control socket that are served at a time."""


UNSTAFFED = "no worker serves: `worker.ended` or `worker.missing` in the log says why"


async def _none() -> Sequence[Share]:
    return ()


class Keeper:
    """The outbox of the data directory, and what its ledger says. Made by ``open``."""

    phase = "starting"
    """starting, ready or draining."""

    def __init__(
        self,
        directory: Path,
        outbox: SqliteOutbox,
        config: Config,
        log: FilteringBoundLogger,
        clock: Clock,
        *,
        sandboxed: bool,
    ) -> None:
        self.directory = directory
        self.outbox = outbox
        self._config = config
        self._log = log
        self._clock = clock
        self._sandboxed = sandboxed
        self.workers = Workers(config.server.workers)
        self.metrics = Metrics(self._ledger, clock, self.workers)
        self._meter = Meter(outbox.ledger(), clock)
        self._watch = BacklogWatch()
        self._looking = False
        outbox.on_commit(self._committed)

    @classmethod
    async def open(
        cls, stack: AsyncExitStack, config: Config, log: FilteringBoundLogger, clock: Clock, *, sandboxed: bool
    ) -> Self:
        """Open the outbox of the configured data directory.

        Args:
            stack: closes it.
            config: all of it.
            log: bound to nothing yet.
            clock: the time.
            sandboxed: whether it is the sandbox's own outbox.

        Raises:
            OSError: the data directory cannot be made.
            OutboxUnavailable: its outbox cannot be opened.

        """
        directory = data.make(config.server, sandbox=sandboxed)
        outbox = await data.open_outbox(directory, config, clock, log)
        stack.push_async_callback(outbox.close)
        return cls(directory, outbox, config, log, clock, sandboxed=sandboxed)

    def operators(
        self, destinations: Mapping[str, Destination], probe: Callable[[str], Awaitable[Standing]]
    ) -> Litestar:
        """The operators' app; ``probe`` tries a destination at once."""
        operator = Operator(
            lambda: SqliteReader(self.directory),
            self.outbox,
            sources=self._config.sources,
            destinations=destinations,
            running=Running(readiness=self._readiness, workers=self.workers, rate=self._meter.rate, probe=probe),
            clock=self._clock,
            log=self._log,
        )
        return build_operators(operator, self._clock)

    async def serve_operators(self, stack: AsyncExitStack, operators: Litestar) -> None:
        """On the control socket, from before the deliveries start until they have stopped."""
        try:
            listener = stack.enter_context(listening(self.directory, data.CONTROL))
        except OSError as error:
            advice = "`trackgate status` and its like cannot reach this gateway; give it a shorter `server.data`"
            self._log.warning("control.unavailable", error=error.strerror or str(error), advice=advice)
            return
        await serve_beside(stack, Server(operators, Bounds(connections=OPERATORS), grace=1), listener)

    async def take_stock(self) -> None:
        """Park the destinations that left the configuration, and resume those that came back to it."""
        for name, tally in self.outbox.ledger().destinations.items():
            if name not in self._config.destinations:
                if tally.waiting or tally.dead:
                    self._log.warning(
                        "destination.parked",
                        destination=name,
                        reason=GONE,
                        waiting=tally.waiting,
                        dead=tally.dead,
                        advice=f"put it back, or: trackgate move {name} NEW",
                    )
                gone = standing_of(tally, gone=True)
                await self.outbox.stand(name, replace(gone, since=self._clock.now()))
            elif tally.standing.reason == GONE:
                await self.outbox.stand(name, replace(tally.standing, state="up", reason=None, since=self._clock.now()))
                self._log.info("destination.resumed", destination=name, was="parked", reason=GONE)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether new events are taken, and the detail that ``/readyz`` shows."""
        ledger, now = self._ledger(), self._clock.now()
        readiness = self._readiness()
        return readiness.status == "ready", {
            **asdict(readiness),
            "sandbox": self._sandboxed,
            "workers": asdict(of_workers(self.workers, self._config.destinations)),
            "backlog_bytes": ledger.backlog_bytes,
            "backlog_limit_bytes": ledger.backlog_limit,
            "destinations": {name: _shown(tally, now) for name, tally in ledger.destinations.items()},
        }

    def _readiness(self) -> Readiness:
        """A worker that serves takes events for all destinations, also for those of one that does not."""
        trouble = self.outbox.healthy()
        if trouble is None and self.phase == "ready" and not self.workers.serving:
            trouble = UNSTAFFED
        return Readiness("refusing" if trouble and self.phase == "ready" else self.phase, trouble)

    def _ledger(self) -> Ledger:
        return complete(self.outbox.ledger(), self._config.sources, self._config.destinations)

    async def exposition(self, shares: Callable[[], Awaitable[Sequence[Share]]] = _none) -> bytes:
        """What ``/metrics`` shows, with what other processes of the gateway have counted."""
        return self.metrics.render(await shares())

    def _committed(self, seconds: float, _: int) -> None:
        self.metrics.committed(seconds)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_AFTER, self._look)

    def _look(self) -> None:
        """A moment after a commit: take a sample for the rates, and see whether the backlog fills."""
        self._looking = False
        ledger = self.outbox.ledger()
        self._meter.note(ledger)
        for change in self._watch.look(ledger):
            self._log.warning(BACKLOG_EVENTS[type(change)], **asdict(change))


async def start_sandbox(stack: AsyncExitStack, address: Address | None, clock: Clock) -> str | None:
    """Run the emulated vendors at an address, if there is one; where they listen."""
    if address is None:
        return None
    listener = bind(address)
    sandbox = build_sandbox(vendors.load(), clock, loopback_only=address.loopback)
    await serve_beside(stack, Server(sandbox, Bounds(), grace=1), listener)
    return str(address_of(listener))


def leading_to(destinations: Mapping[str, Destination], sandbox_at: str | None) -> Mapping[str, Destination]:
    """The destinations, each at its emulated vendor where those get every delivery."""
    return destinations if sandbox_at is None else redirected(destinations, sandbox_at)


def _shown(tally: DestinationTally, now: datetime) -> dict[str, Any]:
    return {
        "state": tally.standing.state,
        "reason": tally.standing.reason,
        "since": tally.standing.since,
        "paused_until": tally.standing.pause_end(now),
        "waiting": tally.waiting,
        "dead": tally.dead,
        "oldest": tally.oldest,
        "backlog_bytes": tally.backlog_bytes,
        "backlog_limit_bytes": tally.backlog_limit,
        "backlog_full": tally.backlog_full,
    }
