"""The embedded outbox: its directory, its file, its books, its retention, and what it does with a failing disk."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from tests.made import NOON
from tests.outboxes.faulty_disk import FaultyDisk, input_output_error, no_space
from tests.outboxes.kinds import HOUR, Sqlite, entry, ids, settled
from trackgate.outbox import Attempt, Dead, Held, OutboxFull, OutboxUnavailable, Selection, Settlement, Standing
from trackgate.outboxes.sqlite import database as sqlite_database
from trackgate.outboxes.sqlite import outbox as sqlite
from trackgate.outboxes.sqlite import room as sqlite_room
from trackgate.outboxes.sqlite import sweep as sqlite_sweep
from trackgate.outboxes.sqlite import writer as sqlite_writer
from trackgate.outboxes.sqlite.checksum import checksum
from trackgate.outboxes.sqlite.queue import Queue
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trackgate.outboxes.jobs import Job

FILE = "outbox.db"


@pytest.fixture
def kind(tmp_path):
    return Sqlite(tmp_path)


@pytest.fixture
def disk(request):
    disk = FaultyDisk(request.node.name)
    yield disk
    disk.unregister()


def rows(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(directory / FILE), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def eventually(done) -> None:
    """Wait for what the writer does by itself; the suite's guard against hanging ends it if it never does."""
    while not await done():
        await asyncio.sleep(0.01)


class Told:
    """A log that remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.fields: list[dict[str, object]] = []

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(event)
        self.fields.append(fields)


# --- the directory and the file ---------------------------------------------------------------------------------


def test_nobody_else_may_look_into_the_directory(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(1, "a")])
        assert stat.S_IMODE(kind.directory.stat().st_mode) == 0o700
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in kind.directory.iterdir()}
        assert {FILE, f"{FILE}-wal", "lock"} <= files.keys()
        assert set(files.values()) == {0o600}
        await box.close()

    asyncio.run(run())


def test_a_second_process_is_refused_with_the_owner_named(kind):
    script = (
        "import sys; from pathlib import Path; from trackgate.outboxes.sqlite.lock import own; own(Path(sys.argv[1]))"
    )

    async def run():
        box = await kind.open()
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(kind.directory), stderr=subprocess.PIPE
        )
        _, told = await second.communicate()
        assert second.returncode
        assert f"the data directory {kind.directory} is in use by process {os.getpid()}" in told.decode()
        await box.close()
        await (await kind.open()).close()

    asyncio.run(run())


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "life-0").write_text("a file")
    with pytest.raises(OutboxUnavailable, match="life-0 cannot be used"):
        asyncio.run(Sqlite(tmp_path).open())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("pragma user_version = 99", "written by a newer Trackgate"),
        ("pragma application_id = 7", "not an outbox of Trackgate"),
    ],
)
def test_a_file_that_is_not_for_us_is_refused_and_left_alone(kind, spoil, words):
    async def run():
        await (await kind.open()).close()
        connection = apsw.Connection(str(kind.directory / FILE))
        connection.execute(spoil)
        connection.close()
        before = (kind.directory / FILE).read_bytes()
        with pytest.raises(OutboxUnavailable, match=words):
            await kind.open()
        with pytest.raises(OutboxUnavailable, match=words):
            SqliteReader(kind.directory)
        assert (kind.directory / FILE).read_bytes() == before

    asyncio.run(run())


def test_a_file_that_is_no_database_is_refused(kind):
    kind.directory.mkdir()
    (kind.directory / FILE).write_text("notes to self\n" * 100)
    with pytest.raises(OutboxUnavailable, match="not an outbox of Trackgate"):
        asyncio.run(kind.open())


def test_what_cannot_be_changed_later_is_right_from_the_start(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(1, "a", lane=-5)])
        await box.close()
        assert not (kind.directory / f"{FILE}-wal").exists()
        assert rows(kind.directory, "pragma auto_vacuum") == [(2,)]
        assert rows(kind.directory, "pragma journal_mode") == [("wal",)]
        assert rows(kind.directory, "pragma application_id") == [(0x54524B47,)]
        assert rows(kind.directory, "select lane, hops from event") == [(-5, 0)]

    asyncio.run(run())


def test_another_process_may_read_beside_the_owner(kind):
    async def run():
        box = await kind.open(max_backlog=0x10000)
        await box.append([entry(1, "a"), entry(2, "b")])
        with SqliteReader(kind.directory) as reader:
            assert reader.find("event-1") is not None
            assert reader.find("event-9") is None
            assert reader.ledger().destinations == box.ledger().destinations
            await box.settle(settled(await box.take("a", 1)))
            assert reader.ledger().destinations == box.ledger().destinations
        await box.close()

    asyncio.run(run())


def test_a_reader_says_where_it_found_nothing(tmp_path):
    with pytest.raises(OutboxUnavailable, match="there is no outbox in"):
        SqliteReader(tmp_path)


def test_a_reader_says_that_it_cannot_read(kind):
    """The index of the write-ahead log is a link, which SQLite does not follow."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "a")])
        kind.crash()
        (kind.directory / f"{FILE}-shm").symlink_to("nowhere")
        with pytest.raises(OutboxUnavailable, match="cannot be read: unable to open"):
            SqliteReader(kind.directory)
        await box.close()

    asyncio.run(run())


