"""What every process of the program begins and ends alike: its log, its parts, its servers."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trackgate.log import adopt_stdlib, configure

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Sequence
    from contextlib import AsyncExitStack
    from socket import socket

    from structlog.typing import FilteringBoundLogger

    from trackgate.config import Config
    from trackgate.model import Clock
    from trackgate.server import Server

FAILED = 1
"""Exit status of any process that could not start, or ended by a bug."""

STDERR = 2
"""The file descriptor of the log."""

SHARE_OF_GRACE = 0.45
"""Of ``server.grace``: for the callers, then for the deliveries in flight; the rest is for closing the outbox."""


class PartEnded(Exception):  # noqa: N818 - what happened
    """A part that runs as long as the program ended by itself: a bug. A supervisor starts the program anew."""


@contextmanager
def logging(config: Config, clock: Clock) -> Generator[FilteringBoundLogger]:
    """The log of this process, as the configuration wants it; all of it is written at the end.

    That a part ended by itself is told, and raised on.
    """
    server = config.server
    log, writer = configure(STDERR, clock, style=server.log_format, level=server.log_level, shared=server.workers > 1)
    undo = adopt_stdlib(log)
    try:
        yield log
    except PartEnded:
        log.exception("gateway.stumbled")
        raise
    finally:
        undo()
        writer.close()


def begin(stack: AsyncExitStack, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start what runs until the stack ends."""
    task = asyncio.create_task(part)
    stack.callback(task.cancel)
    return task


async def until_one_ends(stop: asyncio.Event, parts: Sequence[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    """Wait for ``stop``, or for a part to end by itself; those that did."""
    for part in parts:
        part.add_done_callback(lambda _: stop.set())
    await stop.wait()
    return [part for part in parts if part.done()]


async def serve_beside(stack: AsyncExitStack, server: Server, listener: socket) -> None:
    """Serve until the stack ends, then finish what is under way."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def stop() -> None:
        server.stop()
        await serving

    stack.push_async_callback(stop)
