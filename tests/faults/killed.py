"""The program, with one place in it where it kills itself: ``python -m tests.faults.killed POINT HIT MARK serve ...``.

At the HIT-th time that it comes by the point, it writes the point's name to the file MARK and ends by SIGKILL: no
handler runs, nothing is flushed. The program itself knows of no such points: they are wrapped around its methods here.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trackgate.cli import main
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.ingest import asgi
from trackgate.outboxes.sqlite import outbox as sqlite
from trackgate.outboxes.sqlite import sweep as sqlite_sweep
from trackgate.outboxes.sqlite.database import Database
from trackgate.outboxes.sqlite.outbox import SqliteOutbox
from trackgate.outboxes.sqlite.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Point(Struct, frozen=True, kw_only=True):
    """A place: ``before`` or after a function of ``owner``. With ``busy``, only calls that are handed something."""

    owner: Any
    name: str
    before: bool = True
    busy: bool = False


POINTS: Mapping[str, Point] = {
    "locking": Point(owner=sqlite, name="own", before=False),
    "opening": Point(owner=Database, name="open"),
    "recovering": Point(owner=Database, name="open", before=False),
    "before_begin": Point(owner=Database, name="begin"),
    "after_begin": Point(owner=Database, name="begin", before=False),
    "before_commit": Point(owner=Database, name="commit"),
    "after_commit": Point(owner=Database, name="commit", before=False),
    "before_append": Point(owner=SqliteOutbox, name="append"),
    "after_append": Point(owner=SqliteOutbox, name="append", before=False),
    "before_reply": Point(owner=asgi, name="give"),
    "after_reply": Point(owner=asgi, name="give", before=False),
    "after_take": Point(owner=SqliteOutbox, name="take", before=False),
    "after_take_held": Point(owner=SqliteOutbox, name="take_held", before=False, busy=True),
    "before_send": Point(owner=AsyncioClient, name="send"),
    "after_send": Point(owner=AsyncioClient, name="send", before=False),
    "before_settle": Point(owner=SqliteOutbox, name="settle"),
    "after_settle": Point(owner=SqliteOutbox, name="settle", before=False),
    "sweeping": Point(owner=sqlite_sweep, name="_forget_events"),
    "swept": Point(owner=sqlite_sweep, name="_forget_events", before=False),
    "shrinking": Point(owner=Database, name="shrink", before=False),
    "restocking": Point(owner=Room, name="_reserve", before=False),
    "standing": Point(owner=SqliteOutbox, name="stand"),
    "before_give_back": Point(owner=SqliteOutbox, name="give_back", busy=True),
    "after_give_back": Point(owner=SqliteOutbox, name="give_back", before=False, busy=True),
    "closing": Point(owner=SqliteOutbox, name="close"),
    "before_checkpoint": Point(owner=Database, name="checkpoint"),
    "after_checkpoint": Point(owner=Database, name="checkpoint", before=False),
    "closed": Point(owner=SqliteOutbox, name="close", before=False),
}
"""By name."""

AT_THE_END = frozenset({"closing", "closed"})
"""Those that are come by once, and only after a SIGTERM."""

AT_SIGTERM = AT_THE_END | {"standing", "before_give_back", "after_give_back"}
"""Those that are come by for certain only after a SIGTERM."""

ONCE = AT_THE_END | {"locking", "opening", "recovering", "restocking", "before_checkpoint", "after_checkpoint"}
"""Those that one life of the program comes by once."""


def arm(point: Point, die: Callable[[], None], hit: int) -> None:
    """Wrap the point's function so that the ``hit``-th coming by it calls ``die``."""
    stated = inspect.getattr_static(point.owner, point.name)
    original = stated.__func__ if isinstance(stated, classmethod) else stated
    times = itertools.count(1)

    def come_by(handed: object) -> None:
        if (handed or not point.busy) and next(times) == hit:
            die()

    def given(arguments: tuple[Any, ...]) -> object:
        return arguments[1] if point.busy else None

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if point.before:
            come_by(given(arguments))
        result = original(*arguments, **named)
        if not point.before:
            come_by(given(arguments))
        return result

    @functools.wraps(original)
    async def wrapped_async(*arguments: Any, **named: Any) -> Any:
        if point.before:
            come_by(given(arguments))
        result = await original(*arguments, **named)
        if not point.before:
            come_by(result if point.name == "take_held" else given(arguments))
        return result

    wrapper: Any = wrapped_async if inspect.iscoroutinefunction(original) else wrapped
    setattr(point.owner, point.name, classmethod(wrapper) if isinstance(stated, classmethod) else wrapper)


def die_at(name: str, mark: Path) -> Callable[[], None]:
    """What ends this process, with a word left behind."""

    def die() -> None:
        mark.write_text(name)
        os.kill(os.getpid(), signal.SIGKILL)

    return die


if __name__ == "__main__":
    _, name_, hit_, mark_, *arguments_ = sys.argv
    arm(POINTS[name_], die_at(name_, Path(mark_)), int(hit_))
    main(arguments_)
