"""A forked process: as its parent sees it, and as it sees itself. What they say to each other is lines of text.

The one that is killed closes its end: a child without its parent ends at once, since what was promised is on disk.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ENDED_BY_BUG = 1
"""Exit status."""

CHUNK = 4096

OPEN = "open"
"""The owner says: the outbox is open; behind a blank follows where the emulated vendors listen, if they do."""
LISTENING = "listening"
"""A worker says: it takes calls. To the owner: the worker whose number follows behind a blank does."""
ENDED = "ended"
"""To the owner: the worker whose number follows behind a blank has ended."""
READY = "ready"
"""To the owner: everything listens."""
DRAIN = "drain"
"""To the owner: it is not ready any more. To a worker: no new calls, and end once what it has in hand is done."""
DRAINING = "draining"
"""The owner says: so it is told to whoever asks."""
CLOSE = "close"
"""To the owner: nobody is left who works on the outbox."""
STOP = "stop"
"""A child says: it was sent a SIGTERM, and what that ends is the program."""
ALIVE = "alive"
"""A child says every ``BEAT`` seconds: its event loop turns."""

BEAT = 5.0
MISSED = 12
"""A child that has said ``ALIVE`` once, and then nothing for so many beats, is taken for stuck."""


class Child:
    """A process that was forked from this one, which must have no other thread.

    Args:
        name: what `ps` calls it, behind `tg-`.
        main: what it does; its exit status.
        siblings: those that were forked before: it closes what it inherits of them.

    Raises:
        OSError: the system has no room for another process, or for what we hear it by.

    """

    def __init__(self, name: str, main: Callable[[Parent], int], siblings: Iterable[Child]) -> None:
        self.name = name
        self.buried = False
        self._missed: int | None = None  # beats; nothing is missed before the first
        self._channel, theirs = socket.socketpair()
        self._unread = b""
        # A signal that came between the fork and the child's own handling would be heard twice.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            self.pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            self.forget()
            raise
        if not self.pid:
            for each in (self, *siblings):
                each.forget()
            _become(name, lambda: main(Parent(theirs)), before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def fileno(self) -> int:
        """Readable when there is something to ``hear``."""
        return self._channel.fileno()

    def tell(self, word: str) -> None:
        """Say something to it; one that has ended does not hear it."""
        with suppress(OSError):
            self._channel.sendall(f"{word}\n".encode())

    def hear(self) -> list[str] | None:
        """What it has said since; ``None`` once it said its last. Blocks if nothing is there."""
        try:
            said = self._channel.recv(CHUNK)
        except ConnectionResetError:  # it ended before it read what we said
            return None
        if not said:
            return None
        *lines, self._unread = (self._unread + said).split(b"\n")
        words = [line.decode() for line in lines]
        if ALIVE in words:
            self._missed = 0
        return [word for word in words if word != ALIVE]

    def is_stuck(self) -> bool:
        """Whether it has missed too many beats; to be asked once a beat, so that who sleeps itself blames nobody."""
        if self._missed is None:
            return False
        self._missed += 1
        return self._missed > MISSED

    def kill(self) -> None:
        """End it at once; it has still to be buried."""
        os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> int:
        """Wait for its end: its exit status, negative for a signal."""
        self.forget()
        self.buried = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def forget(self) -> None:
        """Close our end: a child that still runs ends at once."""
        self._channel.close()


class Parent:
    """The process that forked this one."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def tell(self, word: str) -> None:
        """Say something to it."""
        with suppress(OSError):
            self._channel.sendall(f"{word}\n".encode())

    def beat(self) -> None:
        """Say from now on that the running event loop turns: where it does not any more, this process is killed."""
        with suppress(OSError):  # a parent that has stopped is not waited for
            self._channel.send(f"{ALIVE}\n".encode(), socket.MSG_DONTWAIT)
        asyncio.get_running_loop().call_later(BEAT, self.beat)

    def listen(self, heed: Callable[[str], None]) -> None:
        """Have ``heed`` hear each word, on the running event loop; end when the parent does, whatever the loop does."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.tell, STOP)

        def hear() -> None:
            with suppress(OSError), self._channel.makefile(encoding="utf-8") as lines:
                for line in lines:
                    with suppress(RuntimeError):  # the loop is closed: we are about to end anyway
                        loop.call_soon_threadsafe(heed, line.strip())
            os._exit(ENDED_BY_BUG)

        threading.Thread(target=hear, name="parent", daemon=True).start()


def _become(name: str, main: Callable[[], int], mask: Iterable[int]) -> NoReturn:
    status = ENDED_BY_BUG
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):  # Ctrl-C reaches us, too, and is our parent's
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with suppress(OSError):  # another system than Linux
            Path("/proc/self/comm").write_text(f"tg-{name}", encoding="utf-8")
        status = main()
    except BaseException:  # noqa: BLE001 - nothing of a child may go on into what its parent does
        traceback.print_exc()
    finally:
        os._exit(status)
