"""The outbox's file: opening it, its form, and its named statements.

One statement carries a whole batch, as one JSON list in or out, or as bound values in: each step of a statement gives
the interpreter lock away, and beside a busy event loop the way back is what a step costs.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self, TypeVar

import apsw
import msgspec

from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.sqlite.log import PAGE
from trackgate.outboxes.sqlite.rows import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

FILE = "outbox.db"
APPLICATION_ID = 0x54524B47
"""``TRKG``: what ``file`` and we know our files by."""
FORMAT = 2
"""The file's ``user_version``. A file of an older form is brought up to it, a form at a time, when it is opened."""

MAX_WAL = 16 * 2**20
"""Bytes that the write-ahead log is cut back to after a burst."""
CACHE = 4 * 2**10
"""KiB of pages kept in memory. Events are written at the end and read in order: more was not faster."""
CHECKPOINT = 4_000
"""Pages in the write-ahead log (not quite ``MAX_WAL``) from which a commit moves them into the file. What each commit
writes anew is moved once for all of them; and fewer than one commit in a hundred waits for it."""

PATIENCE = 5_000
"""Milliseconds that a statement waits for somebody else's lock."""

STEPS = 10_000
"""Of SQLite's, between two looks at whether it was enough."""

SHARED = ("fresh", "selected")
"""The parts of statements that several have in common: each stands for itself, in braces, where they need it."""

_NOT_WRITTEN = ("JSON cannot hold BLOB values", "malformed JSON")
"""In the message of an error that only a damaged value can have caused."""

Answer = TypeVar("Answer")


