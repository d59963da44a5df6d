"""What operators ask of the outbox: to find an event, to look through the dead, to read the counts.

Everything here blocks, reads one moment, and changes nothing: callers run it on a thread of their own, beside whoever
writes. What operators change is the ``OwnedOutbox``'s: ``retry_dead``, ``drop_dead``, ``move``, ``drop_waiting``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct

from trackgate.model import Event
from trackgate.outbox import Attempt, Found, Ledger, Selection


class Cause(Struct, frozen=True, kw_only=True):
    """Why events are dead at a destination, and how many of them."""

    destination: str
    reason: str
    detail: str
    """Of the latest."""
    count: int
    first: datetime
    last: datetime


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One delivery that is dead."""

    event_id: str
    destination: str
    source: str
    name: str
    reason: str
    detail: str
    died_at: datetime
    received_at: datetime
    attempts: int
    """Calls that were made for it."""


class Autopsy(Struct, frozen=True, kw_only=True):
    """Everything that is known of one dead delivery. ``request`` is the last call as it was sent, as JSON.

    ``event`` is ``None`` where what is stored of it is damaged.
    """

    letter: DeadLetter
    event: Event | None
    request: str | None
    attempts: tuple[Attempt, ...]


class Page(Struct, frozen=True, kw_only=True):
    """Some of the dead, the latest first, and where the next page begins (``None``: there is none)."""

    letters: Sequence[DeadLetter]
    next: str | None = None


class Miscount(Struct, frozen=True, array_like=True):
    """Where the rows are not what was counted: at a destination, or (``events``) in the log as a whole."""

    destination: str
    what: Literal["waiting", "dead", "events"]
    counted: int
    found: int

    def __str__(self) -> str:
        if self.what == "events":
            return f"the log: {self.counted} events as counted, and one of number {self.found} in the outbox"
        return f"destination {self.destination}: {self.counted} {self.what} as counted, {self.found} in the outbox"


class Archive(Protocol):
    """The reading side of an outbox.

    Every method raises ``OutboxUnavailable`` where the storage cannot be read.
    """

    def find(self, event_id: str) -> Found | None:
        """An event by our id, and what became of it."""

    def find_all(self, caller_id: str, limit: int) -> Sequence[str]:
        """Our ids of the events that callers gave this id or key, the latest first."""

    def causes(self, selection: Selection) -> Sequence[Cause]:
        """Why the selected are dead, the most frequent first."""

    def dead(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        """The selected dead, the latest first; ``after`` is a page's ``next``.

        Raises:
            ValueError: ``after`` is no such thing.

        """

    def autopsy(self, destination: str, event_id: str) -> Autopsy | None:
        """One dead delivery; ``None`` where it is not dead."""

    def ledger(self) -> Ledger:
        """The counts as of the last commit."""

    def miscounts(self, enough: Callable[[], bool]) -> Sequence[Miscount] | None:
        """Count the rows, and compare them with the counters of the same moment.

        ``enough`` is asked now and then, on this thread; where it says so, it is given up: ``None``.
        """

    def close(self) -> None:
        """Let go of the storage."""
