"""An outbox in all its states, and what can happen to the bytes of its files."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.made import NOON
from tests.outboxes.kinds import Sqlite, entry
from trackgate.outbox import Attempt, Dead, Done, Held, Settlement

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from trackgate.outbox import Delivery, Fate
    from trackgate.outboxes.sqlite.outbox import SqliteOutbox

PAGE = 4096
NAMES = ("analytics", "billing", "warehouse")


class Past:
    """What was promised and what was done before the damage, by destination and event id."""

    def __init__(self) -> None:
        self.events: dict[str, object] = {}
        self.owed: set[tuple[str, str]] = set()
        self.delivered: set[tuple[str, str]] = set()


async def live(kind: Sqlite, dice: random.Random, events: int) -> tuple[SqliteOutbox, Past]:
    """An outbox with so many events delivered, dead, held, aside, in hand and new; it is still open."""
    box, past = await kind.open(), Past()
    for first in range(0, events, 10):
        entries = [
            entry(
                number,
                *(name for name in NAMES if dice.random() < 0.7),
                lane=number % 17,
                key=f"key-{number}" if number % 3 else None,
                properties={"number": number, "text": dice.choice("abc") * dice.choice((10, 300, 9_000))},
            )
            for number in range(first, first + 10)
        ]
        await box.append(entries)
        for one in entries:
            past.events[one.event.id] = one.event
            past.owed |= {(name, one.event.id) for name in one.owed}
        for name in NAMES:
            taken = [
                *await box.take(name, 1 + dice.randrange(7)),
                *await box.take_held(name, NOON, 1 + dice.randrange(2)),
            ]
            await box.settle([_settlement(one, dice, past) for one in taken if dice.random() < 0.9])
    return box, past


def _settlement(delivery: Delivery, dice: random.Random, past: Past) -> Settlement:
    fates: tuple[Fate, ...] = (
        Done(),
        Done(),
        Done(),
        Dead("refused"),
        Held(due=NOON, attempts=1),
        Held(due=NOON + timedelta(hours=1), attempts=2, aside=True),
    )
    fate = dice.choice(fates)
    if isinstance(fate, Done):
        past.delivered.add((delivery.destination, delivery.event.id))
    outcome = {"Done": "delivered", "Dead": "refuse", "Held": "retry"}[type(fate).__name__]
    attempt = Attempt(at=NOON, duration=0.1, step="track", outcome=outcome)
    return Settlement(delivery=delivery, fate=fate, attempts=(attempt,))


# --- what happens to the bytes ----------------------------------------------------------------------------------


def _bits(file: Path, dice: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(dice.choice((1, 3, 40))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def _overwrite(file: Path, dice: random.Random, make: Callable[[], bytes]) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(dice.choice((1, 1, 5))):
        at = dice.randrange(len(data) // PAGE) * PAGE
        data[at : at + PAGE] = make()
    file.write_bytes(data)


def _zeroed_pages(directory: Path, dice: random.Random) -> None:
    _overwrite(directory / "outbox.db", dice, lambda: bytes(PAGE))


def _garbage_pages(directory: Path, dice: random.Random) -> None:
    _overwrite(directory / "outbox.db", dice, lambda: dice.randbytes(PAGE))


def _flipped_bits(directory: Path, dice: random.Random) -> None:
    _bits(directory / "outbox.db", dice)


def _swapped_pages(directory: Path, dice: random.Random) -> None:
    file = directory / "outbox.db"
    data = bytearray(file.read_bytes())
    one, two = (number * PAGE for number in dice.sample(range(1, len(data) // PAGE), 2))
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]
    file.write_bytes(data)


def _truncated(directory: Path, dice: random.Random) -> None:
    file = directory / "outbox.db"
    with file.open("r+b") as opened:
        opened.truncate(dice.randrange(1, file.stat().st_size))


def _garbage_header(directory: Path, dice: random.Random) -> None:
    with (directory / "outbox.db").open("r+b") as opened:
        opened.write(dice.randbytes(dice.choice((16, 100, PAGE))))


def _flipped_bits_in_the_log(directory: Path, dice: random.Random) -> None:
    _bits(directory / "outbox.db-wal", dice)


def _cut_log(directory: Path, dice: random.Random) -> None:
    file = directory / "outbox.db-wal"
    with file.open("r+b") as opened:
        opened.truncate(dice.randrange(file.stat().st_size))


DAMAGES: Mapping[str, Callable[[Path, random.Random], None]] = {
    "flipped bits": _flipped_bits,
    "zeroed pages": _zeroed_pages,
    "garbage pages": _garbage_pages,
    "swapped pages": _swapped_pages,
    "truncated": _truncated,
    "garbage header": _garbage_header,
    "flipped bits in the log": _flipped_bits_in_the_log,
    "cut log": _cut_log,
}
IN_THE_LOG = {"flipped bits in the log", "cut log"}
