"""The HTTP server: uvicorn's, its signals left to us, over connections of our own (``trackgate.connection``)."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from trackgate.address import Address
from trackgate.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Generator

    from uvicorn.server import ServerState

    from trackgate.connection import Bounds

BACKLOG = 2048
"""Connections that may wait to be accepted."""

TICK = 1.0
"""Seconds between two updates of the Date header."""


def bind(address: Address) -> socket.socket:
    """An open listening socket.

    Raises:
        OSError: the address is taken or not ours; the message says what to do.

    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # The protocol is stated because asyncio turns Nagle's algorithm off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        words = f"{address} cannot be listened at ({error.strerror})"
        raise OSError(f"{words}: choose another address, or stop what has it") from None
    return listener


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens; the port that was chosen, where any free one was asked for."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


class Server(uvicorn.Server):
    """One listening socket and its application. ``serve(sockets=...)`` runs until ``stop``."""

    def __init__(self, app: Any, bounds: Bounds, grace: float) -> None:

        def connection(*, server_state: ServerState, **_: Any) -> Connection:
            return Connection(app, bounds, server_state)

        config = uvicorn.Config(
            app,
            http=connection,  # type: ignore[arg-type] # called with what uvicorn's own protocols are made of
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(int(grace), 1),
        )
        super().__init__(config)
        self._stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone; they are the program's."""
        yield

    async def main_loop(self) -> None:
        """Keep the Date header right until ``stop``; one wake-up a second."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TICK)

    def stop(self) -> None:
        """Stop accepting, finish what is under way, return from ``serve``."""
        self.should_exit = True
        self._stop.set()
