"""An outbox on the event loop, over whatever does its jobs: a thread (``sqlite``), or another process (``remote``)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from trackgate.outbox import STORAGE_PAUSE, Dead, OutboxError, OutboxUnavailable
from trackgate.outboxes.counts import with_rejected
from trackgate.outboxes.jobs import (
    DAMAGED,
    Append,
    GiveBack,
    Job,
    NextDue,
    Reject,
    Settle,
    Settled,
    Stand,
    Take,
    TakeHeld,
    TakeLive,
    claim,
    ready,
    settled,
)
from trackgate.outboxes.times import micros, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from trackgate.outbox import Appended, Delivery, Entry, Ledger, Settlement, Standing
    from trackgate.outboxes.jobs import Handed

WITHIN = 1.0
"""Seconds after which a call turned away is written down, if nothing else is written before."""

CLOSING = "the outbox is closing"


class Known(Protocol):
    """What is known without asking: the destinations with news, with live ones and with held ones."""

    @property
    def news(self) -> frozenset[str]: ...
    @property
    def live(self) -> frozenset[str]: ...
    @property
    def held(self) -> frozenset[str]: ...


class Face(ABC):
    """What carries events is as ``trackgate.outbox.Outbox`` says."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake: Callable[[frozenset[str]], None] = _nobody
        self._wake_for_held: Callable[[frozenset[str]], None] = _nobody
        self._rejected: Counter[tuple[str, str]] = Counter()
        """Calls turned away that are not written down yet, as far as we know."""
        self._being_written: Counter[tuple[str, str]] = Counter()
        """Those of them that were sent to be, and must not be sent again."""
        self._flush: asyncio.TimerHandle | None = None
        self._burying: set[asyncio.Task[None]] = set()
        self._ended: str | None = None
        """Why nothing more is asked."""

    # --- what is behind it --------------------------------------------------------------------------------------

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Have a job done; its answer is a ``Promise``.

        Raises:
            OutboxUnavailable: the outbox is closing, or so much waits already that this one would.

        """

    @property
    @abstractmethod
    def known(self) -> Known:
        """As of the last commit."""

    @abstractmethod
    def _counted(self) -> Ledger:
        """The ledger, without what was not written yet of ``count_rejected``."""

    # --- the protocol -------------------------------------------------------------------------------------------

    async def append(self, entries: Sequence[Entry]) -> Sequence[Appended]:
        rows = [ready(entry) for entry in entries]
        return await self._ask(Append(self._promise(), rows, sum(row.size for row in rows))) if rows else []

    async def take(self, destination: str, limit: int) -> Sequence[Delivery]:
        # A round may bring nothing because all of it had to join what its lanes hold.
        while self.has_news(destination):
            if taken := await self._take(Take(self._promise(), destination, limit)):
                return taken
        return []

    async def take_live(self, destination: str, limit: int) -> Sequence[Delivery]:
        if not self.has_live(destination):
            return []
        return await self._take(TakeLive(self._promise(), destination, limit))

    async def take_held(
        self, destination: str, now: datetime, limit: int, *, undue: bool = False
    ) -> Sequence[Delivery]:
        if destination not in self.known.held:
            return []
        return await self._take(TakeHeld(self._promise(), destination, limit, None if undue else micros(now)))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        if settlements:
            await self._ask(Settle(self._promise(), [settled(one) for one in settlements]))

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._ask(GiveBack(self._promise(), [claim(one) for one in deliveries]))

    async def next_due(self, destination: str) -> datetime | None:
        if destination not in self.known.held:
            return None
        due = await self._ask(NextDue(self._promise(), destination))
        return None if due is None else moment(due)

    async def stand(self, destination: str, standing: Standing) -> None:
        await self._ask(Stand(self._promise(), destination, standing))

    def has_news(self, destination: str) -> bool:
        return destination in self.known.news

    def has_live(self, destination: str) -> bool:
        return destination in self.known.live

    def on_append(self, wake: Callable[[frozenset[str]], None]) -> None:
        self._wake = wake

    def on_retry(self, wake: Callable[[frozenset[str]], None]) -> None:
        self._wake_for_held = wake

    def count_rejected(self, source: str, reason: str, count: int = 1) -> None:
        self._rejected[source, reason] += count
        if self._flush is None and self._ended is None:
            self._flush = self._loop.call_later(WITHIN, self._write_rejected)

    def ledger(self) -> Ledger:
        ledger = self._counted()
        return with_rejected(ledger, self._rejected) if self._rejected else ledger

    # --- requests and answers -----------------------------------------------------------------------------------

    def _promise(self) -> asyncio.Future[Any]:
        if self._ended is not None:
            raise OutboxUnavailable(self._ended)
        return self._loop.create_future()

    def _unasked(self) -> asyncio.Future[Any]:
        """For a job whose answer nobody waits for; an error in it is no news."""
        promise = self._loop.create_future()
        promise.add_done_callback(_seen)
        return promise

    async def _ask(self, job: Job) -> Any:
        answer: asyncio.Future[Any] = job.answer
        self.submit(job)
        return await answer

    async def _take(self, job: Take | TakeLive | TakeHeld) -> list[Delivery]:
        """Have deliveries handed out; if whoever asked is gone by then, they are given back."""
        answer: asyncio.Future[list[Handed]] = job.answer
        self.submit(job)
        try:
            handed = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda answer: self._put_back(job.destination, answer))
            raise
        return self._readable(job.destination, handed)

    def _readable(self, destination: str, handed: Sequence[Handed]) -> list[Delivery]:
        """The deliveries with their events; one that is whole and yet no event dies, and the others go on."""
        deliveries: list[Delivery] = []
        dead: list[Settled] = []
        for one in handed:
            try:
                deliveries.append(one.delivery(destination))
            except msgspec.DecodeError as error:
                fate = Dead(DAMAGED, f"the stored event cannot be read: {error}")
                dead.append(Settled(destination, one.seq, one.held, one.attempts, fate, ()))
        if dead:
            task = self._loop.create_task(self._bury(dead))
            self._burying.add(task)
            task.add_done_callback(self._burying.discard)
        return deliveries

    async def _bury(self, dead: list[Settled]) -> None:
        """However long the storage takes; once we are gone they are in nobody's hand, and found out again."""
        while self._ended is None:
            try:
                await self._ask(Settle(self._promise(), dead))
            except OutboxError:
                await asyncio.sleep(STORAGE_PAUSE)
            else:
                return

    def _put_back(self, destination: str, answer: asyncio.Future[list[Handed]]) -> None:
        if answer.cancelled() or answer.exception() is not None or self._ended is not None:
            return  # once we are gone, nothing is in our hand
        if handed := answer.result():
            self.submit(GiveBack(self._unasked(), [one.claim(destination) for one in handed]))

    # --- calls turned away --------------------------------------------------------------------------------------

    def _write_rejected(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._flush = None
        counts = self._rejected - self._being_written
        if counts and self._ended is None:
            written = self._promise()
            written.add_done_callback(lambda answer: self._forget_rejected(counts, answer))
            self.submit(Reject(written, dict(counts)))
            self._being_written += counts

    def _forget_rejected(self, counts: Counter[tuple[str, str]], answer: asyncio.Future[None]) -> None:
        self._being_written -= counts
        if answer.exception() is None:
            self._rejected -= counts
        if self._rejected - self._being_written and self._flush is None and self._ended is None:
            self._flush = self._loop.call_later(WITHIN, self._write_rejected)


def _nobody(_: frozenset[str]) -> None:
    """Nobody is to be woken."""


def _seen(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
