"""What operators order: changed through the outbox, one log line each; what they ask is in ``inquiries``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from trackgate.config.faults import did_you_mean, listed
from trackgate.operate.answers import Dropped, Moved, Resumed, Retried
from trackgate.operate.inquiries import Declined, Inquiries, Running
from trackgate.outbox import OutboxUnavailable, Selection, Standing
from trackgate.timestamps import spell

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from trackgate.archive import Archive
    from trackgate.config import Destination
    from trackgate.model import Clock
    from trackgate.outbox import OwnedOutbox


class Operator(Inquiries):
    """All operations, questions and orders.

    Args:
        archive: as ``Inquiries``; so are those that are not named here.
        outbox: its writing side; ``None`` where nothing may be changed.
        log: one line for each change.

    """

    def __init__(
        self,
        archive: Callable[[], Archive],
        outbox: OwnedOutbox | None,
        *,
        sources: Collection[str],
        destinations: Mapping[str, Destination],
        running: Running | None,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(
            archive,
            outbox.ledger if outbox is not None else None,
            sources=sources,
            destinations=destinations,
            running=running,
            clock=clock,
        )
        self._outbox = outbox
        self._log = log

    async def retry(self, selection: Selection, limit: int) -> Retried:
        """Make at most so many of the dead due again; call it until it says 0.

        Raises:
            Declined: there is no such destination.

        """
        await self._check(selection)
        retried = await self._writes().retry_dead(selection, limit)
        if retried:
            self._log.info("dead.retried", count=retried, **_stated(selection))
        return Retried(retried=retried)

    async def drop_dead(self, selection: Selection, limit: int) -> Dropped:
        """Give at most so many of the dead up; call it until it says 0.

        Raises:
            Declined: there is no such destination.

        """
        await self._check(selection)
        dropped = await self._writes().drop_dead(selection, limit)
        if dropped:
            self._log.warning("dead.dropped", count=dropped, **_stated(selection))
        return Dropped(dropped=dropped)

    async def resume(self, name: str) -> Resumed:
        """Try a destination now that is down, parked or paused; without a running gateway let it start as up.

        Raises:
            Declined: it is not known, or not configured.

        """
        tallies = await self._known(name)
        if name not in self._destinations:
            raise Declined(
                409,
                f"{name} is not in routes.toml: put it back and restart the gateway, or move what waits there"
                f" (`trackgate move {name} NEW`).",
            )
        before = tallies[name].standing
        now = self._clock.now()
        was_paused_until = before.pause_end(now)
        self._log.info(
            "destination.resume_asked",
            destination=name,
            state=before.state,
            reason=before.reason,
            paused_until=was_paused_until and spell(was_paused_until),
        )
        if self._running is not None:
            after = await self._running.probe(name)
        else:
            after = Standing(since=now, up_seconds=before.up_seconds)
            await self._writes().stand(name, after)
        paused_until = after.pause_end(self._clock.now())
        stopped = before.state != "up" or was_paused_until is not None
        message = _resumed(name, after, paused_until, stopped=stopped, live=self._running is not None)
        return Resumed(
            was=before.state, state=after.state, reason=after.reason, paused_until=paused_until, message=message
        )

    async def move(self, old: str, new: str, limit: int) -> Moved:
        """Owe to ``new`` at most so many of what waits or is dead at ``old``; call it until it says 0.

        Raises:
            Declined: ``old`` is configured or unknown, or ``new`` is not configured.

        """
        await self._check_gone(old, "move what waits there")
        if new not in self._destinations:
            known = f"configured are {listed(self._destinations)}{did_you_mean(new, self._destinations)}"
            raise Declined(404, f"There is no destination {new!r} in routes.toml to move to; {known}", "to")
        moved = await self._writes().move(old, new, limit)
        if moved:
            self._log.info("destination.moved", destination=old, to=new, count=moved)
        return Moved(moved=moved)

    async def drop(self, name: str, limit: int) -> Dropped:
        """Give up at most so many of what waits at a destination that is configured no more; until it says 0.

        Raises:
            Declined: it is configured, or unknown.

        """
        await self._check_gone(name, "drop what waits there")
        dropped = await self._writes().drop_waiting(name, limit)
        if dropped:
            self._log.warning("destination.dropped", destination=name, count=dropped)
        return Dropped(dropped=dropped)

    def _writes(self) -> OwnedOutbox:
        if self._outbox is None:
            raise OutboxUnavailable("the outbox was opened to be read only")
        return self._outbox


def _stated(selection: Selection) -> dict[str, object]:
    return {name: value for name, value in asdict(selection).items() if value is not None}


def _resumed(name: str, after: Standing, paused_until: datetime | None, *, stopped: bool, live: bool) -> str:
    """What is told of a destination; ``stopped``: it was down, parked or paused before."""
    if not live:
        return f"{name} will start as up, without a pause: start the gateway, and it sends what waits."
    if after.state == "up" and paused_until is not None:
        return (
            f"{name} was tried, and its vendor asks again to wait (Retry-After): it is paused until"
            f" {spell(paused_until)}, and goes on by itself then."
        )
    if after.state == "up":
        return f"{name} is up: {'what waits there is being sent' if stopped else 'there was nothing to resume'}."
    if after.state == "parked":
        advice = "fix its key or url, then ask again"
    elif paused_until is not None:
        advice = f"its vendor asks to wait (Retry-After); it is tried by itself at {spell(paused_until)}"
    else:
        advice = "its vendor has to answer again; it is tried by itself, at least every `retry.probe`"
    return (
        f"{name} is still {after.state} ({after.reason}): {advice}. Where nothing waits there, the next event is the"
        " one that tries it."
    )
