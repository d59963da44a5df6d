"""``trackgate health``: for container probes, which must not need curl."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import httpx

from trackgate.address import Address
from trackgate.cli.configured import config_option, stated

PATIENCE = 2.0
"""Seconds; a probe's own time limit is longer."""


@click.command(short_help="Ask a running gateway how it is.")
@config_option
@click.option("--listen", metavar="HOST:PORT", envvar="TRACKGATE_LISTEN", help="Where the gateway listens.")
@click.option("--ready", is_flag=True, help="Ask whether new events are taken, not only whether the process lives.")
def health(path: Path, listen: str | None, *, ready: bool) -> None:
    """Ask the gateway that listens at the configured address how it is; exit 0 if well."""
    try:
        at = Address.read(listen or stated(path, "listen"))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    url = f"http://{at.here}{'/readyz' if ready else '/livez'}"
    try:
        reply = httpx.get(url, timeout=PATIENCE, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        click.echo(f"nobody answers at {url}: {error}", err=True)
        sys.exit(1)
    click.echo(reply.text)
    sys.exit(0 if reply.is_success else 1)
