"""How the operators' commands reach the outbox: by the running gateway's control socket, else in this process.

Both ways speak the same HTTP to the same app, so that a command is written once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import httpx
import msgspec
from msgspec import Struct

from trackgate.cli.configured import WRONG, config_option, errors_in, read, stated
from trackgate.clock import SystemClock
from trackgate.data import CONTROL, SANDBOX, directory, open_outbox
from trackgate.log import configure
from trackgate.operate.answers import Refusal
from trackgate.operate.operator import Operator
from trackgate.operate.web import build
from trackgate.outbox import OutboxError
from trackgate.outboxes.sqlite.database import FILE
from trackgate.outboxes.sqlite.reader import SqliteReader
from trackgate.sandbox import LISTEN as SANDBOX_LISTEN
from trackgate.sandbox import redirected
from trackgate.unix_socket import path_to

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from trackgate.config import Destination

FAILED = 1
"""Exit status: not found, nothing to do, or it failed."""

PATIENCE = 60.0
"""Seconds for one answer: a large outbox takes its time."""

STDERR = 2

Answer = TypeVar("Answer", bound=Struct)
Command = TypeVar("Command", bound="Callable[..., Any]")


class Where(Struct, frozen=True, kw_only=True):
    """Which outbox is meant, and how to say what is said."""

    config: Path
    data: str | None
    sandbox: bool
    as_json: bool


class Failed(Exception):  # noqa: N818 - told in words
    """A command cannot do what it was asked; ``status`` is what the program exits with."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


class Operators:
    """The operators' app, wherever it runs. ``live``: in a running gateway."""

    def __init__(self, client: httpx.AsyncClient, *, live: bool) -> None:
        self._client = client
        self.live = live

    async def get(self, path: str, into: type[Answer], **query: Any) -> Answer:
        """Ask.

        Raises:
            Failed: in the words of the refusal.

        """
        given = {name: value for name, value in query.items() if value is not None}
        return _read(await self._client.get(path, params=given), into)

    async def post(self, path: str, into: type[Answer], **body: Any) -> Answer:
        """Order; ``Failed`` as in ``get``."""
        return _read(await self._client.post(path, json=body), into)


