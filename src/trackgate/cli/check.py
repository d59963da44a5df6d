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
    from collections.abc import Iterator

    from trackgate.config import Config
    from trackgate.outbox import DestinationTally


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
    errors = sum(fault.level == "error" for fault in faults)
    warnings = len(faults) - errors
    told = (count(errors, "error") if errors else "no errors") + (f", {count(warnings, 'warning')}" if warnings else "")
    if config is None:
        click.echo(f"{path}: {told}")
        sys.exit(WRONG)
    click.echo(
        f"{path}: {count(len(config.sources), 'source')}, {count(len(config.destinations), 'destination')}, "
        f"{count(len(config.routes), 'route')}; {told}"
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
            yield Fault("warning", str(config.path), None, "", _left(name, tally))


def _left(name: str, tally: DestinationTally) -> str:
    words, giving_up = [], []
    if tally.waiting:
        words.append(f"{count(tally.waiting, 'event')} wait{'s' * (tally.waiting == 1)} for it")
        giving_up.append(f"`trackgate drop {name}`")
    if tally.dead:
        words.append(f"{count(tally.dead, 'event')} {'is' if tally.dead == 1 else 'are'} dead there")
        giving_up.append(f"`trackgate dead drop --destination {name}`")
    return (
        f"`{name}` is not in this file and {', '.join(words)}: put it back, move what is there"
        f" (`trackgate move {name} NEW`), or give it up ({', '.join(giving_up)})"
    )
