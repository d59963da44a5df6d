"""The process that was started: it forks the others, and then only waits, so that it can fork another one any time.

While others run it has no event loop, and no thread but for the moment in which it logs.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from trackgate import data
from trackgate.app import owner, worker
from trackgate.app.child import BEAT, CLOSE, DRAIN, DRAINING, ENDED, LISTENING, OPEN, READY, STOP, Child
from trackgate.app.lifetime import FAILED
from trackgate.app.signals import socket_of_signals
from trackgate.app.slot import Slot
from trackgate.app.supervisor_log import SupervisorLog
from trackgate.server import address_of, bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackgate.address import Address
    from trackgate.app.child import Parent
    from trackgate.config import Config
    from trackgate.model import Clock

LATE = 2.0
"""Seconds beyond ``server.grace`` after which a worker, and then the owner, is killed that still runs."""

DEAF = 1.0
"""Seconds that the workers are waited with until the owner says that we drain: it may be busy with its start."""


class StopRequested(Exception):  # noqa: N818 - what happened
    """It is to end: told by a signal, or by a child that was sent one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class OwnerEnded(Exception):  # noqa: N818 - what happened
    """Nothing can go on without the owner. ``how`` is its exit status, negative for a signal."""

    def __init__(self, how: int) -> None:
        super().__init__(how)
        self.how = how


