"""An upstream that misbehaves on the wire: the engine of production and whole dispatchers, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.clients.conftest import Hostile, Says
from tests.faults.world import AMPLE, APPIZER
from tests.made import event
from tests.outboxes.kinds import ROOMY
from trackgate.client import MAX_REPLY
from trackgate.clients.asyncio_engine import AsyncioClient
from trackgate.clock import SystemClock
from trackgate.deliver.dispatcher import Dispatcher, Plan
from trackgate.deliver.send import Sender
from trackgate.ingest.intake import lane_of
from trackgate.metrics import Metrics
from trackgate.outbox import Entry, Standing
from trackgate.outboxes.sqlite.limits import Limits
from trackgate.outboxes.sqlite.outbox import SqliteOutbox
from trackgate.retry import RetryPolicy
from trackgate.units import Duration
from trackgate.vendor import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

GUARD = 60.0
"""Seconds after which a test that hangs is failed."""

SHORT, AMPLY = 0.4, 3.0
"""Seconds that a call may take: where no answer is to come in time, and where the head is."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"success":true}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
BOMB = gzip.compress(b"\0" * 10_000_000)

DELIVERED, RETRIED = "delivered", "retried"

CASES: dict[str, tuple[Says, str]] = {
    "a hang": (Says(then="hang"), RETRIED),
    "a head, a byte at a time": (Says(OK, pause=0.05), RETRIED),
    "a body that stalls": (Says(HEAD, then="hang"), DELIVERED),
    "a body, a piece at a time": (Says(HEAD, *[b"x"] * 100, pause=0), DELIVERED),
    "another protocol": (Says(b"SSH-2.0-x\r\n\r\n", then="close"), RETRIED),
    "garbage": (Says(bytes(range(256)) * 4, then="close"), RETRIED),
    "a cut head": (Says(b"HTTP/1.1 200 OK\r\nX-A: b", then="close"), RETRIED),
    "a cut body": (Says(HEAD, b"{", then="close"), DELIVERED),
    "a body without end": (
        Says(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"4000\r\n" + b"x" * 0x4000 + b"\r\n",
            then="repeat",
        ),
        DELIVERED,
    ),
    "a body that is too long": (
        Says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_REPLY * 4), b"x" * MAX_REPLY * 4),
        DELIVERED,
    ),
    "a compression bomb": (
        Says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
        DELIVERED,
    ),
    "a reset before any answer": (Says(then="reset"), RETRIED),
    "a reset amid the body": (Says(HEAD, b"{", then="reset"), DELIVERED),
    "a needless continue": (Says(b"HTTP/1.1 100 Continue\r\n\r\n", OK), DELIVERED),
    "early hints": (Says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK), DELIVERED),
    "a continue and no more": (Says(b"HTTP/1.1 100 Continue\r\n\r\n", then="hang"), RETRIED),
    "switched protocols": (
        Says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then="close"),
        RETRIED,
    ),
    "HTTP/1.0": (Says(b'HTTP/1.0 200 OK\r\n\r\n{"success":true}', then="close"), DELIVERED),
    "HTTP/1.0 and a failure": (Says(b"HTTP/1.0 500 No\r\n\r\n", then="close"), RETRIED),
}


class InTurn:
    """The first call gets the case's answer, all others a good one."""

    def __init__(self, first: Callable[..., Any]) -> None:
        self._first: Callable[..., Any] | None = first

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer, self._first = self._first or Says(OK), None
        await answer(reader, writer)


@asynccontextmanager
async def dispatchers(place: Any, urls: Mapping[str, Callable[[], str]], patience: float = AMPLY) -> AsyncIterator[Any]:
    """A dispatcher for each destination, over one outbox, with the engine of production."""
    clock = SystemClock()
    outbox: Any = await SqliteOutbox.open(place / "data", clock, Limits(**{**ROOMY, **AMPLE}))
    metrics = Metrics(outbox.ledger, clock)
    policy = RetryPolicy(base=Duration(0.05), probe=Duration(0.2))
    clients = [AsyncioClient(clock, "1", 4) for _ in urls]
    made: dict[str, Dispatcher] = {}
    for (name, url), client in zip(urls.items(), clients, strict=True):
        plan = Plan(
            name=name,
            concurrency=4,
            policy=policy,
            target=lambda url=url: Target(url=url(), key="k", options=APPIZER.options()),  # type: ignore[misc]
        )
        made[name] = Dispatcher(
            plan, outbox, Sender(APPIZER, client, clock, patience), clock, structlog.get_logger(), metrics
        )

    def wake(owed: frozenset[str]) -> None:
        for name in owed:
            made[name].wake()

    outbox.on_append(wake)
    running = [asyncio.create_task(dispatcher.run(Standing())) for dispatcher in made.values()]
    try:
        yield outbox
    finally:
        await asyncio.gather(*(dispatcher.stop(1.0) for dispatcher in made.values()))
        await asyncio.gather(*running, *(client.close() for client in clients))
        await outbox.close()


