"""How the program is put together and taken down, where no test from outside can see it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from trackgate import vendors
from trackgate.app.alone import Gateway
from trackgate.app.lifetime import PartEnded
from trackgate.app.station import Station
from trackgate.clock import SystemClock
from trackgate.config import Config, Server, load
from trackgate.data import LARGEST_BACKLOG, backlog_limit
from trackgate.deliver.dispatcher import Dispatcher
from trackgate.units import Duration
from trackgate.vendor import Target


def test_a_worker_that_waits_for_a_dead_storage_does_not_hold_up_the_end():
    async def main():
        config = Config(server=Server(grace=Duration(0)), sources={}, destinations={}, routes=(), path=Path("x"))
        unused: Any = None
        station = Station(config, {}, unused, unused, structlog.get_logger(), SystemClock(), sandboxed=False)
        hanging = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.wait_for(station._stop([hanging]), 20)
        assert hanging.cancelled()

    asyncio.run(main())


def test_the_limit_of_the_backlog_outlives_a_restart_with_a_full_outbox(tmp_path, monkeypatch):
    free = 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert backlog_limit(tmp_path) == 500
    (tmp_path / "outbox.db").write_bytes(b"x" * 400)
    free -= 400
    assert backlog_limit(tmp_path) == 500
    (tmp_path / "outbox.db").write_bytes(b"x" * 100)
    (tmp_path / "outbox.db-wal").write_bytes(b"x" * 200)
    (tmp_path / "ballast").write_bytes(b"x" * 100)
    assert backlog_limit(tmp_path) == 500
    free = 10 * LARGEST_BACKLOG
    assert backlog_limit(tmp_path) == LARGEST_BACKLOG


def test_what_a_salvage_set_aside_leaves_less_room_for_the_backlog(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=600))
    (tmp_path / "outbox.db.damaged-20260102T030405Z").write_bytes(b"x" * 400)
    assert backlog_limit(tmp_path) == 300


def test_a_part_that_ends_by_itself_ends_the_program_after_a_drain(tmp_path, monkeypatch):
    """A worker's bug must not leave a gateway that accepts and never delivers."""

    async def ends(_worker, _standing):
        await asyncio.sleep(0.01)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Dispatcher, "run", ends)
    text = (Path(__file__).parent.parent / "routes.toml").read_text(encoding="utf-8")
    (tmp_path / "routes.toml").write_text(text, encoding="utf-8")
    overrides = {"listen": "127.0.0.1:0", "data": str(tmp_path / "data"), "grace": "200ms"}
    config, _ = load(tmp_path / "routes.toml", {}, overrides, sandbox=True)
    assert config is not None

    async def main():
        gateway = Gateway(config, structlog.get_logger(), SystemClock())
        with pytest.raises(PartEnded) as ended:
            await asyncio.wait_for(gateway.run(lambda *_: None), 20)
        assert isinstance(ended.value.__cause__, RuntimeError)

    with capture_logs() as logs:
        asyncio.run(main())
    assert [line["event"] for line in logs][-1] == "gateway.stopped"


def test_nothing_that_holds_a_credential_shows_it():
    options = next(iter(vendors.load().values())).options()
    assert "secret-key" not in repr(Target(url="http://there", key="secret-key", options=options))
