"""Reading the outbox: events and what became of them, for the gateway itself and from another process."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Self

import apsw
import msgspec
from msgspec import Struct

from trackgate.archive import Autopsy, Cause, DeadLetter, Miscount, Page
from trackgate.model import Event
from trackgate.outbox import Attempt, Found, Ledger, OutboxUnavailable, Selection
from trackgate.outboxes.jobs import DAMAGED
from trackgate.outboxes.sqlite.books import Books
from trackgate.outboxes.sqlite.database import Database
from trackgate.outboxes.times import micros, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from types import TracebackType


class _Attempt(Struct, array_like=True):
    destination: str
    at: int
    duration: float
    step: str
    outcome: str
    reason: str | None
    status: int | None
    reply: str | None

    def attempt(self) -> Attempt:
        return Attempt(
            at=moment(self.at),
            duration=self.duration,
            step=self.step,
            outcome=self.outcome,
            reason=self.reason,
            status=self.status,
            reply=self.reply,
        )


class _Found(Struct):
    body: str
    owed: frozenset[str]
    filtered: frozenset[str]
    fates: dict[str, str]
    attempts: list[_Attempt]
    reasons: dict[str, str]
    dues: dict[str, int]


class _Letter(Struct, array_like=True):
    """A row of ``dead_letters``, which are in the order of its first three."""

    at: int
    destination_id: int
    seq: int
    event_id: str
    destination: str
    source: str
    name: str
    reason: str
    detail: str
    received_at: int
    attempts: int

    def letter(self) -> DeadLetter:
        return DeadLetter(
            event_id=self.event_id,
            destination=self.destination,
            source=self.source,
            name=self.name,
            reason=self.reason,
            detail=self.detail,
            died_at=moment(self.at),
            received_at=moment(self.received_at),
            attempts=self.attempts,
        )


class _Autopsy(Struct):
    letter: _Letter
    body: str
    request: str | None
    attempts: list[_Attempt]


NEWEST = (2**62,) * 3
"""Later than any place among the dead."""


def find(database: Database, event_id: str) -> Found | None:
    """An event by our id, and what became of it at each destination.

    Raises:
        OutboxUnavailable: it is damaged.

    """
    row = database.read("find", _Found, id=event_id)
    if row is None:
        return None
    try:
        event = msgspec.json.decode(row.body, type=Event)
    except msgspec.DecodeError:
        raise OutboxUnavailable(f"the event {event_id} is damaged: what is stored of it cannot be read") from None
    return Found(
        event=event,
        owed=row.owed,
        filtered=row.filtered,
        fates=row.fates,
        attempts={
            name: tuple(one.attempt() for one in row.attempts if one.destination == name)
            for name in {one.destination for one in row.attempts}
        },
        reasons=row.reasons,
        next_due={name: moment(due) for name, due in row.dues.items()},
    )


class SqliteReader:
    """The ``Archive`` of a data directory, read beside the gateway that owns it; nothing is changed.

    Raises:
        OutboxUnavailable: there is no outbox there, or it cannot be read.

    """

    def __init__(self, directory: Path) -> None:
        with _reading():
            self._database = Database.look(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, event_id: str) -> Found | None:
        with _reading():
            return find(self._database, event_id)

    def find_all(self, caller_id: str, limit: int) -> Sequence[str]:
        with _reading():
            return self._database.rows("find_all", str, key=caller_id, limit=limit)

    def causes(self, selection: Selection) -> Sequence[Cause]:
        with _reading():
            rows = self._database.rows(
                "causes", tuple[str, str, str, int, int, int], choice=_choice(selection)
            )  # fmt: skip
        return [
            Cause(
                destination=destination,
                reason=reason,
                detail=detail,
                count=count,
                first=moment(first),
                last=moment(last),
            )
            for destination, reason, detail, count, first, last in rows
        ]

    def dead(self, selection: Selection, limit: int, after: str | None = None) -> Page:
        place = NEWEST if after is None else _place(after)
        with _reading():
            rows = self._database.rows(
                "dead_letters", _Letter, choice=_choice(selection), after=place, limit=limit + 1
            )  # fmt: skip
        page = rows[:limit]
        more = bool(page) and len(rows) > limit
        return Page(
            letters=[row.letter() for row in page],
            next=f"{page[-1].at}-{page[-1].destination_id}-{page[-1].seq}" if more else None,
        )

    def autopsy(self, destination: str, event_id: str) -> Autopsy | None:
        with _reading():
            found = self._database.read("autopsy", _Autopsy, destination=destination, id=event_id)
        if found is None:
            return None
        return Autopsy(
            letter=found.letter.letter(),
            event=_undamaged(found),
            request=found.request,
            attempts=tuple(one.attempt() for one in found.attempts),
        )

    def choose(self, selection: Selection, limit: int) -> list[tuple[str, int]]:
        """The first of the selected dead, by destination and number; of each destination the oldest first."""
        with _reading():
            return self._database.rows("chosen_dead", tuple[str, int], choice=_choice(selection), limit=limit)

    def ledger(self) -> Ledger:
        """The counts as of the last commit; the limit is the gateway's affair and not in the file."""
        with _reading():
            self._database.begin(write=False)
            try:
                return Books.load(self._database, policies={}).counts(limit=0).ledger
            finally:
                self._database.roll_back()

    def miscounts(self, enough: Callable[[], bool]) -> list[Miscount] | None:
        with _reading():
            self._database.give_up_when(enough)
            try:
                return self._database.rows("miscounted", Miscount)
            except apsw.InterruptError:
                return None
            finally:
                self._database.give_up_when(None)

    def close(self) -> None:
        self._database.close()


def _undamaged(found: _Autopsy) -> Event | None:
    """The event, if it is as it was stored, as far as anybody knows."""
    if found.letter.reason == DAMAGED:
        return None
    try:
        return msgspec.json.decode(found.body, type=Event)
    except msgspec.DecodeError:
        return None


@contextmanager
def _reading() -> Generator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError):
        raise OutboxUnavailable(
            "the outbox is damaged: start the gateway anew (trackgate serve); it saves what can be read, sets the"
            " damaged file aside and logs what is lost"
        ) from None
    except apsw.Error as error:
        raise OutboxUnavailable(f"the outbox cannot be read: {str(error) or type(error).__name__}") from None


def _choice(selection: Selection) -> dict[str, object]:
    """A selection as the statements read it: times in microseconds."""
    return {
        name: micros(value) if isinstance(value, datetime) else value
        for name, value in msgspec.structs.asdict(selection).items()
    }


def _place(after: str) -> tuple[int, ...]:
    try:
        at, destination, seq = map(int, after.split("-"))
    except ValueError:
        raise ValueError(f"{after!r} is no place to go on from: take it from the page before") from None
    return at, destination, seq
