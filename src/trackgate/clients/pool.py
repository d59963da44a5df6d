"""The connections of one client: opened where none is free, kept for the next call, closed when they are not used."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import defaultdict
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection
from msgspec import Struct

from trackgate.clients.connection import Connection
from trackgate.clients.engine import IDLE, ExchangeError, words_of
from trackgate.clients.lookup import Lookup
from trackgate.model import NoReply

if TYPE_CHECKING:
    from trackgate.clients.engine import Reading

EYEBALLS = 0.25
"""Seconds that an address gets before the next one of the same name is tried beside it (RFC 8305)."""


class Origin(Struct, frozen=True):
    """Who is called. ``host`` is a name or an address, without brackets."""

    host: str
    port: int
    tls: bool


class Pool:
    """Of one client; how many calls are made at once is the client's to bound."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._sweep: asyncio.TimerHandle | None = None
        self._lookup = Lookup()
        self._closed = False

    async def exchange(self, origin: Origin, request: bytes, reading: Reading) -> None:
        """Make a call on a connection that is free, or on a new one. It is sent once.

        Raises:
            ExchangeError: there was no connection to be had, or it ended otherwise than with a whole reply.

        """
        connection = self._free(origin) or await self._connect(origin)
        await connection.exchange(request, reading)
        if connection.is_usable():
            self._idle[origin].append(connection)
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(IDLE, self._close_idle)

    def close(self) -> None:
        """Hang up everywhere; calls under way are broken."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()

    def _free(self, origin: Origin) -> Connection | None:
        """The one that was used last: the others grow old, and are closed."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        try:
            found = await self._lookup.addresses(origin.host, origin.port)
            connection = await self._begin(origin, await start_connection(found, happy_eyeballs_delay=EYEBALLS))
        except (OSError, RuntimeError) as error:  # uvloop has its own ways to say that a socket cannot be connected
            said = words_of(error) if isinstance(error, OSError) else ""
            raise ExchangeError(NoReply("connect", said or "no connection could be made")) from None
        if self._closed:
            connection.close()
            raise ExchangeError(NoReply("connect", "the client is closed"))
        return connection

    async def _begin(self, origin: Origin, reached: socket.socket) -> Connection:
        """A connection over a socket that has reached the origin."""
        connection = Connection(self._open)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=reached,
                ssl=trust() if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            self._open.discard(connection)  # where uvloop gives a connection up, it does not tell it
            # Not closed: the event loop may still have it, and its number would soon be another connection's.
            with suppress(OSError):
                reached.shutdown(socket.SHUT_RDWR)
            raise
        return connection

    def _close_idle(self) -> None:
        for idle in self._idle.values():
            for connection in [one for one in idle if one.is_idle_for(IDLE)]:
                idle.remove(connection)
                connection.close()
        left = any(self._idle.values())
        self._sweep = asyncio.get_running_loop().call_later(IDLE / 2, self._close_idle) if left else None


@cache
def trust() -> ssl.SSLContext:
    """What TLS is begun with. One for all: it holds every certificate authority of this machine."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
