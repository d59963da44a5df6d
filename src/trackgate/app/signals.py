"""SIGTERM and SIGINT, as the process hears them that was started: on an event loop, or without one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

ENDING = (signal.SIGTERM, signal.SIGINT)


def event_of_signals() -> asyncio.Event:
    """Set at the first of them; a second one ends the process at once (what was promised is on disk)."""
    first = asyncio.Event()

    def on_signal(number: int) -> None:
        if first.is_set():
            os._exit(128 + number)
        first.set()

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, on_signal, number)
    return first


@contextmanager
def socket_of_signals() -> Generator[socket.socket]:
    """A socket from which the number of each is read, a byte each."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)  # noqa: FBT003 - the standard library's word
        before = signal.set_wakeup_fd(theirs.fileno())
        handlers = {number: signal.signal(number, lambda *_: None) for number in ENDING}
        try:
            yield ours
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
