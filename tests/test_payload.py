"""What is read of a body before any dialect looks at it."""

from __future__ import annotations

import pytest

from trackgate.model import Call, Problem
from trackgate.payload import body_of


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
