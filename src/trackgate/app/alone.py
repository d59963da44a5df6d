"""The whole program in one process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from trackgate.app.keeper import Keeper, leading_to, start_sandbox
from trackgate.app.lifetime import PartEnded, begin, until_one_ends
from trackgate.app.signals import event_of_signals
from trackgate.app.station import Station
from trackgate.ingest.web import looking
from trackgate.server import address_of, bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from trackgate.address import Address
    from trackgate.config import Config
    from trackgate.model import Clock


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

    async def run(self, announce: Callable[[str, str | None], None]) -> None:
        """Serve until a SIGTERM or SIGINT, then drain; ``announce`` hears the addresses once everything listens.

        Raises:
            OSError: an address cannot be listened at.
            OutboxError: the data directory cannot be used.
            PartEnded: something that runs as long as the program ended by itself; everything was drained.

        """
        server = self._config.server
        sandboxed = self._sandbox is not None
        signalled = event_of_signals()
        async with AsyncExitStack() as stack:
            # First of all: where two gateways meet, that they share a directory is what has to be said.
            keeper = await Keeper.open(stack, self._config, self._log, self._clock, sandboxed=sandboxed)
            listener = bind(server.address)
            stack.callback(listener.close)
            sandbox_at = await start_sandbox(stack, self._sandbox, self._clock)
            destinations = leading_to(self._config.destinations, sandbox_at)
            station = Station(
                self._config, destinations, keeper.outbox, keeper.metrics, self._log, self._clock, sandboxed=sandboxed
            )
            operators = keeper.operators(destinations, station.probe)
            await keeper.serve_operators(stack, operators)
            await keeper.take_stock()
            delivering = station.deliver(stack)
            web = station.server(stack, operators, looking(keeper.ready, keeper.exposition))
            serving = asyncio.create_task(web.serve(sockets=[listener]))
            damage = begin(stack, keeper.outbox.until_damaged())
            listen = str(address_of(listener))
            self._start(keeper, listen, sandbox_at)
            announce(listen, sandbox_at)
            ended = await until_one_ends(signalled, [serving, damage, *delivering])
            keeper.phase = "draining"
            self._log.info("gateway.draining", grace=server.grace)
            web.stop()
            await asyncio.wait([serving])
        self._log.info("gateway.stopped")
        if ended:
            raise PartEnded from ended[0].exception()

    def _start(self, keeper: Keeper, listen: str, sandbox_at: str | None) -> None:
        keeper.workers.begin(0)
        keeper.phase = "ready"
        self._log.info("gateway.started", listen=listen, sandbox=sandbox_at, data=str(keeper.directory), workers=1)
