"""The whole program as processes: a gateway and, apart from it, the emulated vendors that outlive it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench.processes import AS_INSTALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GUARD = 30.0
"""Seconds after which waiting is given up: a guard against hanging, not a measure."""

ROUTES = """
[server]
listen = "127.0.0.1:0"
data = "{data}"
{server}
[sources.userpilot]
vendor = "userpilot"
key = "in-userpilot"
[sources.flywheel]
vendor = "flywheel"
key = "in-flywheel"
[sources.thrivestack]
vendor = "thrivestack"
key = "in-thrivestack"
[sources.appizer]
vendor = "appizer"
key = "in-appizer"
{destinations}
[[routes]]
to = ["userpilot", "flywheel", "thrivestack", "appizer"]
"""
VENDORS = ("userpilot", "flywheel", "thrivestack", "appizer")


class Process:
    """A ``trackgate`` command that says on standard output where it listens."""

    module = "trackgate"

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / "log"
        self.out_path = folder / "out"
        with self.log_path.open("ab") as log, self.out_path.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                stdout=out,
                stderr=log,
                cwd=folder,
                env={**os.environ, **AS_INSTALLED, **environ},
            )
        self.url = until(self._announced)

    def _announced(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.log_path.read_text()[-2000:]}")
        found = re.search(r"listens? at (http://\S+)", self.out_path.read_text())
        return found and found[1]

    def log(self) -> list[dict[str, Any]]:
        """The lines logged so far."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]

    def family(self) -> dict[str, int]:
        """The processes that a gateway with several workers consists of: what they are called -> their ids."""
        own = self.process.pid
        forked = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return {"supervisor": own, **{_called(pid): int(pid) for pid in forked}}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(GUARD)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(GUARD)


def _called(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("tg-")


def runs(pid: int) -> bool:
    """Whether a process that is not our child runs, and not only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(look: Callable[[], Any]) -> Any:
    """The first true thing that ``look`` gives."""
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"never came true: {look}")


def destinations(sandbox: str, **more: str) -> str:
    """The tables of four destinations at an emulator; ``more`` adds lines to one."""
    return "\n".join(
        f'[destinations.{name}]\nvendor = "{name}"\nkey = "out-{name}"\nurl = "{sandbox}/{name}"\n{more.get(name, "")}'
        for name in VENDORS
    )


class Stage:
    """A folder with a configuration, an emulator that runs all the time, and gateways started on it."""

    def __init__(self, folder: Path, server: str = "", **more: str) -> None:
        self.folder = folder
        self.sandbox = Process(folder / "sandbox", "sandbox", "--listen", "127.0.0.1:0")
        self.config = folder / "routes.toml"
        self.configure(server, **more)
        self.started: list[Process] = [self.sandbox]

    def configure(self, server: str = "", **more: str) -> None:
        tables = destinations(self.sandbox.url, **more)
        self.config.write_text(ROUTES.format(data=self.folder / "data", server=server, destinations=tables))

    def start(self, kind: Callable[..., Process] = Process) -> Process:
        gateway = kind(self.folder / "gateway", "serve", "--config", str(self.config))
        self.started.append(gateway)
        return gateway

    def received(self, **filters: str) -> list[dict[str, Any]]:
        return received(self.sandbox.url, **filters)

    def fail(self, **how: Any) -> None:
        httpx.post(f"{self.sandbox.url}/-/fail", json=how).raise_for_status()

    def mend(self) -> None:
        httpx.delete(f"{self.sandbox.url}/-/fail").raise_for_status()

    def end(self) -> None:
        for process in self.started:
            if process.process.poll() is None:
                process.kill()


@contextmanager
def stage(folder: Path, server: str = "", **more: str) -> Iterator[Stage]:
    made = Stage(folder, server, **more)
    try:
        yield made
    finally:
        made.end()


def received(sandbox: str, **filters: str) -> list[dict[str, Any]]:
    """What the emulated vendors got, the newest 10,000 at the most."""
    reply = httpx.get(f"{sandbox}/-/received", params={"limit": "10000", **filters}).raise_for_status()
    return list(reply.json())


def arrived(sandbox: str, event_id: str, count: int) -> list[dict[str, Any]]:
    """The calls that brought an event, once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        seen = received(sandbox, id=event_id)
        return seen if len(seen) == count else None

    return list(until(look))


def metrics(gateway: Process) -> dict[str, float]:
    """Sample line -> value."""
    lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def appizer(number: int, user: str | None = None) -> dict[str, Any]:
    """The body of a made-up Appizer call."""
    return {"event_name": "counted", "user_id": user or f"user-{number % 50}", "properties": {"number": number}}


def number_of(call: dict[str, Any]) -> int:
    """The number that an event was sent with, as a vendor got it."""
    body = call["body"][0] if isinstance(call["body"], list) else call["body"]
    body = body.get("event") if isinstance(body.get("event"), dict) else body
    number: int = (body.get("properties") or body.get("metadata"))["number"]
    return number


def end_at_once(gateway: Process) -> None:
    """Send SIGTERM while calls are in flight, and again while it drains."""
    until(lambda: sum(n for line, n in metrics(gateway).items() if line.startswith("trackgate_in_flight")) > 0)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: any(line["event"] == "gateway.draining" for line in gateway.log()))
    assert gateway.stop() == 128 + signal.SIGTERM
