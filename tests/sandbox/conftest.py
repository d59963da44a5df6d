"""A sandbox with every vendor, called in this process, and a clock that never waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from trackgate import vendors
from trackgate.sandbox.control import control
from trackgate.sandbox.emulator import Emulator
from trackgate.sandbox.failures import Failures
from trackgate.sandbox.memory import Memory
from trackgate.sandbox.web import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.model import Call
    from trackgate.vendor import Vendor

KEY = "a-key-that-is-long-enough-1234"


class FakeClock:
    """Stands still unless somebody sleeps, and remembers who did."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 20, 12, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Bench:
    """A sandbox and the ways to call it."""

    key = KEY

    def __init__(
        self, *, memory: Memory | None = None, keys: Mapping[str, str] | None = None, loopback_only: bool = False
    ) -> None:
        self.vendors: Mapping[str, Vendor] = vendors.load()
        self.clock = FakeClock()
        minted = count(1)
        emulator = Emulator(
            vendors=self.vendors,
            clock=self.clock,
            memory=memory or Memory(),
            failures=Failures(self.vendors),
            mint=lambda: f"id-{next(minted)}",
            keys=keys or {},
        )
        self.app: Any = Sandbox(emulator, control(emulator), self.clock, loopback_only=loopback_only)

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Make a request to the sandbox."""

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000") as client:
                return await client.request(method, path, **sent)

        return asyncio.run(go())

    def sample(self, vendor: Vendor, key: str = KEY) -> Call:
        """The vendor's documented call, to this sandbox."""
        return vendor.sample(f"http://127.0.0.1:9000/{vendor.name}", key)

    def post(self, call: Call, **other: Any) -> httpx.Response:
        """Make a call as it stands, or with another ``body``, ``headers``, ``method``."""
        return self.ask(
            other.get("method", call.method),
            call.url,
            headers=other.get("headers", call.headers),
            content=other.get("body", call.body),
        )

    def received(self, **query: Any) -> list[dict[str, Any]]:
        shown = self.ask("GET", "/-/received", params=query)
        assert shown.status_code == 200, shown.text
        calls: list[dict[str, Any]] = shown.json()
        return calls

    def count(self, **query: Any) -> dict[str, Any]:
        counted: dict[str, Any] = self.ask("GET", "/-/received/count", params=query).json()
        return counted

    def fail(self, **order: Any) -> httpx.Response:
        return self.ask("POST", "/-/fail", json=order)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a ``vendor`` is held by every one of them."""
    if "vendor" in metafunc.fixturenames:
        metafunc.parametrize("vendor", [pytest.param(vendor, id=name) for name, vendor in vendors.load().items()])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def small_bench() -> Bench:
    return Bench(memory=Memory(max_calls=3))


@pytest.fixture
def keyed_bench() -> Bench:
    return Bench(keys=dict.fromkeys(vendors.load(), KEY))


@pytest.fixture
def loopback_bench() -> Bench:
    return Bench(loopback_only=True)
