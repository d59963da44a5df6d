"""``trackgate sandbox``."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import click

from trackgate import vendors
from trackgate.address import Address
from trackgate.clock import SystemClock
from trackgate.curl import curl
from trackgate.sandbox import LISTEN, build
from trackgate.server import Bounds, Server, address_of, bind

if TYPE_CHECKING:
    from collections.abc import Mapping


def key_of_vendor(text: str) -> tuple[str, str]:
    """``VENDOR=KEY``, taken apart."""
    vendor, _, key = text.partition("=")
    known = vendors.load()
    if vendor not in known or not key:
        raise click.BadParameter(f"must be VENDOR=KEY, and the vendor one of {', '.join(known)}")
    return vendor, key


@click.command(short_help="Run the emulated vendors.")
@click.option("--listen", default=LISTEN, show_default=True, metavar="HOST:PORT", help="Address to listen on.")
@click.option(
    "--key",
    "keys",
    metavar="VENDOR=KEY",
    type=key_of_vendor,
    multiple=True,
    help="The only key that this vendor accepts; can be repeated. Default: any key is accepted.",
)
def sandbox(listen: str, keys: tuple[tuple[str, str], ...]) -> None:
    """Run emulators of the four vendors: strict about their documents, failing on demand, with no memory after exit."""
    try:
        asyncio.run(_serve(Address.read(listen), dict(keys)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    except OSError as error:
        click.echo(f"the sandbox cannot start: {error}", err=True)
        sys.exit(1)


async def _serve(listen: Address, keys: Mapping[str, str]) -> None:
    listener = bind(listen)
    address = address_of(listener)
    known = vendors.load()
    server = Server(build(known, SystemClock(), keys=keys, loopback_only=listen.loopback), Bounds(), grace=1)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    click.echo(f"The emulated vendors listen at http://{address}")
    for name, vendor in known.items():
        click.echo(f"  {vendor.title:<12} http://{address}/{name}")
    first = next(iter(known.values()))
    example = "YOUR_KEY" if first.name in keys else "ANY_KEY"
    click.echo(f"  try it       {curl(first.sample(f'http://{address}/{first.name}', example))}")
    click.echo(f"  received     curl http://{address}/-/received")
    click.echo(f"""  make it fail curl http://{address}/-/fail -d '{{"status": 503, "times": 3}}'""")
    await server.serve(sockets=[listener])