def test_an_event_that_is_whole_and_yet_none_dies_and_strands_nobody(kind):
    """As a bug or another version could have written it: by its checksum it is what was stored."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "a"), entry(2, "a", lane=2)])
        await box.close()
        ((size, lane),) = rows(kind.directory, "select size, lane from event where seq = 1")
        body = f'{{"id": "{"x" * (size - 10)}"}}'
        connection = apsw.Connection(str(kind.directory / FILE))
        new = (body, checksum(1, lane, 0, size, body.encode()))
        connection.execute("update event set body = ?, crc = ? where seq = 1", new)
        connection.close()
        again = await kind.open()
        taken = await again.take("a", 10)
        assert ids(taken) == ["2"]
        await again.settle(settled(taken))
        tally = again.ledger().destinations["a"]
        assert (tally.delivered, tally.dead, tally.waiting) == (1, 1, 0)
        await again.close()
        ((reason, detail),) = rows(kind.directory, "select reason, detail from dead")
        assert reason == "damaged"
        assert "cannot be read" in detail

    asyncio.run(run())


# --- durability -------------------------------------------------------------------------------------------------


def test_an_answer_comes_after_the_fsync_and_many_share_one(kind, disk):
    async def run():
        box = await kind.open(vfs=disk.name)
        await box.append([entry(0, "a")])
        before = disk.syncs
        await box.append([entry(1, "a")])
        assert disk.syncs == before + 1
        await box.settle(settled(await box.take("a", 1)))
        assert disk.syncs == before + 3
        commits = []
        box.on_commit(lambda seconds, jobs: commits.append(jobs))
        await asyncio.gather(*(box.append([entry(n, "a")]) for n in range(100, 164)))
        assert sum(commits) == 64
        assert disk.syncs == before + 3 + len(commits)
        assert len(commits) < 64
        await box.close()

    asyncio.run(run())


def test_what_one_turn_of_the_loop_asks_for_shares_a_commit(kind):
    """Also where the writer's thread has time to begin with the first of it."""

    def slowly(number):
        time.sleep(0.002)
        return [entry(number, "a")]

    async def run():
        box = await kind.open()
        commits = []
        box.on_commit(lambda seconds, jobs: commits.append(jobs))

        async def append(number):
            await box.append(slowly(number))

        await asyncio.gather(*(append(number) for number in range(20)))
        assert commits == [20]
        await box.close()

    asyncio.run(run())


def test_a_ledger_that_is_made_late_is_of_its_own_moment(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(1, "a")])
        counts = box._known.counts
        await box.append([entry(2, "a")])
        assert counts.ledger.destinations["a"].owed == 1
        assert box.ledger().destinations["a"].owed == 2
        await box.close()

    asyncio.run(run())


def test_an_append_that_nobody_waits_for_any_more_is_not_begun(kind, disk):
    """The disk stalls, a caller is told to come back: what it then sends again must not be there twice."""

    async def run():
        box = await kind.open(vfs=disk.name)
        stalled, go_on = threading.Event(), threading.Event()

        def stall():
            stalled.set()
            go_on.wait(20)

        disk.on_sync = stall
        first = asyncio.ensure_future(box.append([entry(1, "a")]))
        await asyncio.to_thread(stalled.wait, 20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.append([entry(2, "a")]), 0.01)
        disk.mend()
        go_on.set()
        await first
        await box.append([entry(3, "a")])
        assert ids(await box.take("a", 9)) == ["1", "3"]
        await box.close()

    asyncio.run(run())


def test_what_waits_for_a_stalled_disk_is_bounded(kind, disk, monkeypatch):
    """Callers give up one after the other, and come again: memory must not hold all that they ever sent."""
    monkeypatch.setattr(sqlite, "MOST_WAITING", 10_000)

    async def run():
        box = await kind.open(vfs=disk.name)
        stalled, go_on = threading.Event(), threading.Event()

        def stall():
            stalled.set()
            go_on.wait(20)

        disk.on_sync = stall
        first = asyncio.ensure_future(box.append([entry(1, "a")]))
        await asyncio.to_thread(stalled.wait, 20)
        given_up = 0
        with pytest.raises(OutboxUnavailable, match="does not keep up"):  # noqa: PT012 - at which of them, is counted
            while given_up < 99:
                with suppress(TimeoutError):
                    await asyncio.wait_for(box.append([entry(2, "a", properties={"text": "x" * 1000})]), 0.001)
                given_up += 1
        assert given_up < 15
        disk.mend()
        go_on.set()
        await first

        async def taken():
            with suppress(OutboxUnavailable):
                return await box.append([entry(3, "a")])

        await eventually(taken)
        assert ids(await box.take("a", 9)) == ["1", "3"]
        await box.close()

    asyncio.run(run())


