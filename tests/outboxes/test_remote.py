"""What holds of an outbox in another process beside the laws: ends, cancellations, stalls and garbled frames."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import LogCapture

from tests.outboxes.kinds import Sqlite, entry, ids, listener, settled
from trackgate.outbox import Held, OutboxUnavailable, Standing
from trackgate.outboxes import face
from trackgate.outboxes.remote import frames as remote_frames
from trackgate.outboxes.remote import outbox as remote
from trackgate.outboxes.remote import peer as remote_peer
from trackgate.outboxes.remote import server as remote_server
from trackgate.outboxes.remote.frames import frame
from trackgate.outboxes.remote.outbox import RemoteOutbox
from trackgate.outboxes.remote.server import OutboxServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path


class Site:
    """An outbox that is served, and what connects to it."""

    def __init__(self, owned: Any, path: str) -> None:
        self.owned = owned
        self.path = path
        self.log = LogCapture()
        self.server: OutboxServer
        self._reached: list[RemoteOutbox] = []

    async def reach(self) -> RemoteOutbox:
        self._reached.append(await RemoteOutbox.open(self.path))
        return self._reached[-1]

    async def close(self) -> None:
        for one in self._reached:
            await one.close()
        await self.server.close()
        await self.owned.close()


@asynccontextmanager
async def served(place: Path) -> AsyncGenerator[Site]:
    site = Site(await Sqlite(place).open(), "s")
    log = structlog.wrap_logger(None, processors=[site.log])
    site.server = await OutboxServer.start(site.owned, listener(site.path), log=log, ledger_every=0)
    try:
        yield site
    finally:
        await site.close()


@pytest.fixture
def holds(tmp_path, monkeypatch) -> Callable[[Callable[[Site], Awaitable[None]]], None]:
    monkeypatch.chdir(tmp_path)  # so that the socket's path is short

    def run(law: Callable[[Site], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(20), served(tmp_path) as site:
                await law(site)

        asyncio.run(whole())

    return run


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def killed(box: RemoteOutbox) -> None:
    """As if its process were."""
    box._connection._transport.abort()


# --- the end of a worker ----------------------------------------------------------------------------------------


def test_what_a_worker_that_is_gone_had_in_hand_comes_again_counted(holds):
    async def law(site):
        box = await site.reach()
        await box.append([entry(n, "a", lane=n) for n in range(3)])
        (first,) = await box.take("a", 1)
        await box.settle(settled([first], Held(due=first.event.received_at, attempts=1)))
        assert len(await box.take_held("a", first.event.received_at, 1)) == 1
        assert ids(await box.take("a", 9)) == ["1", "2"]
        killed(box)
        again = await site.reach()
        await until(lambda: again.has_news("a"))
        assert [(one.event.id, one.attempts) for one in await again.take("a", 9)] == [("event-1", 1), ("event-2", 1)]
        (held,) = await again.take_held("a", first.event.received_at, 9)
        assert (held.attempts, held.held) == (2, True)
        assert site.owned.ledger().destinations["a"].waiting == 3

    holds(law)


def test_the_books_are_those_of_a_start_after_a_worker_is_gone(holds):
    async def law(site):
        box = await site.reach()
        await box.append([entry(n, "a", lane=n) for n in range(4)])
        await box.settle(settled((await box.take("a", 3))[:1]))
        killed(box)
        again = await site.reach()
        await until(lambda: again.has_news("a"))
        assert ids(await again.take("a", 2)) == ["1", "2"]
        await again.close()
        await until(lambda: not site.server._hands)
        account = site.owned._writer._books.accounts["a"]
        loaded = site.owned._writer._load(site.owned._writer._database).accounts["a"]
        books = [(one.unsettled, one.bytes, one.held, one.returned, one.fresh_from) for one in (account, loaded)]
        assert books[0] == books[1]
        assert books[0][3] == 2

    holds(law)


def test_who_comes_after_a_worker_is_told_of_what_it_had_in_hand(holds):
    """Also where it looked in the meantime, when there was nothing to find, and would not look again by itself."""

    async def law(site):
        box = await site.reach()
        await box.append([entry(1, "a")])
        await box.take("a", 1)
        again = await site.reach()
        woken: list[frozenset[str]] = []
        again.on_append(woken.append)
        again.on_retry(woken.append)
        killed(box)
        await until(lambda: len(woken) == 2)
        assert woken == [{"a"}, {"a"}]
        assert again.has_news("a")

    holds(law)


def test_what_another_worker_has_in_hand_stays_there(holds):
    async def law(site):
        mine, other = await site.reach(), await site.reach()
        await mine.append([entry(1, "a", "b"), entry(2, "a")])
        taken = await other.take("b", 9)
        await mine.take("a", 9)
        killed(mine)
        third = await site.reach()
        await until(lambda: third.has_news("a"))
        assert not third.has_news("b")
        await other.settle(settled(taken))
        assert site.owned.ledger().destinations["b"].delivered == 1

    holds(law)


def test_a_take_waits_until_what_its_predecessor_had_in_hand_is_let_go_of(holds, monkeypatch):
    """Else it would be let go of along with it, and be delivered twice."""
    let_go = OutboxServer._let_go
    asked = asyncio.Event()

    async def law(site):
        mine, next_one = await site.reach(), await site.reach()
        await mine.append([entry(n, "a", lane=n) for n in range(3)])
        assert ids(await mine.take("a", 1)) == ["0"]
        late: list[Any] = []

        def wait(server, names):
            late.append((server, names))
            asked.set()

        monkeypatch.setattr(OutboxServer, "_let_go", wait)
        killed(mine)
        await asked.wait()
        taking = asyncio.ensure_future(next_one.take("a", 9))
        await next_one.stand("b", Standing())  # what was asked before it has been looked at
        assert not taking.done()
        let_go(*late[0])
        assert ids(await taking) == ["0", "1", "2"]
        await next_one.stand("b", Standing())
        assert not next_one.has_news("a")

    holds(law)


def test_an_orderly_end_gives_back_without_a_count(holds):
    async def law(site):
        box = await site.reach()
        await box.append([entry(1, "a")])
        taking = asyncio.ensure_future(box.take("a", 9))
        await asyncio.sleep(0)
        taking.cancel()  # its answer is on the way when the end begins
        await box.close()
        again = await site.reach()
        await until(lambda: again.has_news("a"))
        assert [one.attempts for one in await again.take("a", 9)] == [0]

    holds(law)


def test_letting_go_is_tried_again_until_the_storage_answers(holds, monkeypatch):
    monkeypatch.setattr(remote_server, "STORAGE_PAUSE", 0.01)

    async def law(site):
        box = await site.reach()
        await box.append([entry(1, "a")])
        await box.take("a", 1)
        submit, refused = site.owned.submit, []

        def fail(job):
            refused.append(job)
            if len(refused) == 3:
                site.owned.submit = submit
            raise OutboxUnavailable("the disk is gone")

        site.owned.submit = fail
        killed(box)
        again = await site.reach()
        await until(lambda: again.has_news("a"))
        assert len(refused) == 3

    holds(law)


# --- callers that give up ---------------------------------------------------------------------------------------


def test_of_a_caller_that_gives_up_before_the_storage_began_nothing_is_stored(holds, monkeypatch):
    """Whether its append has left the process by then or not."""

    async def law(site):
        box = await site.reach()
        waiting: list[Any] = []
        submit = site.owned._hand_on
        monkeypatch.setattr(site.owned, "_hand_on", waiting.append)  # a disk that stalls
        unsent, sent, kept = (asyncio.ensure_future(box.append([entry(n, "a")])) for n in range(3))
        await asyncio.sleep(0)
        unsent.cancel()
        await until(lambda: len(waiting) == 2)
        sent.cancel()
        await until(waiting[0].answer.cancelled)
        for job in waiting:
            submit(job)
        monkeypatch.setattr(site.owned, "_hand_on", submit)
        await kept
        assert ids(await box.take("a", 9)) == ["2"]
        assert site.owned.ledger().sources["web"].received == 1

    holds(law)


# --- bounds -----------------------------------------------------------------------------------------------------


def test_a_caller_is_turned_away_where_too_much_waits_for_the_owner(holds, monkeypatch):
    monkeypatch.setattr(remote, "MOST_WAITING", 100)

    async def law(site):
        box = await site.reach()
        monkeypatch.setattr(site.owned, "_hand_on", lambda _: None)
        stuck = [asyncio.ensure_future(box.append([entry(n, "a")])) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OutboxUnavailable, match="does not keep up"):
            await box.append([entry(3, "a")])
        for one in stuck:
            one.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        monkeypatch.undo()
        await box.append([entry(4, "a")])

    holds(law)


def test_an_owner_that_reads_nothing_is_sent_a_bounded_amount(holds, monkeypatch):
    async def law(site):
        box = await site.reach()
        (peer,) = site.server._peers
        peer._transport.pause_reading()
        large = "x" * 2**20
        stuck = [asyncio.ensure_future(box.append([entry(n, "a", properties={"x": large})])) for n in range(12)]
        await until(lambda: not box._connection.writable)
        assert len(box._leaving) > 6
        for one in stuck:
            one.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        peer._transport.resume_reading()
        await box.append([entry(99, "a")])
        assert site.owned.ledger().sources["web"].received < 6

    holds(law)


def test_no_more_is_read_from_a_worker_that_asks_for_too_much(holds, monkeypatch):
    monkeypatch.setattr(remote_peer, "MOST_ASKED", 5)

    async def law(site):
        box = await site.reach()
        (peer,) = site.server._peers
        submit = site.owned._hand_on
        waiting: list[Any] = []
        monkeypatch.setattr(site.owned, "_hand_on", waiting.append)
        asked = [asyncio.ensure_future(box.stand("a", Standing())) for _ in range(9)]
        await until(lambda: len(waiting) == 9)
        assert not peer._reading
        for job in waiting:
            submit(job)
        await asyncio.gather(*asked)
        assert peer._reading
        monkeypatch.undo()

    holds(law)


# --- connections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbled",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (remote_frames.MOST_FRAME + 1).to_bytes(4),
        b"\0\0\0\1\xc1",
        frame([]) + frame([["Sweep", 1]]),
        frame([["Close", 1]]),
        frame([["NextDue", None, "a"]]),
    ],
    ids=["HTTP", "too long", "no msgpack", "unknown", "not for workers", "no number"],
)
def test_a_garbled_frame_ends_its_connection_and_no_other(holds, garbled):
    async def law(site):
        box = await site.reach()
        reader, writer = await asyncio.open_unix_connection(site.path)
        writer.write(bytes(garbled))
        await reader.read()  # the welcome, then the end
        writer.close()
        await box.append([entry(1, "a")])
        assert [one["event"] for one in site.log.entries] == ["outbox.connection_garbled"]

    holds(law)


def test_a_worker_is_lost_by_what_makes_no_sense_to_it(holds):
    async def law(site):
        box = await site.reach()
        (peer,) = site.server._peers
        peer._transport.write(b"\0\0\0\1\xc1")
        with pytest.raises(OutboxUnavailable, match="data directory"):
            await box.until_lost()

    holds(law)


def test_frames_are_found_however_they_are_cut():
    whole = bytes(frame([["a"]]) + frame([["b", "c"]]))
    for cut in range(len(whole)):
        frames = remote_frames.Frames()
        assert [*frames.feed(whole[:cut]), *frames.feed(whole[cut:])] == [b"\x91\x91\xa1a", b"\x91\x92\xa1b\xa1c"]


def test_everything_that_waits_fails_once_the_owner_is_gone(holds, monkeypatch):
    async def law(site):
        box = await site.reach()
        await box.append([entry(1, "a")])
        monkeypatch.setattr(site.owned, "_hand_on", lambda _: None)
        asked = [box.append([entry(2, "a")]), box.take("a", 1), box.stand("a", Standing()), box.until_lost()]
        waiting = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0.01)
        monkeypatch.undo()
        await site.server.close()
        for one in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(one, OutboxUnavailable)
        with pytest.raises(OutboxUnavailable, match="is gone"):
            await box.append([entry(3, "a")])
        box.count_rejected("web", "unreadable")
        await box.close()

    holds(law)


def test_calls_turned_away_at_a_worker_are_counted(holds):
    async def law(site):
        box = await site.reach()
        box.count_rejected("web", "unreadable", 2)
        assert box.ledger().sources["web"].rejected == {"unreadable": 2}
        await box.close()
        assert site.owned.ledger().sources["web"].rejected == {"unreadable": 2}

    holds(law)


def test_calls_turned_away_are_counted_once_however_long_the_owner_takes(holds, monkeypatch):
    """Also those that are turned away while others are being written down, and at the end."""
    monkeypatch.setattr(face, "WITHIN", 0.0)

    async def law(site):
        box = await site.reach()
        waiting: list[Any] = []
        submit = site.owned._hand_on
        monkeypatch.setattr(site.owned, "_hand_on", waiting.append)  # a disk that stalls
        for reason in ("invalid", "invalid", "too_large"):
            box.count_rejected("web", reason)
            before = len(waiting)
            await until(lambda: len(waiting) > before)  # noqa: B023 - it is over before the next round
        assert box.ledger().sources["web"].rejected == {"invalid": 2, "too_large": 1}
        box.count_rejected("web", "late")
        closing = asyncio.ensure_future(box.close())
        await until(lambda: len(waiting) == 4)
        monkeypatch.setattr(site.owned, "_hand_on", submit)
        for job in waiting:
            submit(job)
        await closing
        assert site.owned.ledger().sources["web"].rejected == {"invalid": 2, "too_large": 1, "late": 1}

    holds(law)


WORKER = textwrap.dedent("""
    import asyncio, sys
    from trackgate.outboxes.remote.outbox import RemoteOutbox

    async def run():
        box = await RemoteOutbox.open(sys.argv[1])
        print(len(await box.take("a", 2)), flush=True)
        await box.until_lost()

    asyncio.run(run())
