"""What operators ask: answered from the archive, on another thread, so that neither callers nor the writer wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from trackgate.asking import Mistaken
from trackgate.config.faults import did_you_mean, listed
from trackgate.operate import tally
from trackgate.operate.answers import DeadPage, Dropped, Fate, FoundEvent, FoundEvents, Letter, Retried, Sample, Status
from trackgate.operate.rehearsal import rehearse
from trackgate.outbox import DestinationTally, OutboxUnavailable, Selection, Standing
from trackgate.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from trackgate.archive import Archive, Miscount
    from trackgate.config import Destination
    from trackgate.model import Clock
    from trackgate.outbox import Found, Ledger

SAME_ID = 10
"""Events that are shown at most where callers gave several the same id."""

WAITING = frozenset({"due", "held"})
"""Fates of what is not settled."""

LONGEST_CHECK = 5.0
"""Seconds for the rows to be compared with the counts; a million that wait at two destinations take some 0.05."""

SAMPLES = 20
"""Causes that a dry run shows a difference for."""

Answer = TypeVar("Answer")


class Declined(Exception):  # noqa: N818 - nothing is broken
    """What cannot be done as things are; the message says what to do instead."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field


class Readiness(Struct, frozen=True):
    """Whether new events are taken."""

    status: str
    """starting, ready, refusing or draining."""
    reason: str | None = None
    """Why they are refused."""


class Running(Struct, frozen=True, kw_only=True):
    """The running gateway, as far as operators ask of it."""

    readiness: Callable[[], Readiness]
    """As ``/readyz`` says."""
    workers: Workers
    rate: Callable[[str], float]
    """Delivered a second at a destination, over the last minute."""
    probe: Callable[[str], Awaitable[Standing]]
    """Tries a configured destination that is stopped or paused at once; how it stands then."""


