"""A damaged file: nothing altered is sent, what can be read is saved, what is lost is told, and nothing loops."""

from __future__ import annotations

import asyncio
import pathlib
import random
import shutil
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import apsw
import httpx
import pytest
import structlog
from msgspec import Struct

from tests.faults.damage import DAMAGES, IN_THE_LOG, NAMES, Past, live
from tests.made import NOON
from tests.outboxes.faulty_disk import FaultyDisk, no_space
from tests.outboxes.kinds import Sqlite, entry, settled
from tests.program.running import appizer, stage, until
from trackgate.app.alone import Gateway
from trackgate.app.lifetime import PartEnded
from trackgate.clock import SystemClock
from trackgate.config import load
from trackgate.outbox import Held, OutboxUnavailable, Standing
from trackgate.outboxes.sqlite import check as sqlite_check
from trackgate.outboxes.sqlite import database as sqlite_database
from trackgate.outboxes.sqlite import salvage as sqlite_salvage
from trackgate.outboxes.sqlite import writer as sqlite_writer
from trackgate.outboxes.sqlite.database import sync

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trackgate.outboxes.sqlite.outbox import SqliteOutbox

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


def _dead(directory: Path) -> set[tuple[str, str]]:
    connection = apsw.Connection(str(directory / "outbox.db"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute(
        "select d.name, e.id from dead x join destination d on d.id = x.destination join event e using (seq)"
    ).fetchall()
    connection.close()
    return {(str(name), str(event_id)) for name, event_id in rows}


async def suffer(place: Path, seed: int, damage: str, events: int) -> Found:
    """One outbox, damaged, opened and drained; asserts what must hold for each."""
    dice, kind, found = random.Random(seed), Sqlite(place), Found()
    box, past = await live(kind, dice, events)
    in_the_file = dice.random() < 0.5 or damage == "swapped pages"  # of which a young file has too few
    if damage not in IN_THE_LOG and in_the_file:
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
    ledger = box.ledger()
    for name, tally in ledger.destinations.items():
        assert tally.waiting == 0, (name, tally)
        assert min(tally.owed, tally.delivered, tally.dead, tally.dropped, tally.backlog_bytes) >= 0, (name, tally)
    await box.close()
    dead = _dead(kind.directory) & past.owed
    salvages = told.of("outbox.salvaged")
    found.salvaged = len(salvages)
    lost = Counter(name for name, _ in past.owed - out - dead - past.delivered)
    for name, count in lost.items():
        said = [word for one in salvages for word in (*one["lost_deliveries"], *one["unclear"])]
        counted = sum(int(word.removeprefix(f"{name}: ")) for word in said if word.startswith(f"{name}: "))
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
        done=f"{rounds} damaged outboxes of {events} events: {rounds - len(refused)} started, {total['salvaged']} "
        f"after a salvage, {len(refused)} refused with words",
        held=total["altered"] == 0,
        obligations=total["saved"] + total["lost"],
        duplicates=total["duplicates"],
        figure=f"{total['saved']} deliveries saved, {total['lost']} lost with the bytes that held them, "
        f"{total['lost'] - total['uncounted']} of them counted, the others of files whose counters or log were "
        f"gone too; "
        f"altered and delivered: {total['altered']}",
        target="altered and delivered: 0",
    )
    assert said.held
    assert all("server.data" in words for words in refused), refused


SPOILT = [
    "update event set body = replace(body, 'signed_up', 'signed_in') where seq = 2",
    "update event set hops = 9 where seq = 2",
    "update event set body = cast(x'7b22ff' as text) where seq = 2",
    "update event set body = '{', crc = null where seq = 2",
]


@pytest.mark.parametrize(
    ("how", "held"),
    # What is held knows its lane by itself.
    [*((how, held) for how in SPOILT for held in (False, True)), ("update event set lane = 7 where seq = 2", False)],
)
def test_an_event_that_is_not_as_it_was_stored_dies_alone(tmp_path, how, held):
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box = await kind.open()
        await box.append([entry(number, "there") for number in (1, 2, 3)])
        if held:
            await box.settle(settled(await box.take("there", 9), Held(due=NOON, attempts=1)))
        await box.close()
        connection = apsw.Connection(str(kind.directory / "outbox.db"))
        connection.execute(how)
        connection.close()
        box = await kind.open(log=told)
        taken = [*await box.take("there", 9), *await box.take_held("there", NOON, 9)]
        assert sorted(one.event.id for one in taken) == ["event-1", "event-3"]
        await box.settle(settled(taken))
        tally = box.ledger().destinations["there"]
        assert (tally.owed, tally.delivered, tally.dead, tally.waiting, tally.held) == (3, 2, 1, 0, 0)
        assert told.lines == [("event.damaged", told.lines[0][1])]
        assert (told.lines[0][1]["destination"], told.lines[0][1]["seq"]) == ("there", 2)
        await box.close()
        connection = apsw.Connection(str(kind.directory / "outbox.db"))
        assert connection.execute("select seq, reason from dead").fetchall() == [(2, "damaged")]
        connection.close()

    asyncio.run(run())


@pytest.mark.parametrize("before", ["never handed out", "given back", "behind its lane"])
def test_an_event_whose_size_is_damaged_leaves_nothing_of_it_in_the_counters(tmp_path, before):
    kind = Sqlite(tmp_path)

    async def run() -> None:
        box = await kind.open()
        await box.append([entry(number, "there", lane=1) for number in (1, 2, 3)])
        taken = await box.take("there", 3 if before == "given back" else 1)
        if before == "behind its lane":
            await box.settle(settled(taken, Held(due=NOON, attempts=1)))
        else:
            await box.give_back(taken)
        await box.close()
        connection = apsw.Connection(str(kind.directory / "outbox.db"))
        connection.execute("update event set size = 99999 where seq = 2")
        connection.close()
        box = await kind.open()
        assert await drain_one(box) == {"event-1", "event-3"}
        ledger = box.ledger()
        assert (ledger.destinations["there"].dead, ledger.destinations["there"].waiting) == (1, 0)
        assert (ledger.destinations["there"].backlog_bytes, ledger.backlog_bytes) == (0, 0)
        await box.close()

    asyncio.run(run())


async def drain_one(box: SqliteOutbox) -> set[str]:
    """The events that are handed out to ``there``, in a few rounds."""
    out: set[str] = set()
    for _ in range(9):
        taken = [*await box.take("there", 9), *await box.take_held("there", NOON, 9, undue=True)]
        await box.settle(settled(taken))
        out |= {one.event.id for one in taken}
    return out


def test_damage_met_while_running_ends_all_writing_and_the_next_start_salvages(tmp_path):
    """Also where the check at the start would not see it: a mark has it done."""
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box = await kind.open(log=told)
        await box.append([entry(number, "there") for number in (1, 2, 3)])
        box._writer._books.accounts["there"].cursor = 3  # the log does not hold what was counted
        with pytest.raises(OutboxUnavailable, match="is damaged"):
            await box.take("there", 9)
        with pytest.raises(OutboxUnavailable, match="the next start salvages"):
            await box.append([entry(4, "there")])
        with pytest.raises(OutboxUnavailable, match="is damaged"):
            await asyncio.wait_for(box.until_damaged(), 20)
        assert "is damaged" in str(box.healthy())
        await box.close()
        assert [event for event, _ in told.lines] == ["outbox.damaged"]
        again = Told()
        box = await kind.open(log=again)
        await asyncio.sleep(0)
        assert [event for event, _ in again.lines] == ["outbox.salvaged"]
        assert [one.event.id for one in await box.take("there", 9)] == ["event-1", "event-2", "event-3"]
        await box.close()
        await (await kind.open(log=again)).close()
        assert len(again.lines) == 1

    asyncio.run(run())


MISCOUNTED = "update tally set n = n + 1 where counter = 'owed'"
UNINDEXED = "pragma writable_schema = on; update sqlite_schema set sql = replace(sql, 'owed, seq', 'seq, owed')"


def _spoil(directory: Path, how: str) -> None:
    connection = apsw.Connection(str(directory / "outbox.db"))
    connection.execute(how)
    connection.close()


def _look_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file were so large that the start does not wait for any of the check."""
    monkeypatch.setattr(sqlite_check, "SMALL", 0)
    monkeypatch.setattr(sqlite_check, "LOOK", -1.0)
    monkeypatch.setattr(sqlite_database, "STEPS", 1)


@pytest.mark.parametrize("how", [MISCOUNTED, UNINDEXED])
def test_what_the_start_had_no_time_to_look_at_is_looked_at_beside_the_work(tmp_path, monkeypatch, how):
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box = await kind.open()
        await box.append([entry(number, "there") for number in (1, 2, 3)])
        await box.close()
        _spoil(kind.directory, how)
        with monkeypatch.context() as patch:
            _look_briefly(patch)
            box = await kind.open(log=told)
            with pytest.raises(OutboxUnavailable, match="the next start salvages"):
                await asyncio.wait_for(box.until_damaged(), 20)
            with pytest.raises(OutboxUnavailable, match="is damaged"):
                await box.append([entry(4, "there")])
            await box.close()
        assert [event for event, _ in told.lines] == ["outbox.damaged"]
        box = await kind.open(log=told)
        await asyncio.sleep(0)
        assert [event for event, _ in told.lines] == ["outbox.damaged", "outbox.salvaged"]
        assert [one.event.id for one in await box.take("there", 9)] == ["event-1", "event-2", "event-3"]
        await box.close()

    asyncio.run(run())


def test_a_small_file_is_looked_at_to_its_end_before_anything_is_handed_out(tmp_path, monkeypatch):
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box = await kind.open()
        await box.append([entry(1, "there")])
        await box.close()
        _spoil(kind.directory, MISCOUNTED)
        monkeypatch.setattr(sqlite_check, "LOOK", -1.0)
        monkeypatch.setattr(sqlite_database, "STEPS", 1)
        await (await kind.open(log=told)).close()
        assert [event for event, _ in told.lines] == ["outbox.salvaged"]

    asyncio.run(run())


@pytest.mark.parametrize("longest", [10.0, -1.0])
def test_the_check_beside_the_work_ends_with_the_outbox_or_in_time_and_finds_nothing_in_a_sound_file(
    tmp_path, monkeypatch, longest
):
    kind, told = Sqlite(tmp_path), Told()
    began, ended = threading.Event(), threading.Event()

    def endless(connection: apsw.Connection, enough: Callable[[], bool]) -> None:
        began.set()
        connection.set_progress_handler(enough, 1)
        try:
            connection.execute(
                "with recursive n(n) as (select 1 union all select n from n) select max(n) from n"
            ).fetchall()
        finally:
            ended.set()

    async def run() -> None:
        _look_briefly(monkeypatch)
        box = await kind.open()
        await box.append([entry(1, "there")])
        await box.close()
        looked = await kind.open(log=told)
        assert looked._check is not None
        await asyncio.to_thread(looked._check._thread.join)
        await looked.close()
        monkeypatch.setattr(sqlite_salvage, "look", lambda *_, **__: sqlite_check.Looked(None, whole=False))
        monkeypatch.setattr(sqlite_check, "_damage", endless)
        monkeypatch.setattr(sqlite_check, "LONGEST", longest)
        box = await kind.open(log=told)
        assert await asyncio.to_thread(began.wait, 20)
        if longest < 0:
            assert await asyncio.to_thread(ended.wait, 20)
        await box.close()
        assert ended.is_set()
        assert told.lines == []

    asyncio.run(run())


def _frames(directory: Path) -> int:
    """How many frames of the log SQLite reads."""
    return int.from_bytes((directory / "outbox.db-shm").read_bytes()[16:20], sys.byteorder)


def _tear(directory: Path, frame: int) -> None:
    """One page of the log has not reached the disk, though later ones of its commit have."""
    with (directory / "outbox.db-wal").open("r+b") as wal:
        wal.seek(32 + frame * (24 + 4096) + 24)
        wal.write(bytes(4096))


def test_power_that_is_lost_twice_amid_a_commit_is_no_damage_and_loses_nothing_that_was_promised(tmp_path):
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        first = await kind.open()
        await first.append([entry(1, "there")])
        frames = _frames(kind.directory)
        await first.append([entry(number, "there", properties={"x": "x" * 3000}) for number in range(100, 140)])
        kind.crash()
        _tear(kind.directory, frames)
        second = await kind.open(log=told)
        await second.append([entry(2, "there")])
        frames = _frames(kind.directory)
        await second.append([entry(3, "there"), entry(4, "there")])
        kind.crash()
        _tear(kind.directory, frames)
        third = await kind.open(log=told)
        await asyncio.sleep(0)
        assert told.lines == []
        assert [one.event.id for one in await third.take("there", 99)] == ["event-1", "event-2"]
        for box in (first, second, third):
            await box.close()

    asyncio.run(run())


def test_what_a_lost_power_tore_off_replaces_nothing_good_in_a_salvage(tmp_path):
    kind = Sqlite(tmp_path)

    async def run() -> None:
        first = await kind.open()
        await first.append([entry(1, "there")])
        whole = _frames(kind.directory)
        await first.append([entry(2, "there"), entry(3, "there")])
        torn = _frames(kind.directory)
        kind.crash()
        for frame in range(whole, torn):
            _tear(kind.directory, frame)
        sqlite_salvage.mark(kind.directory)
        second = await kind.open()
        assert [one.event.id for one in await second.take("there", 9)] == ["event-1"]
        for box in (first, second):
            await box.close()

    asyncio.run(run())


def test_a_bad_page_before_the_last_commit_of_the_log_hides_none_of_the_later_ones_from_a_salvage(tmp_path):
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        first = await kind.open()
        await first.append([entry(1, "there")])
        frames = _frames(kind.directory)
        await first.append([entry(2, "there")])
        await first.append([entry(3, "there")])
        kind.crash()
        _tear(kind.directory, frames)
        second = await kind.open(log=told)
        await asyncio.sleep(0)
        assert [event for event, _ in told.lines] == ["outbox.salvaged"]
        assert [one.event.id for one in await second.take("there", 9)] == ["event-1", "event-2", "event-3"]
        for box in (first, second):
            await box.close()

    asyncio.run(run())


def _rows(directory: Path) -> dict[str, list[str]]:
    """What every table holds, but for counters of 0, which are as good as none."""
    connection = apsw.Connection(str(directory / "outbox.db"), flags=apsw.SQLITE_OPEN_READONLY)
    tables = connection.execute("select name from sqlite_schema where type = 'table' order by name").fetchall()
    rows = {str(name): connection.execute(f"select * from {name}").fetchall() for (name,) in tables}  # noqa: S608 - ours
    connection.close()
    return {name: sorted(repr(row) for row in each if name != "tally" or row[-1]) for name, each in rows.items()}


def test_a_salvage_of_a_file_that_is_sound_changes_nothing(tmp_path):
    """No row of any table is forgotten, whatever columns it has come to have."""
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box, _ = await live(kind, random.Random(5), 60)
        parked = Standing(state="parked", reason="status_401", since=NOON, paused_at=NOON, paused_until=NOON)
        await box.stand("billing", parked)
        await box.stand("owed-nothing-yet", Standing())
        await box.close()
        await (await kind.open()).close()  # nothing is in anybody's hand from here on
        before = _rows(kind.directory)
        sqlite_salvage.mark(kind.directory)
        await (await kind.open(log=told)).close()
        assert _rows(kind.directory) == before
        ((_, said),) = told.lines
        assert (said["lost_events"], said["lost_deliveries"], said["uncounted"], said["unclear"]) == (0, [], [], [])

    asyncio.run(run())


@pytest.mark.parametrize("calls", range(12))
def test_a_salvage_that_is_interrupted_anywhere_is_gone_on_with(tmp_path, monkeypatch, calls):
    """Every rename, unlink and fsync of it is where a crash may come."""
    kind, past = Sqlite(tmp_path), Past()
    left = [calls]

    class Crash(BaseException):
        """The process is gone."""

    def or_crash(true):
        def call(*given, **named):
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return true(*given, **named)

        return call

    async def run() -> None:
        nonlocal past
        box, past = await live(kind, random.Random(3), 60)
        await box.close()
        file = kind.directory / "outbox.db"
        file.write_bytes(before := file.read_bytes()[: 30 * 4096])
        with monkeypatch.context() as patch:
            for name in ("rename", "unlink"):
                patch.setattr(pathlib.Path, name, or_crash(getattr(pathlib.Path, name)))
            patch.setattr(sqlite_salvage, "sync", or_crash(sync))
            with suppress(Crash):
                await (await kind.open()).close()
        told = Told()
        box = await kind.open(log=told)
        found = Found()
        assert await drain(box, past, found)
        assert found.altered == 0
        await box.close()
        asides = [one for one in kind.directory.glob("outbox.db.damaged-*") if not one.name.endswith(("-wal", "-shm"))]
        assert [aside.read_bytes() for aside in asides] == [before]
        assert not list(kind.directory.glob("outbox.db.salvag*"))

    asyncio.run(run())


def test_a_salvage_on_a_full_disk_changes_nothing_and_says_how_much_room_it_wants(tmp_path):
    kind, disk = Sqlite(tmp_path), FaultyDisk("full-salvage")

    async def run() -> None:
        box, _ = await live(kind, random.Random(3), 60)
        await box.close()
        file = kind.directory / "outbox.db"
        file.write_bytes(before := file.read_bytes()[: 30 * 4096])
        disk.on_write = no_space
        for _ in range(2):
            with pytest.raises(OutboxUnavailable, match=r"make room for 122,880 bytes .* nothing was changed"):
                await kind.open(vfs=disk.name)
            assert file.read_bytes() == before
            assert not list(kind.directory.glob("outbox.db.*"))
        disk.mend()
        await (await kind.open(vfs=disk.name)).close()

    asyncio.run(run())
    disk.unregister()


# --- the whole program ------------------------------------------------------------------------------------------

BODY = {"user_id": "u-1", "event_name": "signed_up"}
USERPILOT = {"Authorization": "Token ANY"}
APPIZER = {"Authorization": "Bearer in-appizer"}


@pytest.mark.parametrize("damage", ["zeroed pages", "truncated", "garbage header"])
def test_a_gateway_starts_on_a_damaged_outbox_and_delivers_what_it_saved(tmp_path, damage):
    """Started twice more: once into the salvage, once after it."""
    with stage(tmp_path) as there:
        gateway = there.start()
        there.fail(status=503)
        for number in range(80):
            body = {**appizer(number), "properties": {"number": number, "text": "x" * 2_000}}
            httpx.post(f"{gateway.url}/appizer/v1/events", json=body, headers=APPIZER).raise_for_status()
        gateway.stop()
        DAMAGES[damage](tmp_path / "data", random.Random(4))
        there.mend()
        gateway = there.start()
        (line,) = until(lambda: [line for line in gateway.log() if line["event"] == "outbox.salvaged"])
        until(lambda: _all_settled(gateway.url))
        sound = {
            (call["vendor"], call["headers"]["trackgate-event-id"]) for call in there.received() if not call["failed"]
        }
        assert len({event_id for _, event_id in sound}) >= line["saved_events"] > 0
        assert isinstance(line["lost_deliveries"], list)
        assert gateway.stop() == 0
        again = there.start()
        assert _all_settled(again.url)
        assert again.stop() == 0
        assert [one["event"] for one in again.log()].count("outbox.salvaged") == 1  # of the start before


def _all_settled(url: str) -> bool:
    shown = httpx.get(f"{url}/readyz").json()["destinations"].values()
    return all(one["waiting"] == 0 for one in shown)


def test_damage_met_while_running_ends_the_program_so_that_it_is_started_into_the_salvage(tmp_path, monkeypatch):
    text = (pathlib.Path(__file__).parent.parent.parent / "routes.toml").read_text(encoding="utf-8")
    (tmp_path / "routes.toml").write_text(text, encoding="utf-8")
    overrides = {"listen": "127.0.0.1:0", "data": str(tmp_path / "data"), "grace": "200ms"}
    config, _ = load(tmp_path / "routes.toml", {}, overrides, sandbox=True)
    assert config is not None
    sending: list[asyncio.Task[httpx.Response]] = []

    def broken(*_: object) -> None:
        raise apsw.CorruptError("database disk image is malformed")

    def announce(address: str, _: str | None) -> None:
        monkeypatch.setattr(sqlite_writer, "write", broken)
        url = f"http://{address}/v1/track"
        sending.append(asyncio.create_task(asyncio.to_thread(httpx.post, url, json=BODY, headers=USERPILOT)))

    async def main() -> None:
        with pytest.raises(PartEnded) as ended:
            await asyncio.wait_for(Gateway(config, structlog.get_logger(), SystemClock()).run(announce), 30)
        assert "the next start salvages what can be read" in str(ended.value.__cause__)
        assert (await sending[0]).status_code == 503

    asyncio.run(main())
