"""A call's body, read and written: what the dialects' files share, each of which knows its own fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from trackgate.model import Call, Problem, ProblemKind, Reply

Wire = TypeVar("Wire", bound=Struct)

WORDS = {
    "str": "a string",
    "object": "an object",
    "bool": "a boolean",
    "array": "an array",
    "int": "an integer",
    "float": "a number",
}
"""msgspec's types as a caller would say them."""

BODY = "body"
"""What a problem's ``field`` says where the body itself is at fault, or an event that stands in it without a name."""

MAX_DEPTH = 100
"""Levels of nesting that a body may have; deeper ones are turned away before anything recurses into them."""


_CONTAINERS = frozenset({dict, list})

_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Whole escapes, so that the `u` behind an escaped backslash is none."""


def body_of(call: Call) -> Any:
    """The JSON value of a call's body.

    Raises:
        Problem: it is no JSON that can be kept faithfully (bad syntax, not UTF-8, NaN, lone surrogates, a number out
            of range, nested too deep).

    """
    if not call.body.strip():
        raise Problem(ProblemKind.INVALID, "The request body is empty; send a JSON body.", flaw="empty")
    try:
        value = msgspec.json.decode(call.body)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise Problem(ProblemKind.INVALID, "The request body is not valid UTF-8.", flaw="syntax") from None
    except msgspec.MsgspecError as error:
        raise _no_json(call.body, error) from None
    if call.body.count(b"[") + call.body.count(b"{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def read_fields(wire: type[Wire], value: Any, *, at: str = "", index: int | None = None) -> tuple[Wire, dict[str, Any]]:
    """An object as the vendor's wire Struct, and the fields that it does not declare.

    Args:
        wire: a Struct of the documented fields.
        value: what the body holds there.
        at: the path of the object, for messages (``event``); empty at the top.
        index: the place in a batch.

    Raises:
        Problem: it is no object, or a field is missing or of another type; the first such field is named.

    """
    if not isinstance(value, dict):
        raise mistyped(at or BODY, "an object", index)
    try:
        read = msgspec.convert(value, wire)
    except msgspec.ValidationError as error:
        raise _field_problem(error, at, index) from None
    return read, {key: inner for key, inner in value.items() if key not in wire.__struct_encode_fields__}


def required(value: str, name: str, index: int | None = None) -> str:
    """A required string: an empty one is a missing one.

    Raises:
        Problem: it is empty.

    """
    if not value:
        raise missing(name, index)
    return value


def missing(name: str, index: int | None = None) -> Problem:
    """The problem of a required field that is not there (or empty)."""
    return Problem(ProblemKind.INVALID, f"{_place(name, index)} is required.", field=name, index=index, flaw="missing")


def mistyped(name: str, expected: str, index: int | None = None) -> Problem:
    """The problem of a field with a value of another type or form than documented."""
    return Problem(
        ProblemKind.INVALID, f"{_place(name, index)} must be {expected}.", field=name, index=index, flaw="type"
    )


def batch_of(items: Any, limit: int, at: str) -> list[Any]:
    """The items of a batch.

    Args:
        items: what the body holds there.
        limit: the most that the vendor takes in one call.
        at: where it stands, for messages (``events``, ``body``).

    Raises:
        Problem: it is no array, an empty one, or too long.

    """
    if not isinstance(items, list):
        raise mistyped(at, "an array")
    if not items:
        words = f"{_place(at)} holds no event; send at least one."
        raise Problem(ProblemKind.INVALID, words, field=at, flaw="missing")
    if len(items) > limit:
        words = f"{_place(at)} holds {len(items)} events; send at most {limit} in one call."
        raise Problem(ProblemKind.INVALID, words, field=at)
    return items


def stated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value: what nobody said is left out, not sent as ``null``."""
    return {name: value for name, value in fields.items() if value is not None}


def json_body(value: object) -> bytes:
    """A body as compact JSON."""
    return msgspec.json.encode(value)


def json_reply(status: int, value: object, problem: Problem | None = None) -> Reply:
    """A reply with a JSON body, and a Retry-After where the problem names one."""
    headers = {"content-type": "application/json"}
    if problem is not None and problem.retry_after is not None:
        headers["retry-after"] = str(problem.retry_after)
    return Reply(status=status, headers=headers, body=msgspec.json.encode(value))


def _place(name: str, index: int | None = None) -> str:
    if name == BODY:
        return "The request body" if index is None else f"Event {index}"
    return f"`{name}`" if index is None else f"`{name}` of event {index}"


def _no_json(body: bytes, error: msgspec.MsgspecError) -> Problem:
    """In words of our own where a text was cut inside a character, as clients do; msgspec says that the body was."""
    if any(escape["half"] for escape in _ESCAPES.finditer(body)):
        what = "a text in it holds a lone surrogate, half of an emoji for one; cut texts between whole characters"
    else:
        what = str(error)
    return Problem(ProblemKind.INVALID, f"The request body is not valid JSON: {what}.", flaw="syntax")


def _too_deep() -> Problem:
    return Problem(ProblemKind.INVALID, f"The request body is nested deeper than {MAX_DEPTH} levels.", flaw="depth")


def _deeper(value: object, levels: int) -> bool:
    """Level by level: a batch of a thousand events is looked through as well."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(levels + 1):
        insides = [outer.values() if type(outer) is dict else outer for outer in level]
        level = [item for inside in insides for item in inside if type(item) in _CONTAINERS]
    return bool(level)


def _field_problem(error: msgspec.ValidationError, at: str, index: int | None) -> Problem:
    """Turn msgspec's words (``Expected `str`, got `int` - at `$.user_id```) into ours: the field, never the value."""
    text = str(error)
    said, _, path = text.partition(" - at `$")
    inner = path.rstrip("`").lstrip(".")
    if said.startswith("Object missing required field"):
        inner = ".".join(part for part in (inner, said.split("`")[1]) if part)
        return missing(".".join(part for part in (at, inner) if part), index)
    expected = said.split("`")[1].split(" | ") if "`" in said else ["valid"]
    words = " or ".join(WORDS.get(word, word) for word in expected if word != "null")
    return mistyped(".".join(part for part in (at, inner) if part), words, index)
