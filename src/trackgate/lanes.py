"""Lanes: the deliveries that one destination has in memory, one call in flight per lane, the oldest first.

While a backlog drains, every fifth start is a live delivery's, if one is ready: the backlog keeps four fifths of the
pace, and nobody who owes nothing older waits for it. What either leaves unused is the other's.

Pure bookkeeping. A lane is one user's events at one destination, in the order of their acceptance; a delivery that was
set aside is a lane of its own, so that it holds nobody up.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trackgate.outbox import Delivery

TURN = 5
"""Starts from one live delivery's to the next."""

Key = tuple[int, int]
"""The lane's hash and 0, or for a delivery set aside its hash and its seq."""


def key_of(delivery: Delivery) -> Key:
    """The lane that a delivery goes by."""
    return (delivery.lane, delivery.seq if delivery.aside else 0)


class Lanes:
    """The deliveries at hand, by lane.

    ``live_since``: what was received since then has the turns of what is live, too, once its lane is free: behind a
    backlog that memory holds whole it need not wait either.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, deque[Delivery]] = {}
        self._ready: list[tuple[int, Key]] = []
        self._ready_live: list[tuple[int, Key]] = []
        self.live_since = datetime.max.replace(tzinfo=UTC)
        self._since_live = 0
        self._live = 0
        self._busy: set[Key] = set()
        self._count = 0
        self._size = 0

    def __len__(self) -> int:
        """How many wait, not counting those in flight."""
        return self._count

    @property
    def size(self) -> int:
        """The bytes of those that wait."""
        return self._size

    @property
    def live(self) -> int:
        """How many of those that wait are live."""
        return self._live

    @property
    def busy(self) -> int:
        """How many lanes have a delivery that was started and is not settled."""
        return len(self._busy)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Queue deliveries, in the order given, behind what their lanes have."""
        for delivery in deliveries:
            key = key_of(delivery)
            queue = self._waiting.setdefault(key, deque())
            queue.append(delivery)
            self._count += 1
            self._live += delivery.live
            self._size += delivery.size
            if len(queue) == 1 and key not in self._busy:
                self._make_ready(key, delivery)

    def start(self, *, fresh: bool = False) -> Delivery | None:
        """Hand out the oldest delivery whose lane is free, or a live one whose turn it is.

        The lane is busy until ``release``. ``fresh`` prefers one that was never held.
        """
        while self._ready_live and not self._is_live(self._waiting[self._ready_live[0][1]][0]):
            heappush(self._ready, heappop(self._ready_live))  # it is no longer a moment ago
        live = bool(self._ready_live) and (self._since_live >= TURN - 1 or not self._ready)
        ready = self._ready_live if live else self._ready
        if not ready:
            return None
        self._since_live = 0 if live else self._since_live + 1
        if fresh:
            chosen = min(ready, key=lambda each: (self._waiting[each[1]][0].held, each))
            ready.remove(chosen)
            heapify(ready)
            key = chosen[1]
        else:
            _, key = heappop(ready)
        self._busy.add(key)
        queue = self._waiting[key]
        delivery = queue.popleft()
        self._count -= 1
        self._live -= delivery.live
        self._size -= delivery.size
        if not queue:
            del self._waiting[key]
        return delivery

    def release(self, delivery: Delivery) -> None:
        """The delivery is settled: its lane's next may go."""
        key = key_of(delivery)
        self._busy.discard(key)
        if queue := self._waiting.get(key):
            self._make_ready(key, queue[0])

    def followers(self, delivery: Delivery) -> list[Delivery]:
        """Take out what waits behind a busy delivery, because it has to wait longer than memory should.

        What the outbox holds already, and handed out again, stays.
        """
        key = key_of(delivery)
        queue = self._waiting.pop(key, deque())
        if staying := deque(each for each in queue if each.held):
            self._waiting[key] = staying
        leaving = [each for each in queue if not each.held]
        self._count -= len(leaving)
        self._live -= sum(each.live for each in leaving)
        self._size -= sum(each.size for each in leaving)
        return leaving

    def drain(self) -> list[Delivery]:
        """Take out everything that waits."""
        left = [delivery for queue in self._waiting.values() for delivery in queue]
        self._waiting.clear()
        self._ready.clear()
        self._ready_live.clear()
        self._count = self._live = self._size = 0
        return left

    def _make_ready(self, key: Key, delivery: Delivery) -> None:
        heappush(self._ready_live if self._is_live(delivery) else self._ready, (delivery.seq, key))

    def _is_live(self, delivery: Delivery) -> bool:
        return delivery.live or delivery.event.received_at >= self.live_since
