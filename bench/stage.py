"""What the cases share: one sink, the files of calls, the load, prepared backlogs, and ends for everything started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import msgspec
from msgspec import Struct

from bench import calls
from bench.gateway import Gateway, nowhere
from bench.generator import Sent
from bench.machine import Cores, wrk_version
from bench.processes import ROOT, BenchError, Process, python
from bench.sink import Sink

SCRIPT = Path(__file__).with_name("load.lua")
CALLERS = 64
"""Connections that calls come on."""
BATCH_CALLERS = 8
"""The same for the batch endpoint: more only wait for each other."""
LARGE_USERS = 1000
"""Users at the most where properties are large: a file of their calls has to fit into memory."""
PREPARED = 300.0
"""Seconds in which a backlog has to be prepared."""


class Options(Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 5
    seconds: float = 2.0
    """Of each measuring window."""
    rest: float = 10.0
    """Seconds of the window at rest."""
    users: int = 10_000
    waiting: int = 1_000_000
    """Events of the large backlog."""
    fans: tuple[int, ...] = (1, 4, 8, 16)
    """Destinations that one event is handed to."""
    sizes: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """KB of properties."""


class Stage:
    """Everything that runs during one run of the benchmark; a context manager that ends all of it.

    Args:
        options: how much.
        place: on a real disk; gets a folder for data and logs, which goes at the end.

    """

    def __init__(self, options: Options, place: Path) -> None:
        self.options = options
        self._place = place
        self.cores = Cores.share()
        self.commands: dict[str, str] = {}
        """Who -> the command that it was started with, the last one."""
        self.facts: dict[str, float] = {}
        """What a case found out that a later one builds on."""
        self._stack = ExitStack()
        self._files: dict[str, Path] = {}
        self._backlogs: dict[int, Path] = {}
        self._started = 0

    def __enter__(self) -> Self:
        self._place.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix="run-", dir=self._place.resolve(), ignore_cleanup_errors=True)
        self.work = Path(self._stack.enter_context(folder))
        self.sink = Sink(self._start("sink", self.cores.sink, python("bench.sink")).url())
        self._stack.callback(self.sink.close)
        bound, self.nowhere = nowhere()
        self._stack.callback(bound.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- what is measured ---------------------------------------------------------------------------------------

    @contextmanager
    def gateway(
        self,
        *names: str,
        vendor: str = "userpilot",
        dead: Mapping[str, str] | None = None,
        data: Path | None = None,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[Gateway]:
        """A gateway that delivers every event to the sink under these names, and to ``dead`` ones elsewhere."""
        destinations = {name: f"{self.sink.url}/{name}" for name in names} | dict(dead or {})
        folder = self._folder("gateway")
        gateway = Gateway(
            folder, self.cores.measured, destinations, vendor=vendor, data=data, workers=workers, environ=environ
        )
        self._note("gateway", gateway.process.command)
        try:
            yield gateway
        finally:
            gateway.kill()
            shutil.rmtree(folder)

    @contextmanager
    def server(self, who: str, module: str, *arguments: str, **environ: str) -> Iterator[str]:
        """Another server on the gateway's cores; its address."""
        process = self._start(who, self.cores.measured, python(module, *arguments), environ)
        try:
            yield process.url()
        finally:
            process.kill()

    def limit(self, who: str, *arguments: object) -> float:
        """What a limit that runs by itself reaches a second."""
        command = python("bench.limits", *arguments, "--seconds", self.options.seconds)
        return float(self._start(who, self.cores.measured, command).result(self.options.seconds))

    # --- load ---------------------------------------------------------------------------------------------------

    def calls(self, kind: str = "single", kilobytes: float = calls.SMALL) -> Path:
        """A file of calls, made once: ``single``, ``batch``, or ``large`` with properties of a size."""
        name = f"{kind}-{kilobytes:g}"
        if name not in self._files:
            users = self.options.users
            makers: dict[str, Callable[[], Iterator[bytes]]] = {
                "single": lambda: calls.single(users),
                "batch": lambda: calls.batches(users),
                "large": lambda: calls.large(min(users, LARGE_USERS), kilobytes),
            }
            self._files[name] = calls.write(self.work / name, makers[kind]())
        return self._files[name]

    def flat_out(
        self, url: str, file: Path, *, callers: int = CALLERS, seconds: float | None = None, wrk: bool = True
    ) -> float:
        """Calls a second that are answered, as many as there can be; by wrk where it is found and knows such a time."""
        seconds = seconds or self.options.seconds
        if not wrk or wrk_version() is None or seconds != int(seconds):
            return self._rate(self.generate(url, file, "--connections", callers, seconds=seconds).result(seconds))
        command = ["wrk", "-t1", f"-c{callers}", f"-d{int(seconds)}s", "-s", str(SCRIPT), url, "--", str(file)]
        return self._rate(self._start("wrk", self.cores.load, command).result(seconds))

    def generate(self, url: str, file: Path, *arguments: object, seconds: float) -> Process:
        """Our own generator, started; its ``result`` is a ``Sent``."""
        command = python("bench.generator", url, file, "--seconds", seconds, *arguments)
        return self._start("generator", self.cores.load, command)

    @staticmethod
    def sent(said: Any) -> Sent:
        """What a load says of itself.

        Raises:
            BenchError: not every call was answered well: a rate with failures in it is worth nothing.

        """
        sent = msgspec.convert(said, Sent)
        if sent.refused or sent.broken:
            raise BenchError(f"{sent.refused} calls were refused and {sent.broken} not answered, {sent.answered} were")
        return sent

    def _rate(self, said: Any) -> float:
        sent = self.sent(said)
        if not sent.answered:
            raise BenchError(f"no call was answered within {sent.seconds:g} s")
        return sent.answered / sent.seconds

    # --- backlogs -----------------------------------------------------------------------------------------------

    @contextmanager
    def backlog(self, events: int) -> Iterator[Path]:
        """A data directory in which so many events wait for ``late``, to be used up."""
        if events not in self._backlogs:
            self._backlogs[events] = self._prepare(events)
        folder = self._folder("backlog")
        shutil.copytree(self._backlogs[events], folder, copy_function=_copy)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def _prepare(self, events: int) -> Path:
        """Through the batch endpoint, while the destination refuses connections."""
        data = self._folder(f"backlog-of-{events}")
        each = min(calls.BATCH, self.options.users)
        with self.gateway(dead={"late": self.nowhere}, data=data) as gateway:
            arguments = ("--calls", -(-events // each), "--connections", BATCH_CALLERS)
            self.sent(self.generate(gateway.url, self.calls("batch"), *arguments, seconds=PREPARED).result(PREPARED))
            if gateway.waiting() < events:
                raise BenchError(f"{gateway.waiting()} of {events} events wait")
            gateway.stop()
        return data

    # --- processes ----------------------------------------------------------------------------------------------

    def _start(self, who: str, cores: str, command: list[str], environ: Mapping[str, str] | None = None) -> Process:
        self._note(who, command)
        process = Process(self._folder(who.replace(" ", "-")), cores, command, environ)
        self._stack.callback(process.kill)  # one that has ended is only forgotten
        return process

    def _folder(self, name: str) -> Path:
        self._started += 1
        return self.work / f"{self._started:04}-{name}"

    def _note(self, who: str, command: list[str]) -> None:
        words = [word.replace(f"{self.work}/", "").replace(f"{ROOT}/", "") for word in command]
        self.commands[who] = " ".join(["python" if words[0] == command[0] and "-m" in words else words[0], *words[1:]])


def _copy(source: str, target: str) -> None:
    """Down to the disk, or the copy's way there is measured with what comes next."""
    shutil.copy2(source, target)
    with Path(target).open("rb") as copied:
        os.fsync(copied.fileno())
