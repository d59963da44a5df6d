"""Strict reading of a vendor's documents, for the sandbox: rules as data, and none of the codec's code.

The codec is lenient in what it takes; the emulated vendors are not. What is checked here shares nothing with
``body_of``, ``read_fields`` and the wire Structs, so that a mistake there cannot hide here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from msgspec import Struct

from trackgate.model import Problem, ProblemKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trackgate.model import Call

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Rule(Struct, frozen=True):
    """What a documented field may hold. ``words`` complete the sentence "`field` must be ..."."""

    words: str
    holds: Callable[[Any], bool]
    required: bool = False

    def needed(self) -> Rule:
        """The same rule for a required field."""
        return Rule(self.words, self.holds, required=True)


def matches(pattern: re.Pattern[str], words: str) -> Rule:
    """A string that matches from end to end."""
    return Rule(words, lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None)


def moment(words: str, *, utc: bool = False) -> Rule:
    """An ISO 8601 date and time with its offset, or with that of UTC alone."""
    return Rule(words, lambda value: isinstance(value, str) and _is_moment(value, utc=utc))


TEXT = Rule("a string", lambda value: isinstance(value, str))
FLAG = Rule("a boolean", lambda value: isinstance(value, bool))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
FILLED = Rule("a non-empty string", lambda value: isinstance(value, str) and value != "")


def content(call: Call) -> Any:
    """The JSON value of the body; ``None`` where it is none (no documented body is ``null``)."""
    try:
        value = json.loads(call.body, parse_constant=_no_number, parse_float=_number)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return None
    return value


def header_faults(call: Call, documented: Mapping[str, str]) -> list[Problem]:
    """One fault for each documented header that has another value; parameters (``; charset=``) do not count."""
    return [
        fault(f"The header {name} must be {value}.", name)
        for name, value in documented.items()
        if call.headers.get(name, "").partition(";")[0].strip() != value
    ]


def field_faults(value: Any, rules: Mapping[str, Rule], at: str = "", index: int | None = None) -> list[Problem]:
    """One fault for each field of an object that breaks its rule; fields without a rule are nobody's business."""
    if not isinstance(value, dict):
        return [fault(f"{_named(at or 'the body', index)} must be an object.", at or "body", index, "type")]
    found = []
    for name, rule in rules.items():
        path = f"{at}.{name}" if at else name
        if name not in value and rule.required:
            found.append(fault(f"{_named(path, index)} is required.", path, index, "missing"))
        elif name in value and not rule.holds(value[name]):
            found.append(fault(f"{_named(path, index)} must be {rule.words}.", path, index, "type"))
    return found


def unauthorized(words: str, flaw: Literal["missing", "value"] = "value") -> Problem:
    """The fault of a call without the documented authentication."""
    return Problem(ProblemKind.UNAUTHORIZED, words, flaw=flaw)


def fault(
    words: str, field: str, index: int | None = None, flaw: Literal["missing", "type", "value"] = "value"
) -> Problem:
    """One thing in a call that breaks the documents."""
    return Problem(ProblemKind.INVALID, words, field=field, index=index, flaw=flaw)


def primitive_faults(values: Any, at: str, *, nulls: bool) -> list[Problem]:
    """One fault for each value of an object that is no string, number or boolean (nor ``null``, where allowed)."""
    words = "a string, number, boolean or null" if nulls else "a string, number or boolean"
    return [
        fault(f"`{at}.{key}` must be {words}.", f"{at}.{key}", flaw="type")
        for key, value in (values.items() if isinstance(values, dict) else ())
        if not (isinstance(value, str | int | float) or (nulls and value is None))
    ]


def part(value: Any, name: str) -> Any:
    """A field of what may be an object."""
    return value.get(name) if isinstance(value, dict) else None


def _is_moment(text: str, *, utc: bool) -> bool:
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        return False
    return STAMP.fullmatch(text) is not None and not (utc and offset)


def _named(path: str, index: int | None) -> str:
    return f"`{path}`" if index is None else f"`{path}` of event {index}"


def _number(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
