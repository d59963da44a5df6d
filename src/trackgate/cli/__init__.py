"""The command line: one program, ``trackgate``."""

from __future__ import annotations

from importlib.metadata import version

import click

from trackgate.cli.check import check
from trackgate.cli.dead import dead
from trackgate.cli.destinations import drop, move, resume
from trackgate.cli.explain import explain
from trackgate.cli.find import find
from trackgate.cli.health import health
from trackgate.cli.sandbox import sandbox
from trackgate.cli.serve import serve
from trackgate.cli.status import status
from trackgate.cli.trying import try_source


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("trackgate"), prog_name="trackgate")
def main() -> None:
    """A durable gateway for the track calls of analytics vendors.

    An app sends events in one vendor's format; Trackgate answers as that vendor would, keeps the event on disk, and
    delivers it to every vendor that routes.toml names, in that vendor's own format.
    """


for command in (serve, check, sandbox, explain, try_source, health, status, find, dead, resume, move, drop):
    main.add_command(command)