class Supervisor:
    """Runs the whole program in several processes.

    Args:
        config: all of it; the children have it as it was read.
        clock: the time.
        sandbox: where the emulated vendors listen, if they run beside the gateway and get every delivery.

    """

    def __init__(self, config: Config, clock: Clock, *, sandbox: Address | None) -> None:
        self._config = config
        self._clock = clock
        self._sandbox = sandbox
        self._log = SupervisorLog(config, clock)
        self._sandbox_at: str | None = None
        self._slots = [Slot(number) for number in range(config.server.workers)]
        self._next_look = time.monotonic() + BEAT
        self._opened = False
        self._listener: socket.socket | None = None
        self._draining = False
        self._owner_draining = False
        self._signalled = False

    def run(self, announce: Callable[[Callable[..., None], str, str | None], None]) -> int:
        """Run until a SIGTERM or SIGINT, then drain; the exit status.

        Args:
            announce: hears how to log a warning, and the addresses, once everything listens.

        Raises:
            OSError: the address cannot be listened at, a secret cannot be read, or the system has no
                room for the owner.

        """
        self._config = self._config.with_secrets_as_they_are()
        with socket_of_signals() as self._wakeup:
            config, clock, sandbox = self._config, self._clock, self._sandbox
            self._owner = Child("owner", lambda parent: owner.main(config, clock, parent, sandbox), [])
            return self._supervise(announce)

    def _supervise(self, announce: Callable[[Callable[..., None], str, str | None], None]) -> int:
        try:
            self._await_owner()
            self._await_workers()
            self._start(announce)
            while True:
                self._heed()
        except StopRequested:
            return self._drain()
        except OwnerEnded as ended:
            if self._opened or ended.how < 0:  # else it has said itself why it could not start
                self._log.owner_ended(ended.how)
            return FAILED
        finally:
            self._kill()

    # --- start and end --------------------------------------------------------------------------------------------

    def _await_owner(self) -> None:
        """Wait for the owner, then listen: where two gateways meet, it is their directory that has to be spoken of."""
        while not self._opened:
            self._heed()
        try:
            self._listener = bind(self._config.server.address)
        except OSError:
            self._close()
            raise

    def _await_workers(self) -> None:
        while not all(slot.listening for slot in self._slots):
            self._heed()

    def _start(self, announce: Callable[[Callable[..., None], str, str | None], None]) -> None:
        assert self._listener is not None  # noqa: S101 - see `_await_owner`
        self._owner.tell(READY)
        server = self._config.server
        listen = str(address_of(self._listener))
        place = data.directory(server.data, sandbox=self._sandbox is not None)
        self._log.tell(
            "info", "gateway.started", listen=listen, sandbox=self._sandbox_at, data=str(place), workers=server.workers
        )
        announce(partial(self._log.tell, "warning"), listen, self._sandbox_at)

    def _drain(self) -> int:
        """Not ready first, then the workers, then the owner; a second signal ends all at once."""
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        try:
            self._drain_owner()
            for child in self._workers():
                child.tell(DRAIN)
            self._log.tell("info", "gateway.draining", grace=self._config.server.grace)
            end = self._deadline()
            while workers := self._workers():
                end = self._heed_or_kill(workers, end)
            how = self._close()
        except StopRequested as again:
            return 128 + again.number
        except OwnerEnded as ended:
            how = ended.how or FAILED
        if how:
            self._log.owner_ended(how)
            return FAILED
        self._log.tell("info", "gateway.stopped")
        return 0

    def _drain_owner(self) -> None:
        self._owner.tell(DRAIN)
        end = time.monotonic() + DEAF
        while not self._owner_draining and time.monotonic() < end:
            self._heed(end)

    def _close(self) -> int:
        """Have the owner close the outbox, which the storage has the grace for once more; its exit status."""
        self._owner.tell(CLOSE)
        end = self._deadline()
        try:
            while True:
                end = self._heed_or_kill([self._owner], end)
        except OwnerEnded as ended:
            return ended.how

    def _deadline(self) -> float:
        return time.monotonic() + self._config.server.grace + LATE

    def _heed_or_kill(self, ending: list[Child], end: float) -> float:
        """Heed what happens while these end, and kill them at ``end`` (monotonic seconds); when to, the next time."""
        if time.monotonic() >= end:
            for child in ending:
                child.kill()
            end = float("inf")
        self._heed(end)
        return end

    def _kill(self) -> None:
        for child in self._children():
            child.kill()
            child.bury()

    # --- in between -----------------------------------------------------------------------------------------------

    def _workers(self) -> list[Child]:
        return [slot.child for slot in self._slots if slot.child is not None]

    def _children(self) -> list[Child]:
        return self._workers() if self._owner.buried else [self._owner, *self._workers()]

    def _heed(self, end: float = float("inf")) -> None:
        """Wait for something to happen, at most until ``end`` (monotonic seconds), and heed it.

        Raises:
            StopRequested: a signal came.
            OwnerEnded: see there.

        """
        self._fill_slots()
        vacant = [slot.again_at for slot in self._slots if slot.child is None and self._hiring]
        seconds = min([end, self._next_look, *vacant]) - time.monotonic()
        waited_for: list[socket.socket | Child] = [self._wakeup, *self._children()]
        readable, _, _ = select.select(waited_for, [], [], max(seconds, 0.0))
        if self._wakeup in readable:
            self._heed_signal(self._wakeup.recv(1)[0])
        if self._owner in readable:
            self._hear_owner()
        for slot in self._slots:
            if slot.child is not None and slot.child in readable:
                self._hear_worker(slot, slot.child)
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + BEAT
            self._end_who_is_stuck()

    def _end_who_is_stuck(self) -> None:
        """Whose event loop turns no more: what it has in hand goes out again, from another one or after a start."""
        if self._draining:
            return  # the grace bounds how long anybody may take
        for each in self._children():
            if each.is_stuck():
                self._log.stuck(each)
                each.kill()

    def _heed_signal(self, number: int) -> None:
        first, self._signalled = not self._signalled, True
        if not (first and self._draining):  # else a child was sent the same, and was faster
            raise StopRequested(number)

    @property
    def _hiring(self) -> bool:
        return self._listener is not None and not self._draining

    def _fill_slots(self) -> None:
        for slot in self._slots:
            if self._hiring and slot.child is None and slot.again_at <= time.monotonic():
                self._fill(slot)

    def _fill(self, slot: Slot) -> None:
        slot.since = time.monotonic()
        work = partial(self._work, slot.number)
        try:
            slot.child = Child(f"worker-{slot.number}", work, self._children())
        except OSError as error:
            slot.fall_vacant(time.monotonic())
            self._log.worker_missing(slot, error)

    def _work(self, number: int, parent: Parent) -> int:
        assert self._listener is not None  # noqa: S101 - no worker is forked before we listen
        return worker.main(self._config, self._clock, parent, self._listener, number, self._sandbox_at)

    def _hear_owner(self) -> None:
        words = self._owner.hear()
        if words is None:
            raise OwnerEnded(self._owner.bury())
        for word in words:
            what, _, where = word.partition(" ")
            if what == OPEN:
                self._opened, self._sandbox_at = True, where or None
            self._owner_draining |= what == DRAINING
            self._stop_if_told(what)

    def _hear_worker(self, slot: Slot, child: Child) -> None:
        words = child.hear()
        if words is None:
            how = child.bury()
            slot.fall_vacant(time.monotonic())
            self._owner.tell(f"{ENDED} {slot.number}")
            if not self._draining or how:
                self._log.worker_ended(slot, child, how, draining=self._draining)
            return
        for word in words:
            if word == LISTENING:
                slot.listening = True
                self._owner.tell(f"{LISTENING} {slot.number}")
            self._stop_if_told(word)

    def _stop_if_told(self, word: str) -> None:
        if word == STOP and not self._draining:
            raise StopRequested(signal.SIGTERM)
