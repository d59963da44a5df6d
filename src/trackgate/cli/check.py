"""``trackgate check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackgate.cli.configured import WRONG, config_option, read
from trackgate.cli.tables import count
from trackgate.config import Fault, describe
from trackgate.outbox import OutboxError
from trackgate.outboxes.sqlite.database import FILE
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

    from trackgate.config import Config


@click.command(short_help="Find everything wrong with routes.toml.")
@config_option
@click.option("--strict", is_flag=True, help="Exit 1 if there are warnings.")
def check(path: Path, *, strict: bool) -> None:
    """Read routes.toml and report everything that is wrong with it, line by line.

    If the data directory exists, destinations that still have a queue there but are no longer in the file are
    reported too.

    Exits 0 if the file can be used, 1 if it has warnings (with --strict), 2 if it has errors.
    """
    config, faults = read(path, {})
    if config is not None:
        faults = (*faults, *_left_behind(config))
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


def _left_behind(config: Config) -> Iterator[Fault]:
    """A warning for each destination that has left the file, and has something in the outbox."""
    if not (config.server.data / FILE).exists():
        return
    try:
        with SqliteReader(config.server.data) as reader:
            tallies = reader.ledger().destinations
    except OutboxError as error:
        yield Fault("warning", str(config.path), None, "server.data", str(error))
        return
    for name, tally in tallies.items():
        if name not in config.destinations and (tally.waiting or tally.dead):
            words = f"{count(tally.waiting, 'event')} wait{'s' * (tally.waiting == 1)} for it"
            if tally.dead:
                words += f" ({count(tally.dead)} more are dead)"
            advice = f"put it back, or `trackgate move {name} NEW`"
            yield Fault("warning", str(config.path), None, "", f"`{name}` is not in this file and {words}: {advice}")


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
