"""Reading what an operator asks, as a query or a JSON body; what is wrong with it is said by the field's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

Asked = TypeVar("Asked", bound=Struct)

_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")


class Mistaken(Exception):  # noqa: N818 - said to an operator, who made a mistake
    """A request that cannot be followed as it stands; ``field`` (dotted) is at fault, if one is."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def from_query(query: bytes, into: type[Asked], words: Mapping[str, str]) -> Asked:
    """Read a query string; see ``from_body``."""
    fields = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"))
    try:
        return msgspec.convert(fields, into, strict=False)
    except msgspec.ValidationError as error:
        raise mistaken(str(error), words) from None


def from_body(body: bytes, into: type[Asked], words: Mapping[str, str]) -> Asked:
    """Read a JSON body.

    Args:
        body: the bytes as they came.
        into: the Struct to read them into.
        words: field (dotted) -> what it must be.

    Raises:
        Mistaken: it is no JSON, or a field is not known or not what it must be.

    """
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise mistaken(str(error), words) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise no_object(words) from None


def no_object(words: Mapping[str, str]) -> Mistaken:
    """What to say of a body that is none."""
    return Mistaken(None, f"The body must be a JSON object with any of: {_among(words)}.")


def mistaken(complaint: str, words: Mapping[str, str]) -> Mistaken:
    """A complaint of msgspec's, in words that say what to do.

    Args:
        complaint: with its place in the value, ``... - at `$.match.event` ``.
        words: field (dotted) -> what it must be.

    """
    place = _AT.search(complaint)
    field = place[1] if place else ""
    prefix = f"{field}." if field else ""
    if unknown := _UNKNOWN.search(complaint):
        return not_known(prefix + unknown[1], words)
    if missing := _MISSING.search(complaint):
        field = prefix + missing[1]
    if field not in words:
        return no_object(words)
    return Mistaken(field, f"`{field}` must be {words[field]}.")


def not_known(field: str, words: Mapping[str, str]) -> Mistaken:
    """What to say of a field (dotted) that is none of ours."""
    prefix = field[: field.rfind(".") + 1]
    known = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    among = ", ".join(word for word in known if "." not in word)
    return Mistaken(field, f"`{field}` is not known here; known are: {among}.")


def _among(words: Mapping[str, str]) -> str:
    return ", ".join(word for word in words if "." not in word)
