"""A listening socket at any free port of the loopback address, said on standard output as the gateway says it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

BACKLOG = 2048


@contextmanager
def listener() -> Iterator[socket.socket]:
    """An open one; connections wait in it until somebody accepts them."""
    # The protocol is stated because asyncio turns Nagle's algorithm off only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen(BACKLOG)
        print(f"listens at http://127.0.0.1:{opened.getsockname()[1]}", flush=True)
        yield opened
