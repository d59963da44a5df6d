"""Reading the outbox: an event and what became of it, for the gateway itself and from another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import apsw
import msgspec
from msgspec import Struct

from trackgate.model import Event
from trackgate.outbox import Attempt, Found, Ledger, OutboxUnavailable
from trackgate.outboxes.sqlite_books import Books
from trackgate.outboxes.sqlite_database import Database
from trackgate.outboxes.sqlite_jobs import moment

if TYPE_CHECKING:
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


def find(database: Database, event_id: str) -> Found | None:
    """An event by our id, and what became of it at each destination."""
    row = database.read("find", _Found, id=event_id)
    if row is None:
        return None
    return Found(
        event=msgspec.json.decode(row.body, type=Event),
        owed=row.owed,
        filtered=row.filtered,
        fates=row.fates,
        attempts={
            name: tuple(one.attempt() for one in row.attempts if one.destination == name)
            for name in {one.destination for one in row.attempts}
        },
        reasons=row.reasons,
    )


class SqliteReader:
    """The outbox of a data directory, read beside the gateway that owns it; nothing is changed.

    Raises:
        OutboxUnavailable: there is no outbox there, or it cannot be read.

    """

    def __init__(self, directory: Path) -> None:
        try:
            self._database = Database.look(directory)
        except apsw.Error as error:
            raise _unreadable(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, event_id: str) -> Found | None:
        """An event by our id, and what became of it.

        Raises:
            OutboxUnavailable: the file cannot be read.

        """
        try:
            return find(self._database, event_id)
        except apsw.Error as error:
            raise _unreadable(error) from None

    def ledger(self) -> Ledger:
        """The counts as of the last commit; the limit is the gateway's affair and not in the file.

        Raises:
            OutboxUnavailable: the file cannot be read.

        """
        try:
            self._database.begin(write=False)
            try:
                return Books.load(self._database).ledger(limit=0)
            finally:
                self._database.roll_back()
        except apsw.Error as error:
            raise _unreadable(error) from None

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _unreadable(error: apsw.Error) -> OutboxUnavailable:
    return OutboxUnavailable(f"the outbox cannot be read: {type(error).__name__}")
