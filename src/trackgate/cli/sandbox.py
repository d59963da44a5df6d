"""``trackgate sandbox``."""

from __future__ import annotations

import asyncio
import signal
import sys

import click

from trackgate import vendors
from trackgate.address import Address
from trackgate.clock import SystemClock
from trackgate.curl import curl
from trackgate.sandbox import LISTEN, build
from trackgate.server import Bounds, Server, address_of, bind


@click.command(short_help="Run the emulated vendors.")
@click.option("--listen", default=LISTEN, show_default=True, metavar="HOST:PORT", help="Address to listen on.")
def sandbox(listen: str) -> None:
    """Run emulators of the four vendors: strict about their documents, failing on demand, with no memory after exit."""
    try:
        asyncio.run(_serve(Address.read(listen)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    except OSError as error:
        click.echo(f"the sandbox cannot start: {error}", err=True)
        sys.exit(1)


async def _serve(listen: Address) -> None:
    listener = bind(listen)
    address = address_of(listener)
    known = vendors.load()
    server = Server(build(known, SystemClock(), loopback_only=listen.loopback), Bounds(), grace=1)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    click.echo(f"The emulated vendors listen at http://{address}")
    for name, vendor in known.items():
        click.echo(f"  {vendor.title:<12} http://{address}/{name}")
    first = next(iter(known.values()))
    click.echo(f"  try it       {curl(first.sample(f'http://{address}/{first.name}', 'ANY_KEY'))}")
    click.echo(f"  received     curl http://{address}/-/received")
    click.echo(f"""  make it fail curl http://{address}/-/fail -d '{{"status": 503, "times": 3}}'""")
    await server.serve(sockets=[listener])
