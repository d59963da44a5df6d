"""The strict reading: what it finds, it names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trackgate.model import Call, ProblemKind
from trackgate.strict import (
    FILLED,
    FLAG,
    OBJECT,
    TEXT,
    Rule,
    content,
    field_faults,
    header_faults,
    matches,
    moment,
    part,
    primitive_faults,
)


def call(body: bytes = b"", **headers: str) -> Call:
    return Call(url="/", headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a":NaN}', b'{"a":-Infinity}', b"1e999", b'"\\ud800"', b"9" * 5_000, b"[" * 100_000],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_has_no_content(body: bytes):
    assert content(call(body)) is None


def test_json_is_its_value():
    assert content(call(b'{"a":[1,2.5,true,null,"\\ud83d\\ude00"]}')) == {"a": [1, 2.5, True, None, "\U0001f600"]}


def test_a_documented_header_must_have_its_value_and_may_have_parameters():
    documented = {"content-type": "application/json"}
    assert header_faults(call(content_type="application/json; charset=utf-8"), documented) == []
    for wrong in (call(), call(content_type="text/plain")):
        (found,) = header_faults(wrong, documented)
        assert (found.kind, found.field) == (ProblemKind.INVALID, "content-type")


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (TEXT, ["", "x"], [None, 1, True, [], {}]),
        (FILLED, ["x"], ["", None, 1]),
        (FLAG, [True, False], [0, 1, "true", None]),
        (OBJECT, [{}, {"a": 1}], [[], None, "x"]),
        (matches(re.compile("[a-z]+"), "letters"), ["abc"], ["", "a b", "abc\n", 1, None]),
        (
            moment("a time"),
            ["2024-01-15T10:30:00Z", "2024-01-15T10:30:00.123456+05:30"],
            ["2024-01-15T10:30:00", "2024-01-15", "20-11-23T22:28:55.111Z", "2024-13-15T10:30:00Z", "", 1705314600],
        ),
        (
            moment("a time in UTC", utc=True),
            ["2024-01-15T10:30:00Z", "2024-01-15T10:30:00+00:00"],
            ["2024-01-15T10:30:00+05:30"],
        ),
    ],
    ids=lambda value: value.words if isinstance(value, Rule) else "",
)
def test_a_rule_holds_for_what_is_documented_and_for_nothing_else(rule: Rule, good: list[Any], bad: list[Any]):
    assert [value for value in good if not rule.holds(value)] == []
    assert [value for value in bad if rule.holds(value)] == []


def test_each_fault_names_its_field_its_place_and_its_flaw():
    rules = {"a": FILLED.needed(), "b": TEXT.needed(), "c": FLAG, "d": OBJECT}
    found = field_faults({"a": "", "c": 1, "z": object()}, rules, "event", 3)
    assert [(fault.field, fault.index, fault.flaw) for fault in found] == [
        ("event.a", 3, "type"),
        ("event.b", 3, "missing"),
        ("event.c", 3, "type"),
    ]
    assert found[1].message == "`event.b` of event 3 is required."


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_is_one_fault(value: Any):
    (found,) = field_faults(value, {"a": TEXT.needed()})
    assert (found.field, found.flaw) == ("body", "type")


def test_primitives_are_strings_numbers_booleans_and_where_allowed_null():
    values = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": [], "g": {}}
    assert [fault.field for fault in primitive_faults(values, "at", nulls=True)] == ["at.f", "at.g"]
    assert [fault.field for fault in primitive_faults(values, "at", nulls=False)] == ["at.e", "at.f", "at.g"]
    assert primitive_faults([], "at", nulls=True) == []


def test_a_part_of_no_object_is_nothing():
    assert part({"a": 1}, "a") == 1
    assert part({}, "a") is None
    assert part([1], "a") is None
