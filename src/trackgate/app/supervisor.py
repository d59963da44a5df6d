"""The process that was started: it forks the others, and then only waits, so that it can fork another one any time.

While others run it has no event loop, and no thread but for the moment in which it logs.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from trackgate import data
from trackgate.app import owner, worker
from trackgate.app.child import BEAT, CLOSE, DRAIN, DRAINING, ENDED, LISTENING, OPEN, READY, STOP, Child
from trackgate.app.lifetime import FAILED
from trackgate.app.post import Post
from trackgate.app.supervisor_log import SupervisorLog
from trackgate.server import address_of, bind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trackgate.address import Address
    from trackgate.app.child import Parent
    from trackgate.config import Config
    from trackgate.model import Clock

LATE = 2.0
"""Seconds beyond ``server.grace`` after which a worker, and then the owner, is killed that still runs."""

DEAF = 1.0
"""Seconds that the workers are waited with until the owner says that we drain: it may be busy with its start."""


class Told(Exception):  # noqa: N818 - what happened
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
        self._posts = [Post(number) for number in range(config.server.workers)]
        self._next_look = time.monotonic() + BEAT
        self._opened = False
        self._listener: socket.socket | None = None
        self._draining = False
        self._told = False
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
        with _signals() as self._wakeup:
            self._owner = Child("owner", self._own, [])
            try:
                self._open()
                self._staff()
                self._start(announce)
                while True:
                    self._heed()
            except Told:
                return self._drain()
            except OwnerEnded as ended:
                if self._opened or ended.how < 0:  # else it has said itself why it could not start
                    self._log.owner_ended(ended.how)
                return FAILED
            finally:
                self._kill()

    # --- what the children do -------------------------------------------------------------------------------------

    def _own(self, parent: Parent) -> int:
        return owner.main(self._config, self._clock, parent, self._sandbox)

    def _work(self, number: int, parent: Parent) -> int:
        assert self._listener is not None  # noqa: S101 - no worker is forked before we listen
        return worker.main(self._config, self._clock, parent, self._listener, number, self._sandbox_at)

    # --- start and end --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Wait for the owner, then listen: where two gateways meet, it is their directory that has to be spoken of."""
        while not self._opened:
            self._heed()
        try:
            self._listener = bind(self._config.server.address)
        except OSError:
            self._close()
            raise

    def _staff(self) -> None:
        while not all(post.listening for post in self._posts):
            self._heed()

    def _start(self, announce: Callable[[Callable[..., None], str, str | None], None]) -> None:
        assert self._listener is not None  # noqa: S101 - see `_open`
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
        grace = self._config.server.grace
        self._draining = True
        if self._listener is not None:
            self._listener.close()
        try:
            self._have_it_told()
            for post in self._posts:
                if post.child is not None:
                    post.child.tell(DRAIN)
            self._log.tell("info", "gateway.draining", grace=grace)
            self._let_workers_end(time.monotonic() + grace + LATE)
            how = self._close()
        except Told as again:
            return 128 + again.number
        except OwnerEnded as ended:
            how = ended.how or FAILED
        if how:
            self._log.owner_ended(how)
            return FAILED
        self._log.tell("info", "gateway.stopped")
        return 0

    def _have_it_told(self) -> None:
        self._owner.tell(DRAIN)
        end = time.monotonic() + DEAF
        while not self._told and time.monotonic() < end:
            self._heed(end)

    def _let_workers_end(self, end: float) -> None:
        while workers := [post.child for post in self._posts if post.child is not None]:
            if time.monotonic() >= end:
                for child in workers:
                    child.kill()
                end = float("inf")
            self._heed(end)

    def _close(self) -> int:
        """Have the owner close the outbox, which the storage has the grace for once more; its exit status."""
        self._owner.tell(CLOSE)
        end = time.monotonic() + self._config.server.grace + LATE
        try:
            while True:
                self._heed(end)
                if time.monotonic() >= end:
                    self._owner.kill()
                    end = float("inf")
        except OwnerEnded as ended:
            return ended.how

    def _kill(self) -> None:
        for child in self._children():
            child.kill()
            child.bury()

    # --- in between -----------------------------------------------------------------------------------------------

    def _children(self) -> list[Child]:
        workers = [post.child for post in self._posts if post.child is not None]
        return workers if self._owner.buried else [self._owner, *workers]

    def _heed(self, end: float = float("inf")) -> None:
        """Wait for something to happen, at most until ``end`` (monotonic seconds), and heed it.

        Raises:
            Told: a signal came.
            OwnerEnded: see there.

        """
        self._fill_posts()
        vacant = [post.again_at for post in self._posts if post.child is None and self._hiring]
        seconds = min([end, self._next_look, *vacant]) - time.monotonic()
        waited_for: list[socket.socket | Child] = [self._wakeup, *self._children()]
        readable, _, _ = select.select(waited_for, [], [], max(seconds, 0.0))
        if self._wakeup in readable:
            self._heed_signal(self._wakeup.recv(1)[0])
        if self._owner in readable:
            self._hear_owner()
        for post in self._posts:
            if post.child is not None and post.child in readable:
                self._hear_worker(post, post.child)
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
            raise Told(number)

    @property
    def _hiring(self) -> bool:
        return self._listener is not None and not self._draining

    def _fill_posts(self) -> None:
        for post in self._posts:
            if self._hiring and post.child is None and post.again_at <= time.monotonic():
                post.since = time.monotonic()
                work = partial(self._work, post.number)
                try:
                    post.child = Child(f"worker-{post.number}", work, self._children())
                except OSError as error:
                    post.fall_vacant(time.monotonic())
                    self._log.worker_missing(post, error)

    def _hear_owner(self) -> None:
        words = self._owner.hear()
        if words is None:
            raise OwnerEnded(self._owner.bury())
        for word in words:
            what, _, where = word.partition(" ")
            if what == OPEN:
                self._opened, self._sandbox_at = True, where or None
            self._told |= what == DRAINING
            self._stop_if_told(what)

    def _hear_worker(self, post: Post, child: Child) -> None:
        words = child.hear()
        if words is None:
            how = child.bury()
            post.fall_vacant(time.monotonic())
            self._owner.tell(f"{ENDED} {post.number}")
            if not self._draining or how:
                self._log.worker_ended(post, child, how, draining=self._draining)
            return
        for word in words:
            if word == LISTENING:
                post.listening = True
                self._owner.tell(f"{LISTENING} {post.number}")
            self._stop_if_told(word)

    def _stop_if_told(self, word: str) -> None:
        if word == STOP and not self._draining:
            raise Told(signal.SIGTERM)


@contextmanager
def _signals() -> Generator[socket.socket]:
    """A socket from which the number of each SIGTERM and SIGINT is read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)  # noqa: FBT003 - the standard library's word
        before = signal.set_wakeup_fd(theirs.fileno())
        handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield ours
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
