"""``trackgate health``: for container probes, which must not need curl.

It runs every few seconds for as long as the container lives, so it asks with the standard library: the program's HTTP
client takes longer to import than all the rest of this.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import click

from trackgate.address import Address
from trackgate.cli.configured import config_option, stated

PATIENCE = 2.0
"""Seconds; a probe's own time limit is longer."""


@click.command(short_help="Check the health of a running gateway.")
@config_option
@click.option("--listen", metavar="HOST:PORT", envvar="TRACKGATE_LISTEN", help="The gateway's address.")
@click.option("--ready", is_flag=True, help="Check whether new events are accepted, not just whether it is alive.")
def health(path: Path, listen: str | None, *, ready: bool) -> None:
    """Check the health of the gateway at the configured address. Exits 0 if it is healthy."""
    try:
        at = Address.read(listen or stated(path, "listen"))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    asked = "/readyz" if ready else "/livez"
    connection = HTTPConnection(at.here.host, at.here.port, timeout=PATIENCE)
    try:
        connection.request("GET", asked)
        reply = connection.getresponse()
        text = reply.read().decode("utf-8", "replace")
    except (OSError, HTTPException, UnicodeError) as error:
        click.echo(f"nobody answers at http://{at.here}{asked}: {error}", err=True)
        sys.exit(1)
    finally:
        connection.close()
    click.echo(text)
    sys.exit(0 if 200 <= reply.status < 300 else 1)
