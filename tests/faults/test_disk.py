"""A full and a broken disk under the whole program: honest answers, nothing lost, well again by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import httpx
import pytest

from tests.faults.test_damage import Told
from tests.outboxes.faulty_disk import FaultyDisk, input_output_error
from tests.outboxes.kinds import Sqlite, entry, ids
from tests.program.running import VENDORS, Process, Stage, appizer, stage, until
from trackgate.outbox import OutboxUnavailable
from trackgate.outboxes.sqlite.room import FILE as BALLAST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 24 * 2**20
"""Bytes of the small disk: with the ballast on board there is room for a few thousand events."""
ROOT = Path(__file__).parents[2]
HEADERS = {"Authorization": "Bearer in-appizer"}
WITHIN = 5.0
"""Seconds from freed space to the next acceptance, in the long form."""


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own for the data directory."""
    place = tmp_path / "data"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def _send(gateway: Process, number: int, size: int = 20_000) -> httpx.Response:
    body = appizer(number)
    body["properties"]["text"] = "x" * size
    return httpx.post(f"{gateway.url}/appizer/v1/events", json=body, headers=HEADERS, timeout=20)


def _fill(place: Path) -> Path:
    """Somebody else takes all that is left, but for what the gateway then gives up."""
    filler = place / "somebody-elses"
    with filler.open("wb", buffering=0) as file:
        chunk = b"x" * 65536
        while chunk and (place / BALLAST).exists():
            try:
                file.write(chunk)
            except OSError:
                chunk = chunk[: len(chunk) // 2]
    return filler


def test_a_full_disk_refuses_in_the_vendors_words_keeps_what_was_promised_and_takes_calls_again(
    tmp_path, small_disk, long, verdict
):
    rounds = 5 if long else 1
    accepted: set[str] = set()
    slowest = 0.0
    server = 'min_free = "2MiB"\nretention = "1s"'
    with stage(tmp_path, server) as there:
        gateway = there.start()
        sent = 0
        for _ in range(rounds):
            there.fail(status=503)  # everything that is accepted waits
            for _ in range(20):
                accepted.add(_send(gateway, sent).headers["trackgate-event-id"])
                sent += 1
            filler = _fill(small_disk)

            def refused() -> httpx.Response | None:
                nonlocal sent
                reply = _send(gateway, sent)
                sent += 1
                if reply.is_success:
                    accepted.add(reply.headers["trackgate-event-id"])
                return None if reply.is_success else reply

            reply = until(refused)
            assert reply.status_code == 503
            assert reply.headers["retry-after"]
            assert reply.json()["error"]  # as the vendor words one
            assert httpx.get(f"{gateway.url}/livez").status_code == 200
            ready = httpx.get(f"{gateway.url}/readyz")
            assert ready.status_code == 503
            assert "min_free" in ready.json()["reason"]
            there.mend()
            # Full as it is, what was queued flows out.
            until(lambda: _waiting(gateway) == 0)
            filler.unlink()
            freed = time.monotonic()
            until(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 200)
            again = _send(gateway, sent)
            sent += 1
            assert again.is_success
            slowest = max(slowest, time.monotonic() - freed)
            accepted.add(again.headers["trackgate-event-id"])
        until(lambda: _waiting(gateway) == 0)
        arrived = {call["headers"]["trackgate-event-id"] for call in there.received(vendor="appizer")}
        lines = [line["event"] for line in gateway.log()]
        assert gateway.stop() == 0
    lost = len(accepted - arrived)
    said = verdict(
        test="full disk",
        done=f"{rounds} times a disk of {SIZE // 2**20} MiB filled to the last byte under load, and freed",
        held=lost == 0 and (slowest < WITHIN or not long),
        obligations=len(accepted),
        lost=lost,
        figure=f"accepting again {slowest:.1f} s after space was freed, at the most",
        target=f"0 lost, accepting again within {WITHIN:.0f} s",
    )
    assert said.held, said
    assert lines.count("outbox.failed") == 0


def _waiting(gateway: Process) -> float:
    ready = httpx.get(f"{gateway.url}/readyz").json()["destinations"]
    return float(sum(one["waiting"] for one in ready.values()))


def _read_only() -> None:
    raise apsw.ReadOnlyError


@pytest.fixture
def disk(request):
    disk = FaultyDisk(request.node.name)
    yield disk
    disk.unregister()


@pytest.mark.parametrize(
    ("broken", "how"), [("on_sync", input_output_error), ("on_write", input_output_error), ("on_write", _read_only)]
)
def test_a_broken_disk_promises_nothing_and_is_told_of_once(tmp_path, disk, broken, how):
    """However often it is tried meanwhile; what was promised before is there when it is well again."""
    kind, told = Sqlite(tmp_path), Told()

    async def run() -> None:
        box = await kind.open(vfs=disk.name, log=told)
        await box.append([entry(1, "there")])
        setattr(disk, broken, how)
        for number in range(2, 30):
            with pytest.raises(OutboxUnavailable, match="cannot be written"):
                await box.append([entry(number, "there")])
            kind.clock.seconds += 10  # it is opened again each time
        assert "cannot be written" in str(box.healthy())
        assert [event for event, _ in told.lines] == ["outbox.failed"]
        disk.mend()
        kind.clock.seconds += 10
        while box.healthy() is not None:
            await asyncio.sleep(0.01)
        await box.append([entry(30, "there")])
        first, *_, last = ids(await box.take("there", 99))
        assert (first, last) == ("1", "30")
        assert [event for event, _ in told.lines] == ["outbox.failed", "outbox.recovered"]
        await box.close()

    asyncio.run(run())


class OnTold(Process):
    """The program on the disk of ``broken``."""

    module = "tests.faults.broken"


def _on_told(order: Path) -> Callable[..., Process]:
    def start(folder: Path, *arguments: str) -> Process:
        return OnTold(folder, str(order), *arguments, PYTHONPATH=str(ROOT))

    return start


def _is_everywhere(there: Stage, event_id: str) -> bool:
    return {call["vendor"] for call in there.received(id=event_id)} == set(VENDORS)


@pytest.mark.parametrize("how", ["eio", "read-only"])
def test_a_gateway_on_a_broken_disk_is_alive_not_ready_and_well_again_by_itself(tmp_path, how, verdict):
    order = tmp_path / "order"
    with stage(tmp_path) as there:
        there.fail(status=503, times=1000, vendor="flywheel")
        gateway = there.start(_on_told(order))
        first = _send(gateway, 1, size=10)
        assert first.status_code == 200
        order.write_text(how)
        refused = [_send(gateway, number, size=10) for number in range(2, 12)]
        assert {each.status_code for each in refused} == {503}
        assert all("retry-after" in each.headers and each.json()["error"] for each in refused)
        not_ready = httpx.get(f"{gateway.url}/readyz")
        assert (not_ready.status_code, not_ready.json()["status"]) == (503, "refusing")
        assert "cannot be written" in not_ready.json()["reason"]
        assert httpx.get(f"{gateway.url}/livez").status_code == 200
        order.unlink()
        until(lambda: httpx.get(f"{gateway.url}/readyz").status_code == 200)
        there.mend()
        promised = [first.headers["trackgate-event-id"]]
        promised.append(_send(gateway, 12, size=10).headers["trackgate-event-id"])
        for event_id in promised:
            until(partial(_is_everywhere, there, event_id))
        failed = [line for line in gateway.log() if line["event"] == "outbox.failed"]
    verdict(
        test=f"disk: {how} under the whole program",
        done="12 calls, 10 of them while it was broken",
        held=len(failed) == 1,
        obligations=2 * 4,
        lost=0,
        figure=f"{len(failed)} line in the log",
        target="503 in the vendor's words, not ready, alive, one line, recovers by itself",
    )
    assert len(failed) == 1, failed


def test_a_commit_that_stalls_for_seconds_is_a_503_in_time(tmp_path, verdict):
    """``accept_timeout`` is the caller's; the disk may take as long as it likes."""
    order = tmp_path / "order"
    with stage(tmp_path, 'accept_timeout = "300ms"') as there:
        gateway = there.start(_on_told(order))
        assert _send(gateway, 1, size=10).status_code == 200
        order.write_text("2.5")
        begun = time.monotonic()
        stalled = _send(gateway, 2, size=10)
        waited = time.monotonic() - begun
        order.unlink()
        until(lambda: _send(gateway, 3, size=10).status_code == 200)
    verdict(
        test="disk: a commit that stalls for 2.5 s, accept_timeout 300 ms",
        done="1 call",
        held=stalled.status_code == 503,
        figure=f"its 503 came after {waited * 1000:.0f} ms",
        target="300 ms and a little",
    )
    assert stalled.status_code == 503
    assert "retry-after" in stalled.headers
