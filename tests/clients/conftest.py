"""A hostile upstream: a raw socket that reads whole calls and answers them with whatever bytes a test hands it."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hostile:
    """Listens on 127.0.0.1 for as long as it is entered.

    Args:
        answer: what to do about each call that was read in full; the connection is kept unless it closes it.
        greeting: bytes to say before any call came.

    """

    def __init__(self, answer: Answer, greeting: bytes = b"") -> None:
        self.calls: list[bytes] = []
        """Every call that was read in full, head and body."""
        self.called = asyncio.Event()
        """Set once a call was read in full."""
        self.connections = 0
        self.gone = asyncio.Event()
        """Set once a connection has ended."""
        self._answer = answer
        self._greeting = greeting
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    self.calls.append(await read_call(reader))
                    self.called.set()
                    await self._answer(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.gone.set()


async def read_call(reader: asyncio.StreamReader) -> bytes:
    """One whole HTTP/1.1 call with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with a RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


class Says:
    """An answer of fixed bytes, then: keep the connection, close it, reset it, or say no more.

    ``pause`` seconds pass between one byte and the next, if it is not 0.
    """

    def __init__(self, *parts: bytes, then: str = "keep", pause: float = 0) -> None:
        self._parts = [bytes([byte]) for part in parts for byte in part] if pause else parts
        self._then = then
        self._pause = pause

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in self._parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(self._pause)
        match self._then:
            case "close":
                writer.close()
            case "reset":
                await asyncio.sleep(0.05)  # so that what was said is not thrown away by the reset
                reset(writer)
            case "hang":
                await reader.read()  # until the client hangs up
            case "repeat":
                while True:
                    writer.write(self._parts[-1])
                    await writer.drain()


@pytest.fixture
def hostile() -> type[Hostile]:
    return Hostile


@pytest.fixture
def says() -> type[Says]:
    return Says
