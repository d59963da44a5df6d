"""Lost power and a disk that stalls: what was acknowledged is there, and callers hear in time."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw
import pytest

from tests.made import NOON
from tests.outboxes.faulty_disk import FaultyDisk
from tests.outboxes.kinds import ROOMY, HandClock, entry, settled
from tests.outboxes.lossy_disk import LossyDisk
from trackgate.outbox import Done, Held, OutboxError
from trackgate.outboxes.sqlite.limits import Limits
from trackgate.outboxes.sqlite.outbox import SqliteOutbox

if TYPE_CHECKING:
    from pathlib import Path

FILE = "outbox.db"


async def work(place: Path, disk: LossyDisk, dice: random.Random, cut: Path) -> tuple[set[str], set[str]]:
    """Append, take and settle until the power goes; what was acknowledged by then, and what was said to be settled."""
    box = await SqliteOutbox.open(place, HandClock(), Limits(**ROOMY), vfs=disk.name)
    appended: set[str] = set()
    delivered: set[str] = set()

    async def append(worker: int) -> None:
        for number in range(worker, 10**6, 4):
            text = "x" * dice.choice((10, 500, 6_000))
            (stored,) = await box.append([entry(number, "there", lane=number % 5, properties={"text": text})])
            appended.add(stored.id)

    async def deliver() -> None:
        while True:
            taken = [*await box.take("there", 3), *await box.take_held("there", NOON, 3)]
            fates = [dice.choice((Done(), Held(due=NOON, attempts=1))) for _ in taken]
            await box.settle([one for each, fate in zip(taken, fates, strict=True) for one in settled([each], fate)])
            delivered.update(one.event.id for one, fate in zip(taken, fates, strict=True) if isinstance(fate, Done))
            await asyncio.sleep(0)

    busy = [asyncio.create_task(one) for one in (*map(append, range(4)), deliver())]
    while len(appended) < dice.randrange(5, 60):
        await asyncio.sleep(dice.random() * 0.01)
    # Nothing runs on this loop between the two: what is acknowledged by now was so before the cut.
    promised, settled_by_now = set(appended), set(delivered)
    disk.cut_power(dice, cut)
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    await box.close()
    return promised, settled_by_now


async def left(place: Path) -> tuple[set[str], set[str]]:
    """What the disk holds: the events that are owed still, and those that are settled; opened as after any start."""
    box = await SqliteOutbox.open(place, HandClock(), Limits(**ROOMY))
    waiting: set[str] = set()
    while taken := [*await box.take("there", 99), *await box.take_held("there", NOON, 99, undue=True)]:
        waiting |= {one.event.id for one in taken}
        await box.settle(settled(taken))
    tally = box.ledger().destinations.get("there")
    assert tally is None or tally.waiting == 0
    await box.close()
    connection = apsw.Connection(str(place / FILE))
    assert connection.execute("pragma integrity_check").get == "ok"
    stored = {str(event_id) for (event_id,) in connection.execute("select id from event")}
    connection.close()
    return waiting, stored - waiting


def lose_power(place: Path, seed: int, *, deaf: bool = False) -> tuple[int, int, int]:
    """One cut; how much was promised, how much of it is gone, and how much comes a second time."""
    dice = random.Random(seed)
    live, cut = place / f"live-{seed}", place / f"cut-{seed}"
    cut.mkdir(parents=True)
    disk = LossyDisk(f"lossy-{seed}-{deaf}", deaf=deaf)
    try:
        promised, done = asyncio.run(work(live, disk, dice, cut))
    finally:
        disk.unregister()
    waiting, settled_for_good = asyncio.run(left(cut))
    assert not list(cut.glob(f"{FILE}.damaged-*")), "what a power cut leaves is no damage"
    shutil.rmtree(live)
    shutil.rmtree(cut)
    return len(promised), len(promised - waiting - settled_for_good), len(done & waiting)


def test_nothing_acknowledged_is_lost_when_the_power_goes(tmp_path, long, verdict):
    rounds = 300 if long else 8
    promised = lost = repeated = 0
    for seed in range(rounds):
        here = lose_power(tmp_path, seed)
        promised, lost, repeated = promised + here[0], lost + here[1], repeated + here[2]
    said = verdict(
        test="lost power",
        done=f"{rounds} power cuts under load, unsynced sectors kept, lost or torn",
        held=lost == 0 and repeated == 0,
        obligations=promised,
        lost=lost,
        duplicates=repeated,
        target="0 acknowledged lost, 0 settled delivered again",
    )
    assert said.held, said


def test_a_disk_that_only_says_that_it_synced_loses_what_was_acknowledged(tmp_path):
    """The cut is real: without fsyncs the same load does lose."""
    lost = 0
    for seed in range(4):
        with suppress(OutboxError, AssertionError):
            lost += lose_power(tmp_path, seed, deaf=True)[1]
            continue
        lost += 1
    assert lost


@pytest.fixture
def disk(request):
    disk = FaultyDisk(request.node.name)
    yield disk
    disk.unregister()


def test_while_a_commit_stalls_callers_give_up_in_time_and_then_everything_adds_up(tmp_path, disk):
    """Those who gave up before their commit began find nothing stored; the one in it finds itself stored once."""
    stalled, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        stalled.set()
        go_on.wait(20)

    async def run() -> None:
        box = await SqliteOutbox.open(tmp_path, HandClock(), Limits(**ROOMY), vfs=disk.name)
        await box.append([entry(0, "there")])
        disk.on_sync = stall
        first = asyncio.ensure_future(box.append([entry(1, "there")]))
        await asyncio.to_thread(stalled.wait, 20)
        late = [asyncio.wait_for(box.append([entry(n, "there")]), 0.05) for n in range(2, 20)]
        assert all(isinstance(one, TimeoutError) for one in await asyncio.gather(*late, return_exceptions=True))
        assert box.has_news("there")  # the loop goes on
        disk.mend()
        go_on.set()
        await first
        (again,) = await box.append([entry(1, "there")])
        assert again.duplicate
        assert [one.event.id for one in await box.take("there", 99)] == ["event-0", "event-1"]
        assert box.ledger().destinations["there"].owed == 2
        await box.close()

    asyncio.run(run())
