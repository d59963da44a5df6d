"""What the commands share: where routes.toml is, and what is said when it cannot be used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackgate.config import describe, load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.config import Config, Fault

Command = TypeVar("Command", bound=Callable[..., Any])

WRONG = 2
"""Exit status: the configuration has errors."""


def config_option(command: Command) -> Command:
    """``--config``, which ``TRACKGATE_CONFIG`` sets too."""
    return click.option(
        "--config",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("routes.toml"),
        envvar="TRACKGATE_CONFIG",
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def read(
    path: Path, overrides: Mapping[str, str | None], *, placeholders: bool = False
) -> tuple[Config | None, tuple[Fault, ...]]:
    """The configuration and what is wrong with it; flags that were not given are left out."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return load(path, os.environ, given, sandbox=placeholders)


def usable(path: Path, overrides: Mapping[str, str | None], *, placeholders: bool = False) -> Config:
    """The configuration; ends the program with everything that is wrong if it cannot be used."""
    config, faults = read(path, overrides, placeholders=placeholders)
    return accepted(config, faults)


def accepted(config: Config | None, faults: tuple[Fault, ...]) -> Config:
    """The configuration, if it has no errors; warnings are for ``check`` and the log."""
    if config is None:
        click.echo(describe(faults), err=True)
        sys.exit(WRONG)
    return config