def test_an_idle_outbox_writes_nothing(kind, disk):
    async def run():
        box = await kind.open(vfs=disk.name)
        await box.append([entry(0, "a")])
        before = disk.syncs
        for _ in range(5):
            assert await box.take_held("a", NOON, 5) == []
            assert await box.next_due("a") is None
            assert await box.take("b", 5) == []
        assert disk.syncs == before
        await box.close()

    asyncio.run(run())


WORK = """
import asyncio, sys
from pathlib import Path
from typing import Any
from tests.outboxes.kinds import Sqlite, entry, settled

async def work():
    box = await Sqlite(Path(sys.argv[1])).open()
    first = int(sys.argv[2])

    async def append(worker):
        for number in range(first + worker, first + 10**6, 8):
            (appended,) = await box.append([entry(number, "a", lane=number % 5)])
            print("appended", appended.id, flush=True)

    async def deliver():
        while True:
            for one in await box.take("a", 3):
                print("started", one.event.id, flush=True)
                await box.settle(settled([one]))
                print("settled", one.event.id, flush=True)
            await asyncio.sleep(0)

    await asyncio.gather(*map(append, range(8)), deliver())

asyncio.run(work())
"""


def test_nothing_acknowledged_is_lost_by_kill_9(kind):
    """A process that appends and delivers is killed at random moments; whatever it said is so."""
    said: dict[str, set[str]] = {"appended": set(), "started": set(), "settled": set()}
    for life in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WORK, str(kind.directory.parent), str(life * 10**6)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(20, 200)):
                word, event_id = process.stdout.readline().split()
                said[word].add(event_id)
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    word, event_id = line.split()
                    said[word].add(event_id)

    async def rest():
        box = await kind.open()
        out = []
        while taken := await box.take("a", 99):
            out += [one.event.id for one in taken]
            await box.settle(settled(taken))
        tally = box.ledger().destinations["a"]
        assert tally.waiting == 0
        assert tally.owed == tally.delivered >= len(said["appended"])
        await box.close()
        return out

    out = asyncio.run(rest())
    assert len(out) == len(set(out))
    assert not said["settled"] & set(out)
    # At each kill one delivery may have been settled with no time left to say so.
    unsaid = said["appended"] - said["settled"] - set(out)
    assert unsaid <= said["started"]
    assert len(unsaid) <= 4


# --- the books --------------------------------------------------------------------------------------------------

RECOUNT = """
select d.name,
    (select count(*) from event e join member m on m.set_id = e.owed where m.destination = d.id),
    (select count(*) from event e join member m on m.set_id = e.owed where m.destination = d.id and e.seq > d.cursor)
        + (select count(*) from unsettled u where u.destination = d.id),
    (select count(*) from dead x where x.destination = d.id),
    (select count(*) from unsettled u where u.destination = d.id and u.held)
from destination d order by d.name
"""


def test_the_ledger_is_what_the_rows_say(kind):
    dice = random.Random(7)

    async def run():
        box = await kind.open()
        for n in range(40):
            owed = [name for name in "abc" if dice.random() < 0.6]
            await box.append([entry(n, *owed, lane=dice.randrange(4))])
            name = dice.choice("abc")
            taken = [*await box.take(name, 3), *await box.take_held(name, NOON, 2)]
            fates = [None, Dead("bad"), Held(due=NOON + timedelta(seconds=dice.randrange(2)), attempts=1)]
            back, *others = taken or [None]
            await box.settle([one for other in others for one in settled([other], dice.choice(fates))])
            await box.give_back([back] if back else [])
            ledger = box.ledger().destinations
            assert rows(kind.directory, RECOUNT) == [
                (name, tally.owed, tally.waiting, tally.dead, tally.held) for name, tally in ledger.items()
            ]
        await box.close()

    asyncio.run(run())


# --- retention --------------------------------------------------------------------------------------------------


def test_settled_events_go_after_their_time_and_others_never(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(n, "a") for n in range(5)] + [entry(5), entry(6, "a", "b", key="k")])
        taken = await box.take("a", 4)
        await box.settle([*settled(taken[:1]), *settled(taken[1:2], Dead("bad")), *settled(taken[2:3], Held(due=NOON))])
        last = await box.take("a", 9)
        await box.settle(settled(last))
        assert ids(last) == ["4", "6"]
        kind.clock.seconds = 3 * HOUR
        before = box.ledger()

        async def gone():
            await box.append([entry(99)])
            return kind.find("event-0") is None

        await eventually(gone)
        left = [n for n in range(7) if kind.find(f"event-{n}")]
        assert left == [1, 2, 3, 6]  # dead, held, in hand, owed to b
        assert box.ledger().destinations["a"].owed == before.destinations["a"].owed
        assert ids(await box.take("b", 9)) == ["6"]

        async def forgotten():
            await box.append([entry(98)])
            return rows(kind.directory, "select count(*) from seen") == [(0,)]

        await eventually(forgotten)
        assert rows(kind.directory, "select distinct seq from attempt") == []
        await box.close()

    asyncio.run(run())


