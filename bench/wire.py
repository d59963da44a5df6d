"""HTTP/1.1 as far as the benchmark's own processes need it: messages with a content-length, taken off a buffer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

END = b"\r\n\r\n"


class Peer(asyncio.Protocol):
    """One end of a connection; what it does with a message is ``heard``."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.Transport", transport)  # TCP gives no other

    def data_received(self, data: bytes) -> None:
        """Take every whole message off the buffer."""
        self._buffer += data
        for head, body in messages(self._buffer):
            self.heard(head, body)

    def heard(self, head: bytes, body: bytes) -> None:
        """A whole message came: its head in lower case, and its body."""
        raise NotImplementedError

    def say(self, message: bytes) -> None:
        """Write, unless the other side has gone."""
        if not self._transport.is_closing():
            self._transport.write(message)


def messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Each whole message's head (in lower case, without its end) and body; they are taken off the buffer."""
    while (end := buffer.find(END)) >= 0:
        head = bytes(buffer[:end]).lower()
        whole = end + len(END) + int(header(head, b"content-length") or 0)
        if len(buffer) < whole:
            return
        body = bytes(buffer[end + len(END) : whole])
        del buffer[:whole]
        yield head, body


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header, named in lower case; empty where there is none."""
    start = head.find(b"\r\n" + name + b":")
    return head[start + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if start >= 0 else b""