def operated(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all of these commands take, handed over as one ``Where``."""

    @wraps(command)
    def packed(path: Path, data: str | None, *, sandbox: bool, as_json: bool, **rest: Any) -> Any:
        return command(Where(config=path, data=data, sandbox=sandbox, as_json=as_json), **rest)

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--sandbox",
            is_flag=True,
            envvar="TRACKGATE_SANDBOX",
            show_envvar=True,
            help="Use the outbox of `serve --sandbox`, which has a directory of its own.",
        ),
        click.option("--data", metavar="DIR", help="Data directory; overrides TRACKGATE_DATA and the file."),
        config_option,
    ):
        packed = option(packed)
    return packed


def operate(where: Where, main: Callable[[Operators], Awaitable[Answer]], *, changes: bool = False) -> Answer:
    """Do what ``main`` does with the operators' app; ends the program in words where that fails.

    Args:
        where: which outbox.
        main: asks and orders.
        changes: whether it orders; without a running gateway the outbox is ours as long as that takes.

    """
    try:
        return asyncio.run(_operate(where, main, changes=changes))
    except Failed as failed:
        click.echo(str(failed), err=True)
        sys.exit(failed.status)
    except httpx.TimeoutException:
        click.echo(
            f"the gateway gave no answer within {PATIENCE:.0f} s, and may still do it: trackgate status", err=True
        )
        sys.exit(FAILED)
    except httpx.TransportError:
        click.echo(
            "the gateway went away before it answered; what was told as done is done, and the same command does the"
            " rest: see why it ended (its log), and start it (trackgate serve)",
            err=True,
        )
        sys.exit(FAILED)
    except (OutboxError, httpx.HTTPError) as error:
        click.echo(str(error) or type(error).__name__, err=True)
        sys.exit(FAILED)


async def _operate(where: Where, main: Callable[[Operators], Awaitable[Answer]], *, changes: bool) -> Answer:
    data = directory(Path(stated(where.config, "data", where.data)), sandbox=where.sandbox)
    async with AsyncExitStack() as stack:
        transport: httpx.AsyncBaseTransport | None = _socket(data, stack)
        live = transport is not None
        if transport is None:
            transport = await stack.enter_async_context(_here(where, data, changes=changes))
        client = httpx.AsyncClient(transport=transport, base_url="http://trackgate", timeout=PATIENCE, trust_env=False)
        return await main(Operators(await stack.enter_async_context(client), live=live))


def _socket(data: Path, stack: AsyncExitStack) -> httpx.AsyncHTTPTransport | None:
    """The way to the gateway that owns the directory; ``None`` where nobody answers there."""
    try:
        path = stack.enter_context(path_to(data, CONTROL))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except PermissionError:
        raise Failed(f"the data directory {data} is another user's: run this as that user") from None
    return httpx.AsyncHTTPTransport(uds=path)


@asynccontextmanager
async def _here(where: Where, data: Path, *, changes: bool) -> AsyncGenerator[httpx.AsyncBaseTransport]:
    """The app in this process. What only reads takes no lock: a gateway must be able to start meanwhile."""
    config, faults = read(where.config, {"data": where.data}, placeholders=True)
    if config is None:
        why = f"no gateway answers in {data}, and without one this file must be right:"
        raise Failed(f"{why}\n{errors_in(faults)}", WRONG)
    _check_there(data, sandbox=where.sandbox)
    clock = SystemClock()
    # What is changed is told on stderr: no gateway's log has it.
    log, writer = configure(STDERR, clock, style=config.server.log_format, level="info" if changes else "warning")
    outbox = await open_outbox(data, config, clock, log) if changes else None
    try:
        operator = Operator(
            lambda: SqliteReader(data),
            outbox,
            sources=config.sources,
            destinations=_leading_to(config.destinations, sandbox=where.sandbox),
            running=None,
            clock=clock,
            log=log,
        )
        app: Any = build(operator, clock)  # the two libraries' words for an app differ in their types alone
        yield httpx.ASGITransport(app)
    finally:
        if outbox is not None:
            await outbox.close()
        writer.close()


def _leading_to(destinations: Mapping[str, Destination], *, sandbox: bool) -> Mapping[str, Destination]:
    """Where the gateway of this outbox would send."""
    if not sandbox:
        return destinations
    return redirected(destinations, os.environ.get("TRACKGATE_SANDBOX_LISTEN") or SANDBOX_LISTEN)


def _check_there(data: Path, *, sandbox: bool) -> None:
    other = data.parent if sandbox else data / SANDBOX
    if not (data / FILE).exists() and (other / FILE).exists():
        hint = "leave --sandbox out" if sandbox else "add --sandbox (or set TRACKGATE_SANDBOX=1)"
        raise Failed(f"there is no outbox in {data}, but there is one in {other}: {hint} to mean that", WRONG)
    if not (data / FILE).exists():
        what = "outbox in" if data.is_dir() else "data directory"
        raise Failed(f"there is no {what} {data}: name it with --data, or start the gateway (trackgate serve)", WRONG)
    SqliteReader(data).close()


def _read(reply: httpx.Response, into: type[Answer]) -> Answer:
    if reply.is_success:
        return msgspec.json.decode(reply.content, type=into)
    try:
        refusal = msgspec.json.decode(reply.content, type=Refusal)
    except msgspec.MsgspecError:
        raise Failed(f"the gateway answered {reply.status_code}: look at its log") from None
    raise Failed(refusal.message, WRONG if reply.status_code == 400 else FAILED)


def show(where: Where, answer: Struct, readable: Callable[[], str]) -> None:
    """Print an answer: as JSON, or for people."""
    if where.as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        click.echo(readable())