def test_the_oldest_settled_events_go_early_when_the_log_outgrows_the_limit(kind):
    async def run():
        box = await kind.open(max_backlog=10_000)
        for n in range(40):
            await box.append([entry(n, "a", properties={"text": "x" * 500})])
            await box.settle(settled(await box.take("a", 9)))
        kind.clock.seconds = 61

        async def shrunk():
            await box.append([entry(99)])
            (stored,) = rows(kind.directory, "select sum(size) from event")
            return stored[0] <= 10_500

        await eventually(shrunk)
        assert kind.find("event-0") is None
        assert kind.find("event-39") is not None
        await box.close()

    asyncio.run(run())


def test_numbers_are_not_used_again_when_all_events_are_gone(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(1, "a")])
        await box.settle(settled(await box.take("a", 1)))
        kind.clock.seconds = 2 * HOUR

        async def gone():
            await box.stand("a", box.ledger().destinations["a"].standing)
            return kind.find("event-1") is None

        await eventually(gone)
        await box.close()
        box = await kind.open()
        await box.append([entry(2, "a")])
        assert ids(await box.take("a", 1)) == ["2"]
        await box.close()

    asyncio.run(run())


def test_counting_the_rows_ends_when_it_is_enough_and_the_reader_goes_on(kind, monkeypatch):
    monkeypatch.setattr(sqlite_database, "STEPS", 1)

    async def run():
        box = await kind.open()
        await box.append([entry(n, "a", "b") for n in range(10)])
        with SqliteReader(kind.directory) as reader:
            assert reader.miscounts(lambda: False) == []
            assert reader.miscounts(lambda: True) is None
            assert reader.find("event-1") is not None
        await box.close()

    asyncio.run(run())


async def pass_by(kind: Sqlite, box: Any, gone: Callable[[], Awaitable[bool]]) -> None:
    """Let the sweep come by until this is so."""

    async def came_by():
        kind.clock.seconds += sqlite_sweep.EVERY
        await box.stand("a", Standing())
        return await gone()

    await eventually(came_by)
    await box.stand("a", Standing())  # what the sweep counted is told with the next commit


def test_the_dead_are_given_up_after_a_time_of_their_own_and_counted(kind, monkeypatch):
    """A few at a time; the line tells of all of them."""
    monkeypatch.setattr(sqlite_sweep, "CHUNK", 2)
    told = Told()

    async def run():
        box = await kind.open(dead_retention=100 * HOUR, log=told)
        await box.append([entry(n, "a", "b") for n in range(5)])
        await box.settle(settled(await box.take("a", 9), Dead("bad")))
        await box.settle(settled(await box.take("b", 9)))
        kind.clock.seconds = 99 * HOUR
        await box.append([entry(9, "a")])
        await box.settle(settled(await box.take("a", 1), Dead("bad")))

        async def swept():
            return box.ledger().destinations["a"].dropped == 5 and kind.find("event-0") is None

        assert box.ledger().destinations["a"].dead == 6
        await pass_by(kind, box, swept)
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.dead, tally.dropped, tally.waiting) == (6, 1, 5, 0)
        assert [kind.find(f"event-{n}") is None for n in (1, 4, 9)] == [True, True, False]
        assert rows(kind.directory, "select seq from dead") == [(6,)]

        async def told_of():
            return "dead.expired" in told.lines

        await pass_by(kind, box, told_of)
        assert told.lines == ["dead.expired"]
        assert told.fields[0]["number"] == 5
        await box.close()

    asyncio.run(run())


def test_what_was_dropped_or_shed_does_not_keep_its_event(kind):
    """The shed are counted as dropped once their event is gone; what a cursor is to pass over is forgotten too."""
    tried = Attempt(at=NOON, duration=0.5, step="track", outcome="refuse", reason="status_400")

    async def run():
        box = await kind.open()
        await box.append([entry(n, "a") for n in range(4)])
        dead, dropped, shed, held = await box.take("a", 9)
        await box.settle([Settlement(delivery=one, fate=Dead("bad"), attempts=(tried,)) for one in (dead, dropped)])
        await box.settle([*settled([shed], Dead("shed")), *settled([held], Held(due=NOON))])
        assert await box.drop_dead(Selection(event_id="event-1"), 9) == 1
        await box.append([entry(4, "b"), entry(5, "a")])
        await box.settle(settled(await box.take("a", 9), Dead("bad")))
        await box.move("a", "c", 99)  # c's cursor passed them all
        await box.drop_dead(Selection(event_id="event-5"), 9)
        kind.clock.seconds = 3 * HOUR

        async def gone():
            return kind.find("event-5") is None

        await pass_by(kind, box, gone)
        left = [n for n in range(6) if kind.find(f"event-{n}")]
        assert left == [0, 3, 4]  # dead, moved, owed to b
        ledger = box.ledger().destinations
        assert [(ledger[name].owed, ledger[name].dead, ledger[name].dropped) for name in "ac"] == [(1, 0, 1), (4, 1, 2)]
        assert [ledger[name].waiting for name in "ac"] == [0, 1]
        assert rows(kind.directory, "select distinct seq from attempt") == [(1,)]
        assert rows(kind.directory, "select seq from dead") == [(1,)]
        await box.close()

    asyncio.run(run())


