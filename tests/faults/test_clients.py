"""Callers of every bad kind at once, while good ones go on: all of these are served, and memory stays bounded."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.faults.rig import rig

BEARER = b"authorization: Bearer in-appizer\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nhost: x\r\n" + BEARER

PIPELINED = 200
BOMB = gzip.compress(bytes(50 * 2**20))
"""Some 50 KB that would become 50 MiB."""

GROWTH = 64
"""MiB that the process may grow by under all of this."""

SERVER = """
max_connections = 4096
header_timeout = "2s"
body_timeout = "5s"
"""


class Bad:
    """Bad callers, as many of each kind as are asked for, again and again until ``until`` (monotonic seconds)."""

    def __init__(self, url: str, end: float) -> None:
        at = urlsplit(url)
        self._at = at.hostname or "", at.port or 0
        self._end = end
        self.heard: dict[str, Counter[str]] = {}
        self.idle = 0
        """Connections that were opened and then silent."""

    async def all(self, idle: int, few: int) -> None:
        kinds = [self.slow_loris, self.pipelined, self.huge_head, self.endless, self.bomb]
        async with asyncio.TaskGroup() as group:
            for _ in range(idle):
                group.create_task(self.silent())
            for kind in kinds * few:
                group.create_task(self._again_and_again(kind))

    async def _again_and_again(self, kind) -> None:
        heard = self.heard.setdefault(kind.__name__, Counter())
        while time.monotonic() < self._end:
            reader, writer = await asyncio.open_connection(*self._at)
            try:
                heard[await kind(reader, writer)] += 1
            except (OSError, asyncio.IncompleteReadError):
                heard["hung up"] += 1
            finally:
                writer.close()

    async def silent(self) -> None:
        """Say nothing at all; where the gateway hangs up, come back."""
        while time.monotonic() < self._end:
            reader, writer = await asyncio.open_connection(*self._at)
            self.idle += 1
            try:
                async with asyncio.timeout(max(self._end - time.monotonic(), 0.1)):
                    await reader.read()
            except (TimeoutError, OSError):
                pass
            writer.close()

    async def slow_loris(self, reader: Any, writer: Any) -> str:
        """A head that comes by a byte at a time."""
        for byte in POST * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            if reader.at_eof() or reader._buffer:
                break
            await asyncio.sleep(0.1)
        return await status(reader)

    async def pipelined(self, reader: Any, writer: Any) -> str:
        """Many calls before the first answer is read; each is answered, in order."""
        writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * PIPELINED)
        for _ in range(PIPELINED):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            if not head.startswith(b"HTTP/1.1 200"):
                return str(head.split()[1])
        return "all 200"

    async def huge_head(self, reader: Any, writer: Any) -> str:
        """A megabyte of headers."""
        writer.write(POST)
        for number in range(1_000):
            writer.write(b"x-%d: %b\r\n" % (number, b"x" * 1_000))
            if reader._buffer or reader.at_eof():
                break
            await writer.drain()
        return await status(reader)

    async def endless(self, reader: Any, writer: Any) -> str:
        """Chunks without an end."""
        writer.write(POST + b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        while not (reader._buffer or reader.at_eof()):
            writer.write(chunk)
            await writer.drain()
        return await status(reader)

    async def bomb(self, reader: Any, writer: Any) -> str:
        """A body that would grow a thousandfold if somebody unpacked it."""
        writer.write(POST + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(BOMB), BOMB))
        await writer.drain()
        return await status(reader)


async def status(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n")).split()[1].decode()


def memory(pid: int, what: str) -> float:
    """MiB: ``VmRSS`` now, ``VmHWM`` at the most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def test_bad_callers_take_nothing_from_the_good_ones(tmp_path, long, verdict):
    seconds, idle, few = (60.0, 1_000, 10) if long else (3.0, 100, 1)
    with rig(tmp_path, "clients", rate=50, server=SERVER) as its:
        its.start()
        its.stage.fail(status=503, times=4)
        its.driver.start()
        time.sleep(1)
        process = its.running.process.pid
        before = memory(process, "VmRSS")
        bad = Bad(its.running.url, time.monotonic() + seconds)
        thread = threading.Thread(target=lambda: asyncio.run(bad.all(idle, few)))
        thread.start()
        thread.join()
        finding = its.judge(enough=20)
        peak, after = memory(process, "VmHWM"), memory(process, "VmRSS")
        statuses = its.driver.record.statuses
        refused = {status: count for status, count in statuses.items() if not 200 <= status < 300}
        bounded = peak - before <= GROWTH
        verdict(
            test="bad callers beside good ones",
            done=f"{seconds:g} s of {idle} idle connections and {few} each of slow, pipelining, huge-headed, endless"
            f" and compressed; {len(its.driver.record.promised)} good calls",
            held=not finding.wrongs and not refused and (bounded or not long),
            obligations=finding.obligations,
            lost=len(finding.lost),
            duplicates=finding.duplicates,
            figure=f"memory {before:.0f} MiB before, {peak:.0f} at the most, {after:.0f} after",
            target=f"every good call acknowledged, memory grows by <= {GROWTH} MiB",
        )
        assert not finding.wrongs
        assert refused == {}
        assert bad.idle >= idle
        assert set(bad.heard["pipelined"]) == {"all 200"}
        assert set(bad.heard["slow_loris"]) <= {"408", "hung up"}
        assert set(bad.heard["huge_head"]) <= {"431", "hung up"}
        assert set(bad.heard["endless"]) <= {"413", "408", "hung up"}
        assert set(bad.heard["bomb"]) <= {"400", "413", "415", "hung up"}
