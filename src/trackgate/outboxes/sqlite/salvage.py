"""A damaged file at the start: set aside whole, and what can be read of it copied into a new one.

Nothing is repaired in place. The new file is complete and fsynced before the old one is touched, the old one keeps all
of its bytes under another name, and whatever interrupts this is gone on with at the next start:

    outbox.db.salvaging        the new file, as long as it is not complete; a leftover is thrown away
    outbox.db.salvaged-TIME    the new file, complete; from here on there is no way back
    outbox.db.damaged-TIME     the old file; its log and index beside it, as SQLite names them
    outbox.db.salvage          a mark: damage was met while running, which the check at the start may be too short for

An event is saved if its checksum holds. A delivery that the damage leaves unclear counts as waiting: a duplicate is
better than a loss. What the counters say was there and is not readable is lost, told of, and counted as dropped.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import apsw

from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.sqlite.check import Looked, look
from trackgate.outboxes.sqlite.database import FILE, Database, sync
from trackgate.outboxes.sqlite.pages import Pages
from trackgate.outboxes.sqlite.recount import Salvage, recount
from trackgate.outboxes.sqlite.shapes import Finds, sort
from trackgate.outboxes.times import micros

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from trackgate.model import Clock

MARK = f"{FILE}.salvage"
SALVAGING = f"{FILE}.salvaging"
SALVAGED = f"{FILE}.salvaged-"
DAMAGED = f"{FILE}.damaged-"
BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside a file."""


def mark(directory: Path) -> None:
    """Have the next start salvage the file, whether its check finds the damage or not.

    Raises:
        OSError: the mark cannot be set.

    """
    (directory / MARK).touch(0o600)


def make_sound(directory: Path, clock: Clock, say: Callable[..., None], *, vfs: str | None = None) -> bool:
    """Leave a file that can be opened: end a salvage that was interrupted, and do one if the file is damaged.

    Returns whether the file was looked at as a whole, or is new; if not, the rest of it is for `Check`.

    Raises:
        OutboxUnavailable: nothing can be read of it, or there is no room for the new file; nothing was changed.
        apsw.Error: the storage failed.
        OSError: likewise.

    """
    _finish(directory)
    path = directory / FILE
    if not path.exists():
        return True
    marked = (directory / MARK).exists()
    looked = Looked("met while running") if marked else look(directory, clock.monotonic, vfs=vfs)
    if looked.damage is None:
        return looked.whole
    salvage, aside = _replace(directory, looked.damage, clock.now(), vfs)
    say(
        "outbox.salvaged",
        damage=looked.damage,
        saved_events=salvage.saved_events,
        lost_events=salvage.lost_events,
        lost_deliveries=_listed(salvage.lost_deliveries),
        uncounted=salvage.uncounted,
        unclear=_listed(salvage.unclear),
        set_aside=str(aside),
    )
    return True


def _replace(directory: Path, damage: str, now: datetime, vfs: str | None) -> tuple[Salvage, Path]:
    """Have a new file with what can be saved take the damaged one's place; where that one is set aside."""
    path = directory / FILE
    try:
        salvage = _copy(directory, now, vfs)
    except (apsw.FullError, OSError) as error:
        (directory / SALVAGING).unlink(missing_ok=True)
        raise OutboxUnavailable(
            f"{path} is damaged ({damage}), and the new file for what can be saved cannot be written ({error}): make "
            f"room for {path.stat().st_size:,} bytes in {directory} and start again; nothing was changed"
        ) from None
    if salvage is None:
        (directory / SALVAGING).unlink(missing_ok=True)
        raise OutboxUnavailable(
            f"{path} is not an outbox of Trackgate, or damaged beyond reading ({damage}): if it is somebody else's, "
            "give `server.data` a directory of its own; if it was ours, put a copy of it back, or move it away to "
            "start with an empty one"
        )
    return salvage, _commit(directory, now)


def _listed(numbers: dict[str, int]) -> list[str]:
    return [f"{name}: {number}" for name, number in numbers.items()]


def _copy(directory: Path, now: datetime, vfs: str | None) -> Salvage | None:
    """Make the new file, complete and fsynced; ``None`` where nothing of ours was found."""
    (directory / SALVAGING).unlink(missing_ok=True)
    with (
        closing(Pages(directory / FILE)) as pages,
        closing(Database.open(directory, name=SALVAGING, vfs=vfs)) as database,
        database.in_bulk() as connection,  # nobody else needs it, and a half-made one is thrown away: no log
    ):
        finds = Finds(connection)
        for record in pages.records():
            sort(record, finds)
        finds.store()
        if not finds.ours:
            return None
        salvage = recount(connection, micros(now))
    sync(directory / SALVAGING)
    return salvage


def _commit(directory: Path, now: datetime) -> Path:
    """The new file takes the old one's place; from the first rename on, a start goes on with it."""
    moment = f"{now:%Y%m%dT%H%M%SZ}"
    number = 0
    while (directory / f"{DAMAGED}{moment}").exists():
        number += 1
        moment = f"{now:%Y%m%dT%H%M%SZ}.{number}"
    (directory / SALVAGING).rename(directory / f"{SALVAGED}{moment}")
    sync(directory)
    _finish(directory)
    return directory / f"{DAMAGED}{moment}"


def _finish(directory: Path) -> None:
    """Swap the files, or what is left of it to do. SQLite must never meet the old log beside the new file."""
    for salvaged in directory.glob(f"{SALVAGED}*"):
        aside = f"{DAMAGED}{salvaged.name.removeprefix(SALVAGED)}"
        for beside in (*BESIDE, ""):
            old = directory / f"{FILE}{beside}"
            if old.exists() and not (directory / f"{aside}{beside}").exists():
                old.rename(directory / f"{aside}{beside}")
        sync(directory)
        salvaged.rename(directory / FILE)
        (directory / MARK).unlink(missing_ok=True)
        sync(directory)
