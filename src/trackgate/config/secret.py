"""Strings that take ``${NAME}`` from the environment and ``${file:/path}`` from a file, and secrets made of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLACEHOLDER = "sandbox-placeholder"
"""Stands for a credential that is not there, where it will only ever reach the emulated vendors."""

EMPTY = "is empty: give it a value, or leave it away"
"""What to say of a value that is none."""

PLAIN = 'a secret in plain text: write "${NAME}" and set that variable, or "${file:/run/secrets/name}"'
"""What to say of one that is literal."""

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)"
    r"|\$\{(?:file:(?P<file>/[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*))\}"
    r"|(?P<bad>\$\{)"
)
_FIT_FOR_A_HEADER = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Unset(ValueError):  # noqa: N818 - the domain's word
    """A variable or a file that a string refers to is not there, or empty."""


class SecretUnreadable(OSError):  # noqa: N818 - the domain's word
    """A secret's file is gone, empty or not what it should be. The message names the file, never what it holds."""


class Secret:
    """A string that nobody may see: it has no readable ``str`` or ``repr`` and cannot be serialised.

    Variables are read once, when it is made; files each time that ``value`` is called, so that replacing the file
    replaces the secret.
    """

    __slots__ = ("_parts", "literal")

    def __init__(self, *parts: str | Path, literal: bool = False) -> None:
        self._parts = parts
        self.literal = literal
        """Whether it stands in the configuration in plain text."""

    @classmethod
    def read(cls, text: str, environ: Mapping[str, str]) -> Self:
        """Parse a string of the configuration.

        Raises:
            Unset: it names variables that are unset or empty; what is wrong with its files is told too.
            ValueError: a ``${`` is followed by neither; the words are for the one who wrote it.

        """
        parts: list[str | Path] = []
        unset: list[str] = []
        at = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[at : match.start()])
            try:
                parts.append(_part(match, environ))
            except Unset as error:
                unset.append(str(error))
            at = match.end()
        parts.append(text[at:])
        if unset:
            raise Unset(_together([*unset, *_read(parts)[1]]))
        return cls(*parts, literal=not any(match["name"] or match["file"] for match in _REFERENCE.finditer(text)))

    @property
    def from_file(self) -> bool:
        """Whether a file has a say in it."""
        return any(isinstance(part, Path) for part in self._parts)

    def value(self) -> str:
        """The secret itself, files read anew (without their trailing newlines).

        Raises:
            SecretUnreadable: a file cannot be read, is empty, or is not text; every such file is told.

        """
        value, faults = _read(self._parts)
        if faults:
            raise SecretUnreadable(_together(faults))
        return value

    def credential(self) -> str:
        """The secret itself, as something that goes into a header.

        Raises:
            SecretUnreadable: as ``value``; or it is nothing that a header can carry.

        """
        value = self.value()
        if not value:
            raise SecretUnreadable(EMPTY)
        if not _FIT_FOR_A_HEADER.fullmatch(value):
            raise SecretUnreadable("holds what no HTTP header can carry: use visible ASCII, without spaces around it")
        return value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


def is_readable(secret: Secret) -> bool:
    """Whether its files are there just now."""
    try:
        secret.credential()
    except SecretUnreadable:
        return False
    return True


def _part(match: re.Match[str], environ: Mapping[str, str]) -> str | Path:
    if match["escaped"]:
        return "${"
    if match["bad"]:
        raise ValueError(
            "`${` must begin ${NAME} or ${file:/path}, with the whole path from /; write $${ for a literal ${"
        )
    if match["file"]:
        return Path(match["file"])
    name = match["name"]
    if not environ.get(name):
        how = "empty" if name in environ else "not set"
        raise Unset(f"the variable {name} is {how}: set it")
    return environ[name]


def _read(parts: Iterable[str | Path]) -> tuple[str, list[str]]:
    """The parts put together as far as they can be read, and what is wrong with the others."""
    texts: list[str] = []
    faults: list[str] = []
    for part in parts:
        try:
            texts.append(_file_text(part) if isinstance(part, Path) else part)
        except SecretUnreadable as error:
            faults.append(str(error))
    return "".join(texts), faults


def _together(faults: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(faults))


def _file_text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretUnreadable(f"the file {path} is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or "no valid path"
        raise SecretUnreadable(f"the file {path} cannot be read ({why}): put it there") from None
    if not text:
        raise SecretUnreadable(f"the file {path} is empty: write the secret into it")
    return text
