"""The process that has the data directory, and serves its outbox to the workers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop
from click import echo

from trackgate.app import child
from trackgate.app.crew import Crew
from trackgate.app.keeper import Keeper, leading_to, start_sandbox
from trackgate.app.lifetime import FAILED, PartEnded, begin, logging, serve_beside, until_one_ends
from trackgate.app.relay import AT_A_TIME
from trackgate.ingest.web import build, looking
from trackgate.outbox import OutboxError
from trackgate.outboxes.remote.server import OutboxServer
from trackgate.payload import json_reply
from trackgate.server import Bounds, Server
from trackgate.unix_socket import listening
from trackgate.wire import give

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trackgate.address import Address
    from trackgate.app.child import Parent
    from trackgate.config import Config
    from trackgate.model import Clock

OUTBOX = "outbox.sock"
"""Where the workers reach the outbox."""

PATHS = "owner.sock"
"""Where they have the owner's paths answered."""


def main(config: Config, clock: Clock, parent: Parent, sandbox: Address | None) -> int:
    """Run until told to close; the exit status."""
    try:
        with logging(config, clock) as log:
            uvloop.run(Owner(config, log, clock, sandbox=sandbox).run(parent))
    except PartEnded:
        return FAILED
    except (OSError, OutboxError) as error:  # the log is closed: what it says is the last line
        echo(f"trackgate cannot start: {error}", err=True)
        return FAILED
    return 0


class Owner:
    """The owner, for as long as ``run`` lasts; the arguments are ``alone.Gateway``'s."""

    def __init__(self, config: Config, log: FilteringBoundLogger, clock: Clock, *, sandbox: Address | None) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._sandbox = sandbox

    async def run(self, parent: Parent) -> None:
        """Keep the data directory until the parent says that nobody works on it any more.

        Raises:
            OSError: an address cannot be listened at.
            OutboxError: the data directory cannot be used.
            PartEnded: the outbox was found damaged, or what obeys the parent ended by itself.

        """
        config = self._config
        closing = asyncio.Event()
        words = asyncio.Queue[str]()
        parent.listen(words.put_nowait)  # from the first: a parent that ends while the outbox opens ends us, too
        async with AsyncExitStack() as stack:
            keeper = await Keeper.open(stack, config, self._log, self._clock, sandboxed=self._sandbox is not None)
            obeying = begin(stack, _obey(words, parent, keeper, closing))
            sandbox_at = await start_sandbox(stack, self._sandbox, self._clock)
            destinations = leading_to(config.destinations, sandbox_at)
            crew = Crew(keeper.directory, destinations, config.server.workers, stack, self._log)
            operators = keeper.operators(destinations, crew.probe)
            await keeper.serve_operators(stack, operators)
            await keeper.take_stock()
            outbox_listener = stack.enter_context(listening(keeper.directory, OUTBOX))
            outbox_server = await OutboxServer.start(keeper.outbox, outbox_listener, log=self._log)
            stack.push_async_callback(outbox_server.close)
            app = build(_nobody, operators, looking(keeper.ready, partial(keeper.exposition, crew.shares)))
            bounds = Bounds(header_bytes=2 * config.server.max_header_bytes, connections=AT_A_TIME * len(crew))
            listener = stack.enter_context(listening(keeper.directory, PATHS))
            await serve_beside(stack, Server(app, bounds, grace=1), listener)
            damage = begin(stack, keeper.outbox.until_damaged())
            parent.tell(f"{child.OPEN} {sandbox_at or ''}")
            parent.beat()
            ended = await until_one_ends(closing, [damage, obeying])
        if ended:
            raise PartEnded from ended[0].exception()


async def _obey(words: asyncio.Queue[str], parent: Parent, keeper: Keeper, closing: asyncio.Event) -> None:
    while True:
        what, _, number = (await words.get()).partition(" ")
        match what:
            case child.READY:
                keeper.phase = "ready"
            case child.DRAIN:
                keeper.phase = "draining"
                parent.tell(child.DRAINING)
            case child.CLOSE:
                closing.set()
            case child.LISTENING:
                keeper.workers.begin(int(number))
            case child.ENDED:
                keeper.workers.end(int(number))
            case _:
                pass  # nothing else is said to the owner


async def _nobody(_scope: Any, _receive: Any, send: Any) -> None:
    """Vendors' paths are the workers'; they pass none on."""
    await give(send, json_reply(404, {"error": "The workers answer at this path.", "status": 404}))