""")


def test_a_worker_process_that_is_killed_loses_nothing(holds):
    async def law(site):
        await site.owned.append([entry(n, "a", lane=n) for n in range(3)])
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, site.path, stdout=subprocess.PIPE)
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"2\n"
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        box = await site.reach()
        await until(lambda: not site.server._hands)
        assert [one.attempts for one in await box.take("a", 9)] == [1, 1, 0]

    holds(law)


def test_a_worker_whose_way_to_the_owner_was_removed_says_what_to_do(tmp_path):
    with pytest.raises(OutboxUnavailable, match=r"^s was removed from the data directory.*restart the gateway$"):
        asyncio.run(RemoteOutbox.open(str(tmp_path / "s")))


def test_what_cannot_be_said_to_a_worker_ends_its_connection_and_leaves_nobody_waiting(holds, monkeypatch):
    async def law(site):
        box = await site.reach()
        said = frame

        def unsayable(told):
            if told.stored:
                raise OverflowError("too large")
            return said(told)

        monkeypatch.setattr(remote_peer, "frame", unsayable)
        with pytest.raises(OutboxUnavailable):
            await box.append([entry(1, "a")])
        monkeypatch.setattr(remote_peer, "frame", said)
        assert [line["event"] for line in site.log.entries] == ["outbox.connection_garbled"]
        other = await site.reach()
        await other.append([entry(2, "a", lane=2)])
        assert ids(await other.take("a", 9)) == ["1", "2"]

    holds(law)


def test_what_cannot_be_said_to_the_owner_leaves_nobody_waiting(holds, monkeypatch):
    async def law(site):
        box = await site.reach()

        def unsayable(_):
            raise OverflowError("too large")

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        monkeypatch.setattr(remote, "frame", unsayable)
        with pytest.raises(OutboxUnavailable):
            await box.append([entry(1, "a")])

    holds(law)


def test_a_worker_that_reads_nothing_is_told_all_of_it_at_once_later(holds):
    async def law(site):
        box = await site.reach()
        (peer,) = site.server._peers
        other = await site.reach()
        woken: list[frozenset[str]] = []
        box.on_append(woken.append)
        peer.pause_writing()
        for n in range(5):
            await other.append([entry(n, "a", lane=n)])
        await asyncio.sleep(0.01)
        assert not box.has_news("a")
        peer.resume_writing()
        await until(lambda: box.has_news("a"))
        assert woken == [{"a"}]

    holds(law)
