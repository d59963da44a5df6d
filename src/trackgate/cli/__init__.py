"""The command line: one program, ``trackgate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pkgutil import resolve_name

import click


class Commands(Mapping[str, click.Command]):
    """The commands by name, each imported when it is asked for: the gateway's start waits for no other's imports.

    Args:
        places: name -> ``module:command`` in this package.

    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = resolve_name(f"{__name__}.{self._places[name]}")
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


COMMANDS = Commands(
    {
        "check": "check:check",
        "dead": "dead:dead",
        "drop": "destinations:drop",
        "explain": "explain:explain",
        "find": "find:find",
        "health": "health:health",
        "move": "destinations:move",
        "resume": "destinations:resume",
        "sandbox": "sandbox:sandbox",
        "serve": "serve:serve",
        "status": "status:status",
        "try": "trying:try_source",
    }
)


@click.group(
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="trackgate", prog_name="trackgate")
def main() -> None:
    """A durable gateway for the track calls of analytics vendors.

    Your app sends events in one vendor's format. Trackgate answers as that vendor would, stores each event on disk, and
    delivers it to every vendor that routes.toml names, in that vendor's own format.
    """