class Inquiries:
    """All questions.

    Args:
        archive: opens the reading side of the outbox; used on another thread, one opening a question.
        ledger: the counts as the owner of the outbox has them in memory, which is what /metrics shows; ``None`` where
            nobody owns it.
        sources: the names that are configured.
        destinations: those that are configured.
        running: the gateway that runs on this outbox, if it is this process.
        clock: the time.

    """

    def __init__(
        self,
        archive: Callable[[], Archive],
        ledger: Callable[[], Ledger] | None,
        *,
        sources: Collection[str],
        destinations: Mapping[str, Destination],
        running: Running | None,
        clock: Clock,
    ) -> None:
        self._archive = archive
        self._counts = ledger
        self._sources = sources
        self._destinations = destinations
        self._running = running
        self._clock = clock

    async def status(self) -> Status:
        """Everything counted, and compared with what is in the outbox."""
        miscounts, unchecked = await self._miscounts()
        ledger = await self._ledger()
        now = self._clock.now()
        readiness = Readiness("none") if self._running is None else self._running.readiness()
        return Status(
            at=now,
            gateway=readiness.status,
            reason=readiness.reason,
            workers=None if self._running is None else tally.of_workers(self._running.workers, self._destinations),
            sources={name: tally.of_source(each) for name, each in sorted(ledger.sources.items())},
            destinations={
                name: tally.of_destination(
                    each,
                    now,
                    gone=name not in self._destinations,
                    rate=None if self._running is None else self._running.rate(name),
                )
                for name, each in sorted(ledger.destinations.items())
            },
            backlog_bytes=ledger.backlog_bytes,
            backlog_limit_bytes=ledger.backlog_limit or None,
            faults=(*tally.faults(ledger), *map(tally.in_rows, miscounts)),
            unchecked=unchecked,
        )

    async def find(self, event_id: str) -> FoundEvents:
        """An event by our id or the caller's.

        Raises:
            Declined: nobody knows it.

        """

        def look(archive: Archive) -> list[Found]:
            ours = archive.find(event_id)
            ids = [] if ours is not None else archive.find_all(event_id, SAME_ID)
            return [found for found in (ours, *map(archive.find, ids)) if found is not None]

        found = await self._read(look)
        if not found:
            raise Declined(
                404,
                f"No event has the id {event_id!r}: it is neither Trackgate's (the header `trackgate-event-id` of the"
                " reply) nor a caller's, or it was settled longer than `server.retention` ago.",
            )
        tallies = (await self._ledger()).destinations
        standings = {
            name: tally.standing_of(tallies.get(name, DestinationTally()), gone=name not in self._destinations)
            for each in found
            for name in each.owed
        }
        now = self._clock.now()
        return FoundEvents(events=tuple(_found(each, standings, now) for each in found))

    async def dead(self, selection: Selection, limit: int, after: str | None) -> DeadPage:
        """Causes first, then some of the dead, the latest first.

        Raises:
            Declined: there is no such destination.
            Mistaken: ``after`` is no page's ``next``.

        """
        await self._check(selection)

        def look(archive: Archive) -> DeadPage:
            causes = archive.causes(selection)
            page = archive.dead(selection, limit, after)
            total = sum(cause.count for cause in causes)
            return DeadPage(causes=tuple(causes), total=total, letters=tuple(page.letters), next=page.next)

        try:
            return await self._read(look)
        except ValueError:
            raise Mistaken("after", "`after` must be the `next` of the page before.") from None

    async def letter(self, destination: str, event_id: str) -> Letter:
        """One dead delivery.

        Raises:
            Declined: it is not dead.

        """
        await self._known(destination)
        autopsy = await self._read(lambda archive: archive.autopsy(destination, event_id))
        if autopsy is None:
            raise Declined(404, f"The event {event_id!r} is not dead at {destination}: find it to see where it is.")
        difference = rehearse(autopsy, self._destinations.get(destination))
        return Letter(letter=autopsy.letter, event=autopsy.event, attempts=autopsy.attempts, difference=difference)

    async def rehearse(self, selection: Selection) -> Retried:
        """How many a retry would take, and for each cause what would be sent instead.

        Raises:
            Declined: there is no such destination.

        """
        await self._check(selection)

        def look(archive: Archive) -> Retried:
            causes = archive.causes(selection)
            samples: list[Sample] = []
            for cause in causes[:SAMPLES]:
                narrowed = replace(selection, destination=cause.destination, reason=cause.reason)
                for letter in archive.dead(narrowed, 1).letters:
                    autopsy = archive.autopsy(letter.destination, letter.event_id)
                    if autopsy is not None:
                        difference = rehearse(autopsy, self._destinations.get(cause.destination))
                        samples.append(Sample(cause=cause, event_id=letter.event_id, difference=difference))
            return Retried(retried=0, selected=sum(cause.count for cause in causes), samples=tuple(samples))

        return await self._read(look)

    async def count_dead(self, selection: Selection) -> Dropped:
        """How many a drop would take."""
        await self._check(selection)
        causes = await self._read(lambda archive: archive.causes(selection))
        return Dropped(dropped=0, selected=sum(cause.count for cause in causes))

    async def count_waiting(self, name: str) -> Dropped:
        """How many ``drop`` would take.

        Raises:
            Declined: it is configured, or unknown.

        """
        tallies = await self._check_gone(name, "drop what waits there")
        return Dropped(dropped=0, selected=tallies[name].waiting)

    # --- how --------------------------------------------------------------------------------------------------

    async def _read(self, look: Callable[[Archive], Answer]) -> Answer:
        def read() -> Answer:
            with closing(self._archive()) as archive:
                return look(archive)

        return await asyncio.to_thread(read)

    async def _ledger(self) -> Ledger:
        counted = self._counts() if self._counts is not None else await self._read(lambda archive: archive.ledger())
        return tally.complete(counted, self._sources, self._destinations)

    async def _miscounts(self) -> tuple[Sequence[Miscount], str | None]:
        """Where the rows are not what was counted, or why that is not known: the counts are to be seen all the same."""
        until = self._clock.monotonic() + LONGEST_CHECK
        try:
            found = await self._read(lambda archive: archive.miscounts(lambda: self._clock.monotonic() > until))
        except OutboxUnavailable as error:
            return (), str(error)
        return ((), f"that would take longer than {LONGEST_CHECK:g} s") if found is None else (found, None)

    async def _known(self, name: str) -> Mapping[str, DestinationTally]:
        tallies = (await self._ledger()).destinations
        if name not in tallies:
            names = sorted(tallies)
            message = f"There is no destination {name!r}; there are {listed(names)}{did_you_mean(name, names)}"
            raise Declined(404, message, "destination")
        return tallies

    async def _check(self, selection: Selection) -> None:
        if selection.destination is not None:
            await self._known(selection.destination)

    async def _check_gone(self, name: str, what: str) -> Mapping[str, DestinationTally]:
        tallies = await self._known(name)
        if name in self._destinations:
            raise Declined(
                409,
                f"{name} is in routes.toml, and events are on their way there: to {what}, take it out of the file and"
                " its routes, and restart the gateway.",
            )
        return tallies


def _found(found: Found, standings: Mapping[str, Standing], now: datetime) -> FoundEvent:
    return FoundEvent(
        event=found.event,
        destinations={name: _fate(found, name, standings[name], now) for name in sorted(found.owed)},
        filtered=tuple(sorted(found.filtered)),
    )


def _fate(found: Found, name: str, standing: Standing, now: datetime) -> Fate:
    """In the words of the ledger: what waits is due, or parked with its destination."""
    fate, attempts = found.fates[name], found.attempts.get(name, ())
    reason, next_due, paused_until = found.reasons.get(name), None, None
    if fate in WAITING:
        fate = "parked" if standing.state == "parked" else "due"
        next_due, paused_until = found.next_due.get(name), standing.pause_end(now)
        if standing.state != "up":
            reason, next_due = f"{name} is {standing.state} ({standing.reason})", None
        elif paused_until is not None:
            reason = f"{name} is paused, as its vendor asked (Retry-After)"
            next_due = max(next_due or paused_until, paused_until)
    return Fate(fate=fate, reason=reason, next_due=next_due, paused_until=paused_until, attempts=attempts)
