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


class Mistaken(Exception):  # noqa: N818 - said to an operator, who made a mistake
    """A request to the sandbox itself that it cannot follow; ``field`` is at fault, if one is."""

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
        raise _mistaken(error, into, words) from None


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
        raise _mistaken(error, into, words) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        known = ", ".join(into.__struct_encode_fields__)
        raise Mistaken(None, f"The body must be a JSON object with any of: {known}.") from None


def _mistaken(error: msgspec.ValidationError, into: type[Struct], words: Mapping[str, str]) -> Mistaken:
    place = _AT.search(str(error))
    field = place[1] if place else ""
    if unknown := _UNKNOWN.search(str(error)):
        name = f"{field}.{unknown[1]}".lstrip(".")
        prefix = f"{field}." if field else ""
        known = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
        among = ", ".join(word for word in known if "." not in word)
        return Mistaken(name, f"`{name}` is not known here; known are: {among}.")
    if field not in words:
        return Mistaken(None, f"It must be a JSON object with any of: {', '.join(into.__struct_encode_fields__)}.")
    return Mistaken(field, f"`{field}` must be {words[field]}.")
