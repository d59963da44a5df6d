"""What is wrong with a configuration: every fault at once, each with its line and what to do about it."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trackgate.config.lines import Place

Level = Literal["error", "warning"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Fault(Struct, frozen=True):
    """One thing that is wrong. ``key`` is dotted; ``line`` is ``None`` where it stands in no file (a variable).

    ``message`` says what to do. It never holds a value that came from the environment, a file or a secret.
    """

    level: Level
    file: str
    line: int | None
    key: str
    message: str


def describe(faults: Iterable[Fault]) -> str:
    """Faults for people, one a line: ``routes.toml:12: error: destinations.web.kee: unknown key``."""
    return "\n".join(
        ": ".join(
            part
            for part in (
                fault.file if fault.line is None else f"{fault.file}:{fault.line}",
                fault.level,
                fault.key,
                fault.message,
            )
            if part
        )
        for fault in faults
    )


class Faults:
    """Gathers the faults of one file.

    Args:
        file: as people know it.
        lines: from ``lines.locate``.
        routes: the name of each route by its position, for the keys.

    """

    def __init__(self, file: str, lines: Mapping[Place, int], routes: Mapping[int, str]) -> None:
        self._file = file
        self._lines = lines
        self._routes = routes
        self._found: list[Fault] = []

    def error(self, path: Place, message: str) -> None:
        """Add what ``serve`` refuses."""
        self._found.append(Fault("error", self._file, self._line(path), self._key(path), message))

    def warn(self, path: Place, message: str) -> None:
        """Add what works, and yet is hardly meant."""
        self._found.append(Fault("warning", self._file, self._line(path), self._key(path), message))

    def outside(self, place: str, path: Place, message: str) -> None:
        """Add an error that stands in a variable or a flag instead of the file."""
        self._found.append(Fault("error", place, None, self._key(path), message))

    def knows(self, path: Place) -> bool:
        """Whether the file says something there."""
        return path in self._lines

    def all(self) -> tuple[Fault, ...]:
        """What was found, in the order of the lines."""
        return tuple(sorted(self._found, key=lambda fault: fault.line or 0))

    def _line(self, path: Place) -> int:
        """The line of the innermost part of the path that the file has."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _key(self, path: Place) -> str:
        key = ""
        for index, part in enumerate(path):
            if isinstance(part, str):
                key += ("." if key else "") + quoted(part)
            elif index == 1 and part in self._routes:
                key += f".{self._routes[part]}"
            else:
                key += f"[{part}]"
        return key


def closest(name: str, known: Iterable[str]) -> str | None:
    """What was probably meant."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean "key"?``, or nothing."""
    meant = closest(name, known)
    return f"; did you mean {json.dumps(meant)}?" if meant else ""


def listed(names: Iterable[str]) -> str:
    """Names in words: ``a, b``, or ``none``."""
    return ", ".join(quoted(name) for name in names) or "none"


def quoted(name: str) -> str:
    """A name as a key of TOML would be written: in quotes only where it needs them."""
    return name if _BARE.fullmatch(name) else json.dumps(name)
