"""The program itself, as a process with its default settings: fsync, logs on, to a file."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from bench.calls import KEY
from bench.processes import BenchError, Process, python, until

SOURCES = {"single": "userpilot", "batch": "thrivestack", "large": "appizer"}
"""Source -> its vendor: one event a call, many, and one with large properties."""

DEAD = "trackgate_dead{"
"""How the samples of one metric begin, a destination each."""

HEAD = """[server]
listen = "127.0.0.1:0"
data = "{data}"
"""
SOURCE = """
[sources.{name}]
vendor = "{vendor}"
key = "{key}"
"""
DESTINATION = """
[destinations.{name}]
vendor = "{vendor}"
key = "out-key"
url = "{url}"
"""
ROUTE = """
[[routes]]
to = [{names}]
"""


class Gateway:
    """A gateway that runs from its construction to ``kill`` or ``stop``.

    Args:
        folder: for its configuration, its log and, unless ``data`` is given, its outbox.
        cores: where it may run.
        destinations: name -> url; every event goes to all of them.
        vendor: the dialect of the destinations.
        data: an outbox that is there already.
        workers: processes that take calls and deliver.
        environ: variables beside those that there are.

    """

    def __init__(
        self,
        folder: Path,
        cores: str,
        destinations: Mapping[str, str],
        *,
        vendor: str,
        data: Path | None = None,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "routes.toml"
        config.write_text(routes(data or folder / "data", destinations, vendor), encoding="utf-8")
        start = time.monotonic()
        command = python("trackgate", "serve", "--config", config, "--workers", workers)
        self.process = Process(folder / "process", cores, command, environ)
        try:
            self.url = self.process.url()
            self._client = httpx.Client(base_url=self.url, trust_env=False)
            until(self._ready, "the gateway does not become ready", pause=0.002)
        except BaseException:
            self.process.kill()
            raise
        self.ready_after = time.monotonic() - start
        """Seconds from its start to the first good answer of ``/readyz``."""

    def metrics(self) -> dict[str, float]:
        """Sample line -> value."""
        lines = self._client.get("/metrics").raise_for_status().text.splitlines()
        parted = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {name: float(value) for name, _, value in parted}

    def accepted(self) -> int:
        """Events stored so far, over all sources and all runs on this outbox."""
        return int(sum(value for name, value in self.metrics().items() if name.startswith("trackgate_accepted_total")))

    def waiting(self) -> int:
        """Deliveries that wait, over all destinations."""
        return int(sum(value for name, value in self.metrics().items() if name.startswith("trackgate_due{")))

    def check(self) -> None:
        """See that nothing died and nothing was turned away: a figure with losses in it is worth nothing.

        Raises:
            BenchError: something did.

        """
        said = self.metrics()
        if not any(name.startswith(DEAD) for name in said):
            raise BenchError(f"the gateway does not say how much is {DEAD}...")
        for name, value in said.items():
            if value and name.startswith((DEAD, "trackgate_rejected_total", "trackgate_refused_total")):
                raise BenchError(f"the gateway says {name} {value:g}")

    def stop(self) -> None:
        """As an operator does: what is under way ends, the outbox is closed."""
        self._client.close()
        self.process.stop()

    def kill(self) -> None:
        """As a power cut does."""
        self._client.close()
        self.process.kill()

    def _ready(self) -> bool:
        self.process.check()
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


def nowhere() -> tuple[socket.socket, str]:
    """An address where connections are refused for as long as the socket stays open."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


def routes(data: Path, destinations: Mapping[str, str], vendor: str) -> str:
    """The configuration: nothing is set but addresses, keys, sources, destinations (name -> url) and a route."""
    parts = [HEAD.format(data=data)]
    parts += [SOURCE.format(name=name, vendor=each, key=KEY) for name, each in SOURCES.items()]
    parts += [DESTINATION.format(name=name, vendor=vendor, url=url) for name, url in destinations.items()]
    parts.append(ROUTE.format(names=", ".join(f'"{name}"' for name in destinations)))
    return "".join(parts)
