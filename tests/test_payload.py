"""What is read of a body before any dialect looks at it."""

from __future__ import annotations

import pytest
from msgspec import Struct

from trackgate.model import Call, Problem
from trackgate.payload import BODY, batch_of, body_of, read_fields


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    return (opening * levels + "1" + closing * levels).encode()


def read(body: bytes) -> object:
    return body_of(Call(url="/", headers={}, body=body))


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]"), ('[{"a":', "}]")])
def test_a_body_may_be_nested_so_deep_and_no_deeper(opening, closing):
    each = opening.count("[") + opening.count("{")
    assert read(nested(101 // each, opening, closing))
    with pytest.raises(Problem, match="nested deeper than 100 levels"):
        read(nested(102 // each, opening, closing))


def test_where_it_is_deep_does_not_matter():
    deep = nested(102)
    for body in (b'[{"b":2},%b]' % deep, b'{"b":{"c":[]},"d":%b,"e":[1]}' % deep):
        with pytest.raises(Problem, match="nested deeper"):
            read(body)


def test_a_wide_body_is_not_a_deep_one():
    assert read(b"[" + b",".join([nested(50)] * 100) + b"]")


@pytest.mark.parametrize(
    "said",
    [
        rb"a text \ud83d",  # what JSON.stringify makes of a cut emoji
        rb"\ud83d and more than an escape is long",
        rb"\uDE00",
        rb"\ud83d\ud83d",
        rb"\ud83d\u0041",
        rb"\\\ud83d",
    ],
)
@pytest.mark.parametrize("body", [b'{"a":"%b"}', b'{"%b":1}', b'[{"b":"\\n\\ud83d\\ude00"},"%b"]'])
def test_half_of_a_character_is_called_that(body, said):
    with pytest.raises(Problem) as found:
        read(body % said)
    assert found.value.message == (
        "The request body is not valid JSON: a text in it holds a lone surrogate, half of an emoji for one;"
        " cut texts between whole characters."
    )


@pytest.mark.parametrize("body", [rb'{"a":"\ud83d\ude00', rb'{"a":"\\ud83d"', rb'{"a":"\\\\ud83d"', b"{", rb'["\u12"]'])
def test_what_is_wrong_with_another_body_is_not_put_down_to_a_character(body):
    with pytest.raises(Problem, match="not valid JSON") as found:
        read(body)
    assert "surrogate" not in found.value.message


def test_a_whole_character_and_an_escaped_backslash_are_taken():
    assert read(rb'["\ud83d\ude00", "\\ud83d"]') == ["\N{GRINNING FACE}", r"\ud83d"]


class Sent(Struct):
    name: str = ""


@pytest.mark.parametrize(
    ("index", "at", "field", "words"),
    [
        (None, "", "body", "The request body must be an object."),
        (0, "", "body", "Event 0 must be an object."),
        (None, "event", "event", "`event` must be an object."),
        (3, "event", "event", "`event` of event 3 must be an object."),
    ],
)
def test_what_must_be_an_object_is_called_what_it_is(index, at, field, words):
    with pytest.raises(Problem) as found:
        read_fields(Sent, [], at=at, index=index)
    assert (found.value.field, found.value.index, found.value.flaw) == (field, index, "type")
    assert found.value.message == words


@pytest.mark.parametrize(
    ("items", "at", "words"),
    [
        ([], BODY, "The request body holds no event; send at least one."),
        ([1, 2, 3], BODY, "The request body holds 3 events; send at most 2 in one call."),
        ([], "events", "`events` holds no event; send at least one."),
        ({}, "events", "`events` must be an array."),
    ],
)
def test_where_a_batch_stands_is_called_what_it_is(items, at, words):
    with pytest.raises(Problem) as found:
        batch_of(items, 2, at)
    assert (found.value.message, found.value.field) == (words, at)
