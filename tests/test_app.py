"""How the program is put together and taken down, where no test from outside can see it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace

import structlog

from trackgate.app import LARGEST_BACKLOG, Gateway, backlog_limit
from trackgate.clock import SystemClock
from trackgate.config import Config, Server
from trackgate.units import Duration


def test_a_worker_that_waits_for_a_dead_storage_does_not_hold_up_the_end():
    async def main():
        config = Config(server=Server(grace=Duration(0)), sources={}, destinations={}, routes=(), path=Path("x"))
        gateway = Gateway(config, structlog.get_logger(), SystemClock())
        hanging = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.wait_for(gateway._stop_workers([hanging]), 20)
        assert hanging.cancelled()

    asyncio.run(main())


def test_the_limit_of_the_backlog_outlives_a_restart_with_a_full_outbox(tmp_path, monkeypatch):
    free = 1000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert backlog_limit(tmp_path) == 500
    (tmp_path / "outbox.db").write_bytes(b"x" * 400)
    free -= 400
    assert backlog_limit(tmp_path) == 500
    free = 10 * LARGEST_BACKLOG
    assert backlog_limit(tmp_path) == LARGEST_BACKLOG
