"""A damaged file: nothing altered is sent, what can be read is saved, what is lost is told, and nothing loops."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from tests.faults.damage import DAMAGES, IN_THE_LOG, NAMES, Past, live
from tests.made import NOON
from tests.outboxes.kinds import Sqlite, settled
from trackgate.outbox import OutboxUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from trackgate.outboxes.sqlite import SqliteOutbox

MOST_ROUNDS = 500
"""Batches after which draining is taken for a loop."""


class Told:
    """A log that remembers lines and fields."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for said, fields in self.lines if said == event]


class Found(Struct):
    """What one damaged outbox came to."""

    refused: str = ""
    salvaged: int = 0
    saved: int = 0
    altered: int = 0
    lost: int = 0
    uncounted: int = 0
    duplicates: int = 0


async def drain(box: SqliteOutbox, past: Past, found: Found) -> set[tuple[str, str]]:
    """Everything that the outbox hands out, delivered; what is not as it was appended is counted."""
    out: set[tuple[str, str]] = set()
    for name in NAMES:
        for _ in range(MOST_ROUNDS):
            taken = [*await box.take(name, 50), *await box.take_held(name, NOON, 50, undue=True)]
            for one in taken:
                key = (name, one.event.id)
                found.altered += past.events.get(one.event.id) != one.event or key not in past.owed
                found.duplicates += key in past.delivered
                out.add(key)
            await box.settle(settled(taken))
            if not taken:
                break
        else:
            raise AssertionError(f"{name} is handed out without end")
    return out


async def suffer(place: Path, seed: int, damage: str, events: int) -> Found:
    """One outbox, damaged, opened and drained; asserts what must hold for each."""
    dice, kind, found = random.Random(seed), Sqlite(place), Found()
    box, past = await live(kind, dice, events)
    if damage not in IN_THE_LOG and dice.random() < 0.5:
        await box.close()
    else:
        kind.crash()
        await box.close()
    DAMAGES[damage](kind.directory, dice)
    before = (kind.directory / "outbox.db").read_bytes()
    told = Told()
    try:
        box = await kind.open(log=told)
    except OutboxUnavailable as error:
        assert (kind.directory / "outbox.db").read_bytes() == before
        found.refused = str(error)
        return found
    await asyncio.sleep(0)
    out = await drain(box, past, found)
    dead = {
        (name, event_id)
        for name, event_id in past.owed - out - past.delivered
        if (known := await box.find(event_id)) is not None and known.fates.get(name) == "dead"
    }
    ledger = box.ledger()
    for name, tally in ledger.destinations.items():
        assert tally.waiting == 0, (name, tally)
        assert min(tally.owed, tally.delivered, tally.dead, tally.dropped, tally.backlog_bytes) >= 0, (name, tally)
    await box.close()
    salvages = told.of("outbox.salvaged")
    found.salvaged = len(salvages)
    lost = Counter(name for name, _ in past.owed - out - dead - past.delivered)
    for name, count in lost.items():
        counted = sum(one["lost_deliveries"].get(name, 0) for one in salvages)
        if damage == "cut log" or any(name in one["uncounted"] for one in salvages):
            found.uncounted += count
        else:
            assert count <= counted, (name, count, salvages)
        found.lost += count
    found.saved = len(out | dead)
    for one in salvages:
        aside = kind.directory / one["set_aside"].rpartition("/")[2]
        assert aside.read_bytes() == before
    again = Told()
    box = await kind.open(log=again)
    assert box.ledger().destinations == ledger.destinations
    assert await drain(box, past, Found()) == set()
    assert again.lines == []
    await box.close()
    return found


def test_a_damaged_outbox_is_salvaged_or_refused_and_nothing_altered_is_delivered(tmp_path, long, verdict):
    rounds, events = (104, 300) if long else (8, 120)
    kinds = list(DAMAGES)
    found: list[tuple[int, str, Found]] = []
    for seed in range(rounds):
        damage = kinds[seed % len(kinds)]
        place = tmp_path / str(seed)
        found.append((seed, damage, asyncio.run(suffer(place, seed, damage, events))))
        shutil.rmtree(place)
    results = [one for _, _, one in found]
    total = {name: sum(getattr(one, name) for one in results) for name in Found.__struct_fields__ if name != "refused"}
    refused = [one.refused for one in results if one.refused]
    said = verdict(
        test="damaged or truncated databases",
        done=f"{rounds} damaged outboxes of {events} events: {rounds - len(refused)} started, {total['salvaged']} after "
        f"a salvage, {len(refused)} refused with words",
        held=total["altered"] == 0,
        obligations=total["saved"] + total["lost"],
        lost=total["uncounted"],
        duplicates=total["duplicates"],
        figure=f"{total['saved']} deliveries saved, {total['lost']} lost with the bytes that held them, "
        f"{total['lost'] - total['uncounted']} of them counted; altered and delivered: {total['altered']}",
        target="altered and delivered: 0",
    )
    assert said.held
    assert all("server.data" in words for words in refused), refused
