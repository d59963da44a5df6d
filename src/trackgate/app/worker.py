"""A process that takes calls and delivers to its destinations, on the owner's outbox."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop
from click import echo
from litestar import asgi

from trackgate import data
from trackgate.app import owner
from trackgate.app.child import DRAIN, LISTENING
from trackgate.app.crew import build as build_for_owner
from trackgate.app.crew import longest_probe, name_of
from trackgate.app.keeper import leading_to
from trackgate.app.lifetime import FAILED, PartEnded, begin, logging, serve_beside, until_one_ends
from trackgate.app.relay import Relay
from trackgate.app.station import Station
from trackgate.metrics import Metrics
from trackgate.outbox import OutboxError
from trackgate.outboxes.remote.outbox import RemoteOutbox
from trackgate.server import Bounds, Server
from trackgate.unix_socket import listening, path_to
from trackgate.workers import works_at

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trackgate.app.child import Parent
    from trackgate.config import Config, Destination
    from trackgate.model import Clock


def main(
    config: Config, clock: Clock, parent: Parent, listener: socket.socket, number: int, sandbox_at: str | None
) -> int:
    """Run until told to drain; the exit status."""
    try:
        with logging(config, clock) as log:
            uvloop.run(Worker(config, log, clock, number, sandbox_at).run(parent, listener))
    except PartEnded:
        return FAILED
    except (OSError, OutboxError) as error:
        echo(f"worker {number} cannot start: {error}", err=True)
        return FAILED
    return 0


class Worker:
    """One worker, for as long as ``run`` lasts.

    Args:
        config: all of it.
        log: bound to nothing yet.
        clock: the time.
        number: its place among the workers.
        sandbox_at: where the emulated vendors listen, if they get every delivery.

    """

    def __init__(
        self, config: Config, log: FilteringBoundLogger, clock: Clock, number: int, sandbox_at: str | None
    ) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._number = number
        self._sandbox_at = sandbox_at

    async def run(self, parent: Parent, listener: socket.socket) -> None:
        """Take calls and deliver until the parent says to drain.

        Raises:
            OSError: a socket in the data directory cannot be used.
            OutboxError: the owner does not answer.
            PartEnded: something that runs as long as the program ended by itself; everything was drained.

        """
        server = self._config.server
        sandboxed = self._sandbox_at is not None
        draining = asyncio.Event()
        parent.listen(lambda word: draining.set() if word == DRAIN else None)
        directory = data.directory(server.data, sandbox=sandboxed)
        async with AsyncExitStack() as stack:
            outbox = await RemoteOutbox.open(stack.enter_context(path_to(directory, owner.OUTBOX)))
            stack.push_async_callback(outbox.close)
            lost = begin(stack, outbox.until_lost())
            metrics = Metrics(outbox.ledger, self._clock)
            station = Station(
                self._config, self._destinations(), outbox, metrics, self._log, self._clock, sandboxed=sandboxed
            )
            asked = stack.enter_context(listening(directory, name_of(self._number)))
            await serve_beside(stack, Server(build_for_owner(station, metrics), Bounds(), grace=1), asked)
            relay = Relay(
                stack.enter_context(path_to(directory, owner.PATHS)),
                body_timeout=server.body_timeout,
                patience=longest_probe(self._config.destinations.values()),
            )
            stack.push_async_callback(relay.close)
            delivering = station.deliver(stack)
            web = station.server(stack, relay, [asgi(["/readyz", "/metrics"], copy_scope=False)(relay.look)])
            serving = asyncio.create_task(web.serve(sockets=[listener]))
            parent.tell(LISTENING)
            parent.beat()
            ended = await until_one_ends(draining, [serving, lost, *delivering])
            web.stop()
            await asyncio.wait([serving])
        if ended:
            raise PartEnded from ended[0].exception()

    def _destinations(self) -> dict[str, Destination]:
        """Those that are this worker's to deliver to."""
        every = leading_to(self._config.destinations, self._sandbox_at)
        workers = self._config.server.workers
        return {
            name: one for place, (name, one) in enumerate(every.items()) if works_at(place, workers) == self._number
        }
