"""``trackgate serve``."""

from __future__ import annotations

import gc
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvloop

from trackgate.address import Address
from trackgate.app.alone import Gateway
from trackgate.app.lifetime import FAILED, PartEnded, logging
from trackgate.cli.configured import accepted, config_option, read
from trackgate.clock import SystemClock
from trackgate.curl import curl
from trackgate.outbox import OutboxError
from trackgate.sandbox import LISTEN as SANDBOX_LISTEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from trackgate.config import Config

SWITCH_INTERVAL = 0.0002
"""Seconds after which a busy thread lets another run: the outbox's thread must not wait 5 ms at each step of a commit
beside a busy loop."""

GARBAGE = 20_000
"""Objects that pile up before Python looks among them for circles. Next to nothing here makes one, and at Python's own
700 the looking takes a sixth of the event loop's time and now and then holds up every call."""


@click.command(short_help="Run the gateway.")
@config_option
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on; overrides TRACKGATE_LISTEN and the file.")
@click.option("--data", metavar="DIR", help="Data directory; overrides TRACKGATE_DATA and the file.")
@click.option(
    "--workers",
    metavar="N",
    help="Number of processes that accept and deliver; overrides TRACKGATE_WORKERS and the file.",
)
@click.option(
    "--sandbox",
    is_flag=True,
    envvar="TRACKGATE_SANDBOX",
    show_envvar=True,
    help="Also run the emulated vendors, and send every delivery to them, never to a real vendor.",
)
@click.option(
    "--sandbox-listen",
    default=SANDBOX_LISTEN,
    envvar="TRACKGATE_SANDBOX_LISTEN",
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="Address of the emulated vendors.",
)
def serve(
    path: Path, listen: str | None, data: str | None, workers: str | None, *, sandbox: bool, sandbox_listen: str
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    config, faults = read(path, {"listen": listen, "data": data, "workers": workers}, placeholders=sandbox)
    config = accepted(config, faults)
    try:
        emulated = Address.read(sandbox_listen) if sandbox else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--sandbox-listen") from None
    clock = SystemClock()
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()  # what was imported stays, and need not be looked at again
    gc.set_threshold(GARBAGE)

    def announce(warning: Callable[..., None], address: str, sandbox_at: str | None) -> None:
        for fault in faults:
            warning("configuration.doubted", file=fault.file, line=fault.line, key=fault.key, message=fault.message)
        click.echo(_welcome(config, address, sandbox_at))

    try:
        if config.server.workers > 1:
            # One process needs none of this, and starts the sooner.
            from trackgate.app.supervisor import Supervisor  # noqa: PLC0415 - only where there is something to supervise

            sys.exit(Supervisor(config, clock, sandbox=emulated).run(announce))
        with logging(config, clock) as log:
            uvloop.run(Gateway(config, log, clock, sandbox=emulated).run(partial(announce, log.warning)))
    except PartEnded:
        sys.exit(FAILED)
    except (OSError, OutboxError) as error:  # the log is closed: what it says is the last line
        click.echo(f"trackgate cannot start: {error}", err=True)
        sys.exit(FAILED)


def _welcome(config: Config, address: str, sandbox_at: str | None) -> str:
    """What a newcomer reads first."""
    lines = [
        f"Trackgate {version('trackgate')} listens at http://{address}",
        f"  sources       {', '.join(config.sources) or 'none'}",
        f"  destinations  {', '.join(config.destinations) or 'none'}",
    ]
    for source in list(config.sources.values())[:1]:
        call = source.vendor.sample(f"http://{address}", "YOUR_KEY" if source.keys else "ANY_KEY")
        lines.append(f"  try it        {curl(call)}")
    if sandbox_at is not None:
        lines += [
            f"  sandbox       every delivery goes to the emulated vendors at http://{sandbox_at}, none to a real one",
            f"  what arrived  curl http://{sandbox_at}/-/received",
        ]
    return "\n".join(lines)
