"""What one destination has in memory of the outbox: a window that is filled as it empties, never by much at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from trackgate.deliver.held_timer import HeldTimer
from trackgate.lanes import Key, Lanes, key_of
from trackgate.outbox import Held, Settlement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trackgate.model import Clock
    from trackgate.outbox import Delivery, Outbox

    Settle = Callable[[list[Settlement]], Awaitable[None]]

WINDOW = 512
"""Deliveries that are kept in memory, at most, beyond those that were started and a few live ones."""

LIVE_WINDOW = 64
"""Live deliveries that are kept in memory beside them while a backlog drains."""

RECENT = timedelta(seconds=5)
"""What was received so short a time ago is live, wherever it comes from."""

RECENT_STEP = 0.1
"""Seconds for which "a short time ago" is not worked out anew: it would be for each delivery."""

WINDOW_BYTES = 8 * 2**20
"""Bytes of events in memory at which no more are taken; live ones still are up to twice as many."""


class Window:
    """The lanes of one destination, and how they are filled.

    Args:
        name: the destination's.
        outbox: where its deliveries come from.
        clock: the time.
        longest: seconds; the longest wait between two tries.
        settle: records settlements, however long that takes.

    """

    def __init__(self, name: str, outbox: Outbox, clock: Clock, longest: float, settle: Settle) -> None:
        self.lanes = Lanes()
        self.timer = HeldTimer(clock, longest)
        self._name = name
        self._outbox = outbox
        self._settle = settle
        self._clock = clock
        self._recent_until = 0.0
        self._overtaken: set[Key] | None = None
        """The lanes that came to be held since we asked the outbox; ``None`` while nothing is asked."""

    def start(self, *, fresh: bool = False) -> Delivery | None:
        """Hand out the next that may go, as ``Lanes.start`` does."""
        now = self._clock.monotonic()
        if now >= self._recent_until:
            self._recent_until = now + RECENT_STEP
            self.lanes.live_since = self.timer.now() - RECENT
        return self.lanes.start(fresh=fresh)

    def wants(self) -> bool:
        """Whether there is room, and something might come of a look into the outbox."""
        return (self.hungry() and self._outbox.has_news(self._name)) or self._wants_live()

    async def fill(self) -> None:
        """Bring in held deliveries that are due, then the next of the log, then live ones."""
        if self.hungry():
            await self.timer.refresh(self._outbox, self._name)
            if self.timer.seconds() <= 0:
                self.lanes.add(await self._outbox.take_held(self._name, self.timer.reached(), self._room()))
                self.timer.stale = True
                await self.timer.refresh(self._outbox, self._name)
            if self.hungry() and self._outbox.has_news(self._name):
                await self._bring(self._outbox.take(self._name, self._room()))
        if self._wants_live():
            await self._bring(self._outbox.take_live(self._name, LIVE_WINDOW - self.lanes.live))

    async def fill_one(self, *, fresh: bool) -> None:
        """Bring in one for a probe: an event that was never tried, or the held one that waited longest."""
        if not fresh:
            self.lanes.add(await self._outbox.take_held(self._name, self.timer.now(), 1, undue=True))
        elif not len(self.lanes) and self._outbox.has_news(self._name):
            await self._bring(self._outbox.take(self._name, 1))

    async def hold_followers(self, deliveries: Sequence[Delivery]) -> None:
        """What memory has behind held deliveries waits behind them in the outbox, and what is just being taken will."""
        if self._overtaken is not None:
            self._overtaken.update(map(key_of, deliveries))
        await self._join_held([one for delivery in deliveries for one in self.lanes.followers(delivery)])

    def hungry(self) -> bool:
        """Whether memory has room enough to be worth a look into the log."""
        return self._room() > WINDOW // 2 and self.lanes.size < WINDOW_BYTES

    def _room(self) -> int:
        return WINDOW - len(self.lanes) + min(self.lanes.live, LIVE_WINDOW)

    def _wants_live(self) -> bool:
        if self.lanes.live >= LIVE_WINDOW // 2 or self.lanes.size >= 2 * WINDOW_BYTES:
            return False
        return self._outbox.has_live(self._name)

    async def _bring(self, taking: Awaitable[Sequence[Delivery]]) -> None:
        """Bring in what is taken; those whose lane came to be held while we asked wait behind it instead."""
        overtaken = self._overtaken = set[Key]()
        try:
            taken = await taking
        finally:
            self._overtaken = None
        self.lanes.add(one for one in taken if key_of(one) not in overtaken)
        await self._join_held([one for one in taken if key_of(one) in overtaken])

    async def _join_held(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._settle([Settlement(delivery=one, fate=Held.as_it_was(one, due=None)) for one in deliveries])
