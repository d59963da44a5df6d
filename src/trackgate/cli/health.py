"""``trackgate health``: for container probes, which must not need curl."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import httpx

from trackgate.cli.configured import config_option, usable
from trackgate.server import Listen

PATIENCE = 2.0
"""Seconds; a probe's own time limit is longer."""


@click.command()
@config_option
@click.option("--ready", is_flag=True, help="Ask whether new events are taken, not only whether the process lives.")
def health(path: Path, *, ready: bool) -> None:
    """Ask the gateway that listens at the configured address how it is; exit 0 if well."""
    config = usable(path, {}, placeholders=True)
    listen = Listen.read(config.server.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen.host, listen.host)  # noqa: S104 - a comparison
    url = f"http://{host}:{listen.port}{'/readyz' if ready else '/livez'}"
    try:
        reply = httpx.get(url, timeout=PATIENCE, trust_env=False)
    except httpx.HTTPError as error:
        click.echo(f"nobody answers at {url}: {error}", err=True)
        sys.exit(1)
    click.echo(reply.text)
    sys.exit(0 if reply.is_success else 1)
