"""What the commands share: where routes.toml is, and what is said when it cannot be used."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from trackgate.config import Server, describe, load

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


def stated(path: Path, name: Literal["listen", "data"], given: str | None = None) -> str:
    """A string of ``[server]``, whatever else is wrong with the file; ``given`` is the flag.

    A bad edit, or a variable that is set for the gateway alone, must not hide a gateway that runs.
    """
    config, _ = read(path, {name: given}, placeholders=True)
    if config is not None:
        return str(getattr(config.server, name))
    if first := given or os.environ.get(f"TRACKGATE_{name.upper()}"):
        return first
    try:
        server = tomllib.loads(path.read_text(encoding="utf-8")).get("server")
    except (OSError, ValueError):
        server = None
    written = server.get(name) if isinstance(server, dict) else None
    return written if isinstance(written, str) else str(getattr(Server(), name))


def usable(path: Path, overrides: Mapping[str, str | None], *, placeholders: bool = False) -> Config:
    """The configuration; ends the program with every error if it cannot be used."""
    config, faults = read(path, overrides, placeholders=placeholders)
    return accepted(config, faults)


def accepted(config: Config | None, faults: tuple[Fault, ...]) -> Config:
    """The configuration, if it has no errors; warnings are for ``check`` and the log, and would hide them here."""
    if config is None:
        click.echo(errors_in(faults), err=True)
        sys.exit(WRONG)
    return config


def errors_in(faults: tuple[Fault, ...]) -> str:
    """What keeps the configuration from being used, for people."""
    return describe(fault for fault in faults if fault.level == "error")
