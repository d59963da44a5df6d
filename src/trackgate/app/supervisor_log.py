"""What the supervisor logs: each line by a thread that ends with it, since a fork must not meet one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from click import echo

from trackgate.app.child import BEAT, MISSED
from trackgate.app.lifetime import logging

if TYPE_CHECKING:
    from trackgate.app.child import Child
    from trackgate.app.slot import Slot
    from trackgate.config import Config
    from trackgate.model import Clock


class SupervisorLog:
    """The log, open only while a line is written.

    Args:
        config: how it is to look, and what it leaves out.
        clock: the time.

    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    def tell(self, level: str, event: str, **facts: Any) -> None:
        """Write one line."""
        try:
            with logging(self._config, self._clock) as log:
                getattr(log, level)(event, **facts)
        except RuntimeError as error:  # where there is no room for a process there may be none for a thread
            echo(f"{event}: {facts} (not in the log: {error})", err=True)

    def owner_ended(self, how: int) -> None:
        """The program ends with it; ``how`` is its exit status, negative for a signal."""
        self.tell("error", "owner.ended", how=_in_words(how), advice="start the gateway again")

    def stuck(self, child: Child) -> None:
        """It is killed."""
        seconds = round(BEAT * MISSED)
        advice = "it is killed; if this comes again, see whether the machine has memory and processors enough"
        self.tell("error", "process.stuck", process=child.name, pid=child.pid, seconds=seconds, advice=advice)

    def worker_ended(self, slot: Slot, child: Child, how: int, *, draining: bool) -> None:
        """Its place is vacant; ``how`` is its exit status, negative for a signal."""
        then = "what it had in hand goes out again" if draining else "another one takes its place"
        facts = {"worker": slot.number, "pid": child.pid, "how": _in_words(how), "pause": slot.pause}
        self.tell("error", "worker.ended", **facts, advice=then)

    def worker_missing(self, slot: Slot, error: OSError) -> None:
        """The system has no room for it."""
        advice = "it is tried again after the pause; see what the system allows of processes, memory and open files"
        reason = error.strerror or str(error)
        self.tell("error", "worker.missing", worker=slot.number, reason=reason, pause=slot.pause, advice=advice)


def _in_words(how: int) -> str:
    return f"exit status {how}" if how >= 0 else f"signal {-how} ({signal.Signals(-how).name})"