class Database:
    """One connection. Not safe to use from two threads at a time."""

    def __init__(self, connection: apsw.Connection, statements: Mapping[str, str]) -> None:
        self._connection = connection
        self._statements = statements

    @classmethod
    def open(cls, directory: Path, *, name: str = FILE, vfs: str | None = None) -> Self:
        """Open the file of that name for writing; make it if there is none.

        Raises:
            OutboxUnavailable: it is of a newer form, or not ours.
            apsw.Error: the storage failed.

        """
        path = directory / name
        # SQLite gives the files beside it the permissions of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), vfs=vfs)
        try:
            connection.set_busy_timeout(PATIENCE)
            new = _recognise(connection, path) == 0
            _prepare(connection)
            if new:
                sync(directory)  # the file's name is to outlast a power cut too
        except BaseException:
            _close(connection)
            raise
        return cls(connection, load_statements())

    @classmethod
    def look(cls, directory: Path) -> Self:
        """Open the file for reading, beside whoever writes it.

        Raises:
            OutboxUnavailable: there is none, or it is of another form, or not ours.
            apsw.Error: the storage failed.

        """
        path = directory / FILE
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.CantOpenError:
            message = f"there is no outbox in {directory}: is this the data directory (`server.data`)?"
            raise OutboxUnavailable(message) from None
        try:
            connection.set_busy_timeout(PATIENCE)
            form = _recognise(connection, path)
        except BaseException:
            _close(connection)
            raise
        if form == 0:
            _close(connection)
            message = f"the outbox in {directory} is empty: no gateway has used it yet"
            raise OutboxUnavailable(message)
        if form < FORMAT:
            _close(connection)
            message = (
                f"{path} was written by an older Trackgate (form {form}, this one reads {FORMAT}): start the gateway "
                "once, which brings it up to date"
            )
            raise OutboxUnavailable(message)
        return cls(connection, load_statements())

    @contextmanager
    def in_bulk(self) -> Generator[apsw.Connection, None, None]:
        """A transaction that fills a file which nobody has seen yet: without a log, and not fsynced."""
        self._connection.pragma("journal_mode", "off")
        self._connection.execute("begin")
        yield self._connection
        self._connection.execute("commit")
        self._connection.pragma("journal_mode", "wal")

    def run(self, name: str, **values: object) -> None:
        """Run a named statement. Values other than strings and numbers go in as JSON."""
        self._connection.execute(self._statements[name], _bind(values))

    def put(self, name: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a named statement that takes rows as bound values (``rows``)."""
        for statement, values in steps(self._statements[name], rows):
            self._connection.execute(statement, values)

    def read(self, name: str, form: type[Answer], **values: object) -> Answer | None:
        """The one value that a named statement gives, read from JSON; ``None`` where it gives none.

        Raises:
            apsw.CorruptError: what is stored is nothing that was ever written.

        """
        try:
            text = self._text(self._statements[name], _bind(values))
            return None if text is None else msgspec.json.decode(text, type=form)
        except (msgspec.DecodeError, apsw.SQLError) as error:
            if isinstance(error, apsw.SQLError) and not any(word in str(error) for word in _NOT_WRITTEN):
                raise
            raise apsw.CorruptError(f"{name}: {error}") from None

    def _text(self, statement: str, values: dict[str, Any]) -> str | None:
        try:
            text = self._connection.execute(statement, values).get
        except UnicodeDecodeError:
            # What one event's damage made unreadable must not hide the others: its checksum tells which one it is.
            query = statement.strip().removesuffix(";")
            text = self._connection.execute(f"select cast(({query}) as blob)", values).get.decode("utf-8", "replace")
        return None if text is None else str(text)

    def rows(self, name: str, form: type[Answer], **values: object) -> list[Answer]:
        """The rows that a named statement gives as one JSON list."""
        return self.read(name, list[form], **values) or []  # type: ignore[valid-type]

    def give_up_when(self, enough: Callable[[], bool] | None) -> None:
        """From now on a statement ends in an ``apsw.InterruptError`` where ``enough``, asked now and then, says so."""
        self._connection.set_progress_handler(enough, STEPS)

    def begin(self, *, write: bool = True) -> None:
        """Start a transaction; one that only reads sees one moment."""
        self._connection.execute("begin immediate" if write else "begin")

    def commit(self) -> None:
        """End the transaction; it is fsynced when this returns."""
        self._connection.execute("commit")

    def roll_back(self) -> None:
        """Undo the transaction, if there is one."""
        if self._connection.in_transaction:
            self._connection.execute("rollback")

    def checkpoint(self, *, wait: bool = True) -> None:
        """Move everything from the write-ahead log into the file, fsynced, and cut the log to nothing.

        Without ``wait`` it is as much as can be done at once while others read.

        Raises:
            apsw.BusyError: somebody else reads for longer than is waited for.

        """
        if wait:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            return
        self._connection.set_busy_timeout(0)
        try:
            with suppress(apsw.BusyError):
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._connection.set_busy_timeout(PATIENCE)

    def free_bytes(self) -> int:
        """What the file holds and does not use."""
        return int(self._connection.pragma("freelist_count")) * int(self._connection.pragma("page_size"))

    def shrink(self, *, spare: int, pages: int) -> int:
        """Give a few free pages back to the file system, but keep some to spare; how many."""
        free = min(int(self._connection.pragma("freelist_count")) - spare, pages)
        if free > 0:
            self._connection.execute(f"pragma incremental_vacuum({free})").fetchall()
        return max(free, 0)

    def close(self) -> None:
        """Let go of the file, whatever state it is in."""
        _close(self._connection)


def _bind(values: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
        for name, value in values.items()
    }


def load_statements() -> Mapping[str, str]:
    """The named statements."""
    parts: Sequence[str] = re.split(r"^-- name: (\w+)$", _text("queries.sql"), flags=re.MULTILINE)
    statements = dict(zip(parts[1::2], parts[2::2], strict=True))
    for part in SHARED:
        statements = {name: text.replace(f"{{{part}}}", statements[part]) for name, text in statements.items()}
    return statements


def _text(name: str) -> str:
    return files("trackgate.outboxes.sqlite").joinpath(name).read_text("utf-8")


def _recognise(connection: apsw.Connection, path: Path) -> int:
    """The form of the file; 0 for a new one."""
    try:
        form = int(connection.pragma("user_version"))
        ours = int(connection.pragma("application_id")) == APPLICATION_ID
        empty = int(connection.pragma("schema_version")) == 0
    except apsw.NotADBError:
        form, ours, empty = 0, False, False
    if not ours and not empty:
        message = f"{path} is not an outbox of Trackgate: give `server.data` a directory of its own"
        raise OutboxUnavailable(message)
    if form > FORMAT:
        message = (
            f"{path} was written by a newer Trackgate (form {form}, this one knows {FORMAT}): start that one, or give "
            "this one another `server.data`"
        )
        raise OutboxUnavailable(message)
    return form


def _prepare(connection: apsw.Connection) -> None:
    # These two take effect only before the first table is there.
    connection.pragma("page_size", PAGE)
    connection.pragma("auto_vacuum", "incremental")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.pragma("foreign_keys", value=False)
    connection.pragma("journal_size_limit", MAX_WAL)
    connection.pragma("wal_autocheckpoint", CHECKPOINT)
    connection.pragma("cache_size", -CACHE)
    form = int(connection.pragma("user_version"))
    if form == 0:
        _bring_to(connection, FORMAT, "schema.sql")
    for newer in range(form + 1, FORMAT + 1) if form else ():
        _bring_to(connection, newer, f"upgrade_{newer}.sql")


def sync(path: Path) -> None:
    """Fsync a file or a directory.

    Raises:
        OSError: the storage failed.

    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _bring_to(connection: apsw.Connection, form: int, script: str) -> None:
    connection.execute("begin immediate")
    connection.execute(_text(script))
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", form)
    connection.execute("commit")


def _close(connection: apsw.Connection) -> None:
    with suppress(apsw.Error):
        connection.close(force=True)