async def put(outbox: Any, count: int) -> None:
    events = [event(n, name=f"e{n}", user_id=f"u{n}") for n in range(count)]
    await outbox.append([Entry(each, lane_of(each), frozenset({"sick", "well"})) for each in events])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def delivered(outbox: Any, name: str) -> int:
    tally = outbox.ledger().destinations.get(name)
    return 0 if tally is None else int(tally.delivered)


@pytest.mark.parametrize("name", CASES)
def test_whatever_comes_over_the_wire_the_delivery_ends_as_documented(place, verdict, name):
    """Once the head of a 2xx came it is delivered and not sent again; before that it is sent until it is."""
    answer, outcome = CASES[name]
    timeout = SHORT if outcome == RETRIED else AMPLY

    async def main():
        async with (
            Hostile(InTurn(answer)) as sick,
            Hostile(Says(OK)) as well,
            dispatchers(place, {"sick": lambda: sick.url, "well": lambda: well.url}, timeout) as outbox,
        ):
            await put(outbox, 3)
            await until(lambda: delivered(outbox, "well") == 3)
            await until(lambda: not outbox.ledger().destinations["sick"].waiting)
            return outbox.ledger().destinations, len(sick.calls), len(well.calls)

    with capture_logs():
        tallies, calls, others = asyncio.run(asyncio.wait_for(main(), GUARD))
    found = verdict(
        test=f"on the wire: {name}",
        done="3 events, the first call answered like this; a second destination beside it",
        held=calls == (4 if outcome == RETRIED else 3) and others == 3,
        obligations=6,
        lost=6 - sum(tally.delivered for tally in tallies.values()),
        duplicates=calls - 3,
        figure=f"{calls} calls for 3 events",
        target=f"{outcome}: 0 lost, {1 if outcome == RETRIED else 0} sent again; the other destination unaffected",
    )
    assert found.held, found
    assert found.lost == 0, found


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
def test_a_redirect_parks_and_is_never_followed(place, verdict, number):
    async def main():
        async with Hostile(Says(OK)) as elsewhere, Hostile(Says(OK)) as well:
            moved = f"HTTP/1.1 {number} Moved\r\nLocation: {elsewhere.url}/x\r\nContent-Length: 0\r\n\r\n".encode()
            async with (
                Hostile(InTurn(Says(moved))) as sick,
                dispatchers(place, {"sick": lambda: sick.url, "well": lambda: well.url}) as outbox,
            ):
                await put(outbox, 1)
                await until(lambda: bool(outbox.ledger().destinations) and delivered(outbox, "well") == 1)
                await until(lambda: delivered(outbox, "sick") == 1)
                return len(sick.calls), elsewhere.connections

    with capture_logs() as logs:
        calls, followed = asyncio.run(asyncio.wait_for(main(), GUARD))
    parked = [line["reason"] for line in logs if line["event"] == "destination.parked"]
    found = verdict(
        test=f"on the wire: a {number}",
        done="1 event, redirected once",
        held=parked == [f"status_{number}"] and not followed and calls == 2,
        obligations=2,
        lost=0 if calls == 2 else 1,
        duplicates=0,
        target="parked, not followed; delivered at the next probe",
    )
    assert found.held, found


@pytest.mark.parametrize("name", ["connection refused", "a host without an address", "TLS to a port without TLS"])
def test_what_cannot_be_connected_to_loses_nothing_and_is_found_when_it_is_there(place, verdict, name):
    """Down after five, the other destination is served meanwhile; the target that is read anew is the good one."""

    async def main():
        async with Hostile(Says(OK)) as gone:
            closed = gone.url
        async with Hostile(Says(OK)) as sick, Hostile(Says(OK)) as well, Hostile(Says(OK), b"220 mail\r\n") as plain:
            bad = {
                "connection refused": closed,
                "a host without an address": f"http://{'a' * 64}.invalid",  # no name may have so long a part
                "TLS to a port without TLS": plain.url.replace("http:", "https:"),
            }[name]
            urls = {"now": bad}
            async with dispatchers(place, {"sick": lambda: urls["now"], "well": lambda: well.url}) as outbox:
                await put(outbox, 20)
                await until(lambda: delivered(outbox, "well") == 20)
                await until(lambda: outbox.ledger().destinations["sick"].standing.state == "down")
                tally = outbox.ledger().destinations["sick"]
                urls["now"] = sick.url
                await until(lambda: delivered(outbox, "sick") == 20)
                return tally, len(sick.calls)

    with capture_logs() as logs:
        tally, calls = asyncio.run(asyncio.wait_for(main(), GUARD))
    reasons = {line["reason"] for line in logs if line["event"] == "destination.went_down"}
    found = verdict(
        test=f"on the wire: {name}",
        done="20 events; then the address was fixed",
        held=(tally.waiting, tally.dead) == (20, 0) and calls == 20 and reasons == {"connect"},
        obligations=40,
        lost=20 - calls,
        duplicates=0,
        target="down, nothing dead; delivered once there is something to connect to",
    )
    assert found.held, found
