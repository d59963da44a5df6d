"""What the owner makes of a worker's answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import msgspec
import structlog
from structlog.testing import capture_logs

from trackgate.app.crew import Crew, name_of
from trackgate.app.lifetime import serve_beside
from trackgate.metrics_share import Sample
from trackgate.server import Bounds, Server
from trackgate.unix_socket import listening

SHARE = {"trackgate_received_total": [Sample("trackgate_received_total", {}, 3.0)]}
"""What the workers of these tests have counted."""


class Worker:
    """Tells its share, unless something is wrong with it."""

    status = 200

    async def __call__(self, _scope, _receive, send):
        body = msgspec.json.encode(SHARE) if self.status == 200 else b"Internal Server Error"
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


def test_the_share_of_a_worker_that_fails_stays_what_it_was_and_the_failure_is_told(tmp_path):
    workers = [Worker(), Worker(), Worker()]
    workers[0].status = 500

    async def go():
        async with AsyncExitStack() as stack:
            for number, worker in enumerate(workers):
                listener = stack.enter_context(listening(tmp_path, name_of(number)))
                await serve_beside(stack, Server(worker, Bounds(), grace=1), listener)
            crew = Crew(tmp_path, {}, len(workers), stack, structlog.get_logger())
            first = await crew.shares()
            workers[1].status = 500
            return first, await crew.shares()

    with capture_logs() as logs:
        first, second = asyncio.run(go())
    assert first == second == [{}, SHARE, SHARE]
    told = [(line["event"], line["log_level"], line["worker"], line["status"]) for line in logs]
    assert sorted(told) == [("share.failed", "warning", number, 500) for number in (0, 0, 1)]
