"""Looks up the names of one client's upstreams, in threads that no other client waits for.

The event loop's own lookups share a few threads: some names that nobody answers for would hold up everybody's.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

Name: TypeAlias = tuple[str, int]
"""A host and its port."""


class Lookup:
    """Of one client: one thread for each name that is being looked up, however many calls wait for it."""

    def __init__(self) -> None:
        self._running: dict[Name, asyncio.Future[list[AddrInfoType]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddrInfoType]:
        """Where a name can be reached.

        Raises:
            OSError: nobody knows the name, or it could not be asked.
            RuntimeError: there is no room for a thread.

        """
        with suppress(socket.gaierror):
            return _ask(host, port, socket.AI_NUMERICHOST)  # an address is none to ask for
        name = host, port
        found = self._running.get(name) or self._begin(name)
        return await asyncio.shield(found)

    def _begin(self, name: Name) -> asyncio.Future[list[AddrInfoType]]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[AddrInfoType]] = loop.create_future()
        threading.Thread(target=_run, args=(loop, found, name), name="lookup", daemon=True).start()
        self._running[name] = found
        found.add_done_callback(lambda _: self._end(name, found))
        return found

    def _end(self, name: Name, found: asyncio.Future[list[AddrInfoType]]) -> None:
        del self._running[name]
        if not found.cancelled():
            found.exception()  # whoever asked may be gone


def _run(loop: asyncio.AbstractEventLoop, found: asyncio.Future[list[AddrInfoType]], name: Name) -> None:
    addresses: list[AddrInfoType] = []
    error: Exception | None = None
    try:
        addresses = _ask(*name)
    except Exception as failure:  # noqa: BLE001 - whoever waits must hear of it
        error = failure

    def tell() -> None:
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(tell)


def _ask(host: str, port: int, flags: int = 0) -> list[AddrInfoType]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags))