def test_an_event_that_a_cursor_will_pass_over_is_swept_with_its_mark(kind):
    """Its destination has not come to it in the log: it was moved there dead, and dropped."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "b"), entry(2, "a")])
        await box.settle(settled(await box.take("a", 9), Dead("bad")))
        await box.move("a", "b", 9)
        assert rows(kind.directory, "select seq from ahead") == [(2,)]
        assert await box.drop_dead(Selection(), 9) == 1
        kind.clock.seconds = 2 * HOUR

        async def gone():
            return kind.find("event-2") is None

        await pass_by(kind, box, gone)
        assert rows(kind.directory, "select seq from ahead") == []
        assert ids(await box.take("b", 9)) == ["1"]
        assert not box.has_news("b")
        await box.close()

    asyncio.run(run())


def test_the_file_shrinks_after_a_drain_and_nobody_waits_for_it(kind, monkeypatch):
    """Also while somebody reads; what is asked meanwhile is answered between two chunks."""
    monkeypatch.setattr(sqlite_sweep, "SPARE", 16)
    monkeypatch.setattr(sqlite_database, "CHECKPOINT", 1000)

    async def run():
        box = await kind.open()
        await box.append([entry(n, "a", properties={"p": "x" * 5000}) for n in range(1200)])
        while taken := await box.take("a", 500):
            await box.settle(settled(taken))
        file = kind.directory / FILE
        assert file.stat().st_size > 2**22
        kind.clock.seconds = 2 * HOUR

        async def shrunk():
            return file.stat().st_size < 300_000

        await pass_by(kind, box, shrunk)
        assert rows(kind.directory, "select count(*) from event") == [(0,)]
        await box.close()

    asyncio.run(run())


# --- what operators read ----------------------------------------------------------------------------------------


def test_events_are_found_by_what_their_callers_called_them(kind):
    """By an event id or a key, as the way in tells them apart; the latest first."""

    async def run():
        box = await kind.open()
        keys = ["id:order-7", "key:0:order-7", "key:12:order-7", "id:order-77", "key:0:x:order-7", "order-7", None]
        await box.append([entry(n, "a", key=key) for n, key in enumerate(keys)])
        await box.append([entry(20, "a", key="id:order-7", name="other"), entry(21, key="id:order-7", source="app")])
        with SqliteReader(kind.directory) as reader:
            assert reader.find_all("order-7", 9) == ["event-21", "event-20", "event-5", "event-2", "event-1", "event-0"]
            assert reader.find_all("order-7", 2) == ["event-21", "event-20"]
            assert reader.find_all("x:order-7", 9) == ["event-4"]
            assert reader.find_all("order", 9) == []
        await box.close()

    asyncio.run(run())


async def graveyard(kind: Sqlite) -> Any:
    """An outbox with seven dead ones, a second between each two."""
    box = await kind.open()
    await box.append([entry(n, *("ab" if n == 3 else "a"), name="sign_up" if n % 2 else "log_in") for n in range(6)])
    for n in range(6):
        kind.clock.seconds += 1
        fate = Dead("worse" if n == 5 else "bad", f"detail {n}", '{"method":"POST"}' if n == 3 else None)
        await box.settle(settled(await box.take("a", 1), fate))
    kind.clock.seconds += 1
    await box.settle(settled(await box.take("b", 1), Dead("bad", "at b")))
    return box


def test_causes_are_counted_by_destination_and_reason_with_the_latest_detail(kind):
    async def run():
        box = await graveyard(kind)
        with SqliteReader(kind.directory) as reader:
            assert [
                (one.destination, one.reason, one.detail, one.count, one.first, one.last)
                for one in reader.causes(Selection())
            ] == [
                ("a", "bad", "detail 4", 5, NOON + timedelta(seconds=1), NOON + timedelta(seconds=5)),
                ("a", "worse", "detail 5", 1, NOON + timedelta(seconds=6), NOON + timedelta(seconds=6)),
                ("b", "bad", "at b", 1, NOON + timedelta(seconds=7), NOON + timedelta(seconds=7)),
            ]
            (only,) = reader.causes(Selection(name="sign_*", destination="a", reason="bad"))
            assert (only.count, only.detail) == (2, "detail 3")
            await box.drop_dead(Selection(destination="a"), 99)
            assert [one.destination for one in reader.causes(Selection())] == ["b"]
        await box.close()

    asyncio.run(run())


def test_the_dead_are_listed_page_by_page_the_latest_first_each_once(kind):
    async def run():
        box = await graveyard(kind)
        with SqliteReader(kind.directory) as reader:
            seen, after = [], None
            while True:
                page = reader.dead(Selection(), 3, after)
                seen += [(one.event_id, one.destination) for one in page.letters]
                if (after := page.next) is None:
                    break
            assert seen == [("event-3", "b"), *((f"event-{n}", "a") for n in (5, 4, 3, 2, 1, 0))]
            page = reader.dead(Selection(name="sign_up", destination="a"), 3)
            assert [one.event_id for one in page.letters] == ["event-5", "event-3", "event-1"]
            assert page.next is None
            first = page.letters[0]
            assert (first.source, first.name, first.reason, first.detail) == ("web", "sign_up", "worse", "detail 5")
            assert (first.died_at, first.received_at, first.attempts) == (NOON + timedelta(seconds=6), NOON, 0)
            for wrong in ("nonsense", "1-2", "1-2-x"):
                with pytest.raises(ValueError, match="take it from the page before"):
                    reader.dead(Selection(), 3, wrong)
        await box.close()

    asyncio.run(run())


def test_an_autopsy_tells_everything_of_one_dead_delivery(kind):
    tried = [
        Attempt(at=NOON, duration=0.5, step="track", outcome="retry", reason="timeout"),
        Attempt(at=NOON, duration=0.25, step="track", outcome="refuse", reason="status_400", status=400, reply="no"),
    ]

    async def run():
        box = await kind.open()
        one = entry(1, "a", "b")
        await box.append([one])
        (taken,) = await box.take("a", 1)
        fate = Dead("status_400", "no", request='{"method":"POST"}')
        await box.settle([Settlement(delivery=taken, fate=fate, attempts=tuple(tried))])
        with SqliteReader(kind.directory) as reader:
            found = reader.autopsy("a", "event-1")
            assert found is not None
            assert (found.event, found.request, list(found.attempts)) == (one.event, '{"method":"POST"}', tried)
            assert (found.letter.reason, found.letter.detail, found.letter.attempts) == ("status_400", "no", 2)
            assert reader.autopsy("b", "event-1") is None
            assert reader.autopsy("a", "event-2") is None
            await box.retry_dead(Selection(), 9)
            assert reader.autopsy("a", "event-1") is None
        await box.close()

    asyncio.run(run())


# --- a file of an older form ------------------------------------------------------------------------------------

TO_FORM_1 = """
drop index event_owed;
create index event_owed on event (owed, seq);
alter table event drop column crc;
alter table destination drop column paused_at;
alter table destination drop column paused_until;
drop index dead_at;
drop index dead_there;
alter table dead drop column request;
alter table dead drop column dropped_at;
drop table ahead;
delete from tally where counter = 'waiting_bytes';
pragma user_version = 1;
"""


def test_a_file_of_an_older_form_is_brought_up_to_date_with_all_that_is_in_it(kind):
    async def run():
        box = await kind.open()
        await box.append([entry(n, "a", "b") for n in range(5)])
        await box.settle(settled((await box.take("a", 2))[:1], Dead("bad", "as it was")))
        held, dropped = await box.take("b", 2)
        await box.settle([*settled([held], Held(due=NOON, attempts=1)), *settled([dropped])])
        before = box.ledger()
        await box.close()
        connection = apsw.Connection(str(kind.directory / FILE))
        connection.execute(TO_FORM_1)
        connection.close()
        with pytest.raises(OutboxUnavailable, match=r"older Trackgate.*start the gateway once"):
            SqliteReader(kind.directory)
        box = await kind.open()
        assert rows(kind.directory, "pragma user_version") == [(2,)]
        after = box.ledger()
        assert after == before
        assert [after.destinations[name].backlog_bytes > 0 for name in "ab"] == [True, True]
        with SqliteReader(kind.directory) as reader:
            assert [(one.reason, one.detail) for one in reader.causes(Selection())] == [("bad", "as it was")]
        assert await box.retry_dead(Selection(), 9) == 1
        for name in "ab":
            await box.settle(settled([*await box.take(name, 9), *await box.take_held(name, NOON, 9)]))
        assert [(one.waiting, one.backlog_bytes) for one in box.ledger().destinations.values()] == [(0, 0)] * 2
        await box.close()

    asyncio.run(run())


FORM = """
select m.type, m.name, iif(m.type = 'index', m.sql, ''), c.name, c.type, c."notnull", c.pk
from sqlite_schema m left join pragma_table_info(m.name) c order by m.type, m.name, c.name
"""


def test_a_new_file_and_one_brought_up_to_date_have_the_same_form(kind):
    async def run():
        await (await kind.open()).close()
        new = rows(kind.directory, FORM)
        connection = apsw.Connection(str(kind.directory / FILE))
        connection.execute(TO_FORM_1)
        connection.close()
        assert rows(kind.directory, FORM) != new
        await (await kind.open()).close()
        assert rows(kind.directory, FORM) == new

    asyncio.run(run())


# --- a failing disk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["on_sync", "on_write"])
def test_a_failed_disk_promises_nothing_and_is_left_for_a_new_connection(kind, disk, broken):
    """After a failed fsync the old connection is never used again; what was asked meanwhile is refused, not lost."""
    told = Told()

    async def run():
        box = await kind.open(vfs=disk.name, log=told)
        await box.append([entry(1, "a"), entry(2, "a")])
        (taken, _) = await box.take("a", 2)
        setattr(disk, broken, input_output_error)
        with pytest.raises(OutboxUnavailable):
            await box.append([entry(3, "a")])
        with pytest.raises(OutboxUnavailable):
            await box.settle(settled([taken]))
        assert "cannot be written" in box.healthy()
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.delivered) == (2, 0)  # nothing is counted that may never have come true
        disk.mend()
        kind.clock.seconds += 60

        async def well():
            return box.healthy() is None

        await eventually(well)
        await box.settle(settled([taken]))
        await box.append([entry(3, "a")])
        assert box.ledger().destinations["a"].delivered == 1
        assert ids(await box.take("a", 9)) == ["3"]
        await asyncio.sleep(0)
        assert told.lines == ["outbox.failed", "outbox.recovered"]
        await box.close()

    asyncio.run(run())


def test_what_a_lost_commit_handed_out_comes_again_uncounted(kind, disk):
    async def run():
        box = await kind.open(vfs=disk.name)
        await box.append([entry(1, "a"), entry(2, "a")])
        held = await box.take("a", 1)
        await box.settle(settled(held, Held(due=NOON, attempts=1)))
        disk.on_sync = input_output_error
        answers = await asyncio.gather(box.take("a", 1), box.take_held("a", NOON, 1), return_exceptions=True)
        assert all(isinstance(answer, OutboxUnavailable) for answer in answers)
        disk.mend()
        kind.clock.seconds += 60

        async def well():
            return box.healthy() is None

        await eventually(well)
        assert [(one.event.id, one.attempts) for one in await box.take("a", 9)] == [("event-2", 0)]
        assert [(one.event.id, one.attempts) for one in await box.take_held("a", NOON, 9)] == [("event-1", 1)]
        await box.close()

    asyncio.run(run())


def test_what_was_handed_out_before_the_disk_failed_is_not_handed_out_again(kind, disk):
    """It is on its way to an upstream: only a transaction whose end is unknown is undone."""

    async def run():
        box = await kind.open(vfs=disk.name)
        await box.append([entry(1, "a"), entry(2, "a")])
        await box.settle(settled(await box.take("a", 1)))
        taken = await box.take("a", 1)
        disk.on_sync = input_output_error
        kind.clock.seconds += 3 * HOUR

        async def failed():
            with suppress(OutboxUnavailable):
                await box.drop_waiting("a", 0)  # wakes the writer, which finds an old event to forget, and cannot
            return box.healthy() is not None

        async def well():
            return box.healthy() is None

        await eventually(failed)
        disk.mend()
        kind.clock.seconds += 60
        await eventually(well)
        assert await box.take("a", 9) == []
        await box.settle(settled(taken))
        assert box.ledger().destinations["a"].delivered == 2
        await box.close()

    asyncio.run(run())


def test_on_a_full_disk_new_events_are_refused_and_the_ballast_lets_the_queue_drain(kind, disk):
    """The disk has no byte left but for what the ballast takes."""
    told = Told()

    async def run():
        box = await kind.open(vfs=disk.name, log=told)
        await box.append([entry(1, "a"), entry(2, "a")])
        ballast = kind.directory / sqlite_room.FILE

        async def on_board():
            return ballast.exists()

        await eventually(on_board)
        assert ballast.stat().st_blocks * 512 >= sqlite_room.BALLAST
        taken = await box.take("a", 2)
        disk.on_write = lambda: no_space() if ballast.exists() else None
        answers = await asyncio.gather(box.append([entry(3, "a")]), box.settle(settled(taken)), return_exceptions=True)
        assert isinstance(answers[0], OutboxFull)
        assert answers[0].limit == "disk"
        assert answers[1] is None
        assert not ballast.exists()
        disk.on_write = no_space
        with pytest.raises(OutboxUnavailable, match="the disk is full"):
            await box.stand("a", Standing(state="down"))
        assert box.ledger().destinations["a"].delivered == 2
        disk.mend()
        kind.clock.seconds += 2
        await box.append([entry(3, "a")])
        assert ballast.exists()  # before the first new event: the disk may be full again at once
        await box.close()

    asyncio.run(run())


def test_a_sweep_that_finds_no_space_goes_on_at_once_only_if_the_ballast_was_there_to_release(kind, monkeypatch):
    """Else the writer's thread would do nothing but sweep in vain and load its books anew."""
    swept: list[bool] = []
    waits: list[float] = []

    def no_space_to_sweep(*_: object) -> bool:
        swept.append((kind.directory / sqlite_room.FILE).exists())
        raise apsw.FullError

    def fetch(queue: Queue, patience: float) -> list[Job]:
        waits.append(patience)
        return real_fetch(queue, patience)

    real_fetch = Queue.fetch
    monkeypatch.setattr(sqlite_sweep.Sweep, "chunk", no_space_to_sweep)
    monkeypatch.setattr(Queue, "fetch", fetch)

    async def run():
        box = await kind.open()

        async def swept_so_often():
            return len(swept) >= 2 * rounds

        for rounds in (1, 2):
            await eventually(swept_so_often)
            for number in range(20):  # neither what is recorded nor what is refused makes it try more often
                await box.stand("a", Standing())
                with pytest.raises(OutboxFull):
                    await box.append([entry(number, "a")])
            assert swept == [True, False] * rounds
            assert waits[-1] == sqlite_writer.SHORT_SWEEP
            kind.clock.seconds += sqlite_writer.SHORT_SWEEP
            await box.stand("a", Standing())
        await box.close()

    asyncio.run(run())


