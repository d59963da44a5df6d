"""``trackgate check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackgate.cli.configured import WRONG, config_option, read
from trackgate.config import describe

if TYPE_CHECKING:
    from collections.abc import Sized


@click.command(short_help="Find everything that is wrong with routes.toml.")
@config_option
@click.option("--strict", is_flag=True, help="Exit 1 where there are warnings.")
def check(path: Path, *, strict: bool) -> None:
    """Read routes.toml and name everything that is wrong with it, each with its line.

    Exits 0 where it can be used, 1 where it has warnings (with --strict), 2 where it has errors.
    """
    config, faults = read(path, {})
    if faults:
        click.echo(describe(faults), err=True)
    if config is None:
        sys.exit(WRONG)
    warnings = len(faults)
    told = f", {warnings} warning{'s' * (warnings > 1)}" if warnings else ""
    click.echo(
        f"{path}: {_count(config.sources, 'source')}, {_count(config.destinations, 'destination')}, "
        f"{_count(config.routes, 'route')}; no errors{told}"
    )
    if strict and warnings:
        sys.exit(1)


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