@pytest.fixture
def free(monkeypatch):
    """The bytes that are free on the disk, as its one item."""
    free = [10**9]

    def statvfs(_: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 1, *[free[0]] * 3, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return free


def test_below_the_free_space_floor_new_events_are_refused_and_old_ones_settled(kind, free):
    async def run():
        box = await kind.open(min_free=1000)
        await box.append([entry(1, "a")])
        free[0] = 999
        kind.clock.seconds += 2
        with pytest.raises(OutboxFull) as refused:
            await box.append([entry(2, "a")])
        assert refused.value.limit == "disk"
        assert "min_free" in box.healthy()
        await box.settle(settled(await box.take("a", 1)))
        free[0] = 1000
        kind.clock.seconds += 2
        assert box.healthy() is None
        await box.append([entry(2, "a")])
        await box.close()

    asyncio.run(run())


def test_on_a_short_disk_what_is_settled_goes_before_its_time_and_what_is_owed_stays(kind, free):
    async def run():
        box = await kind.open(min_free=1000)
        await box.append([entry(n, "a", properties={"p": "x" * 5000}) for n in range(200)])
        await box.settle(settled(await box.take("a", 150)))
        file = kind.directory / "outbox.db"
        free[0] = 999
        kind.clock.seconds += 2
        with pytest.raises(OutboxFull):
            await box.append([entry(999, "a")])

        async def forgotten():
            kind.clock.seconds += 2
            with pytest.raises(OutboxFull):
                await box.append([entry(999, "a")])
            return kind.find("event-149") is None and file.stat().st_size < 200 * 5000

        await eventually(forgotten)
        assert kind.find("event-150") is not None
        assert len(await box.take("a", 99)) == 50
        await box.close()

    asyncio.run(run())


def test_what_is_settled_goes_before_its_time_only_as_far_as_there_is_too_much_of_it(kind):
    async def run():
        box = await kind.open(max_backlog=20_000)
        await box.append([entry(n, "a", properties={"p": "x" * 1000}) for n in range(40)])
        await box.settle(settled(await box.take("a", 99)))

        async def gone():
            kind.clock.seconds += sqlite_sweep.EVERY + 1
            await box.append([entry(100 + int(kind.clock.seconds), "b")])
            return kind.find("event-19") is None

        await eventually(gone)
        for _ in range(5):
            await gone()
        assert kind.find("event-39") is not None, "what there is room for stays for its time"
        await box.close()

    asyncio.run(run())


def test_neither_a_short_disk_nor_the_end_waits_for_somebody_who_reads(kind, disk, free):
    """The writer settles what drains the queue: it must not nap meanwhile."""

    async def run():
        box = await kind.open(min_free=1000, vfs=disk.name)
        await box.append([entry(1, "a"), entry(2, "a")])
        reader = apsw.Connection(str(kind.directory / FILE), flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("begin; select * from event").fetchone()
        await box.settle(settled(await box.take("a", 1)))
        free[0] = 999
        for _ in range(5):
            kind.clock.seconds += 3
            with pytest.raises(OutboxFull):  # what has the writer sweep after it
                await box.append([entry(3, "a")])
        await box.close()
        assert disk.waits == 0
        reader.close()

    asyncio.run(run())


def test_a_request_that_cannot_be_done_fails_alone(kind):
    """``not a number`` is no attempt count: the constraint refuses it, and those who share the commit do not notice."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "a"), entry(2, "a")])
        one, two = await box.take("a", 2)
        bad = Settlement(delivery=one, fate=Dead(None))  # type: ignore[arg-type]
        answers = await asyncio.gather(
            box.append([entry(3, "a")]), box.settle([bad]), box.settle(settled([two])), return_exceptions=True
        )
        assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.delivered, tally.dead, tally.waiting) == (3, 1, 0, 2)
        await box.settle(settled([one], Dead("good")))
        assert box.ledger().destinations["a"].dead == 1
        await box.close()

    asyncio.run(run())
