"""The lines of a TOML text: every place that ``tomllib`` reads, each with the line on which it stands."""

from __future__ import annotations

import random
import tomllib
from textwrap import dedent

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trackgate.config.lines import locate

PIECES = (
    "k{n} = 1",
    "k{n} = 'it \\'",
    'k{n} = "a # no comment \\" ]}}, = [x]"',
    "k{n} = '[x] = \\'",
    'k{n} = """\n[x]\nk = 1 \\""" ""\n"""""',
    "k{n} = '''\n[[x]]\n''''",
    'k{n} = """ends in two quotes"""""',
    "k{n} = [1, [2, 3], {{a = 1, b.c = [4]}}, ]",
    'k{n} = [\n  \'a\', # one ]\n\n  """b\n]""",\n  {{ x = \'}}\' }}\n]',
    "k{n} = {{ a = {{ b = '#' }}, 'c d' = 1, \"e\\\"f\".g = true }}",
    "k{n}.a.b = 1979-05-27 07:32:00",
    "k{n} . \"a.b\" . 'c' = -inf",
    '"k{n}\\u00e9" = 0xff',
    "# k = [",
    "",
    "[t{n}]\na = 1",
    "[t{n}.a.b]\n[t{n}]\nx.y = 1",
    "[ t{n} . 'q r' ] # [[x]]\na = []",
    "[[l{n}]]\na = 1\n[[l{n}]]\n[l{n}.m]\nb = 1\n[[l{n}.n]]\n[[l{n}.n]]\nc = {{}}",
    "[[t{n}.l]]\nd = 1",
)


def places(value: object, at: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {at} - {()} | {place for key, each in inner for place in places(each, (*at, key))}


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_every_place_of_a_valid_text_is_found_and_no_other(pieces, newline):
    text = "\n".join(piece.format(n=number) for number, piece in enumerate(pieces)).replace("\n", newline)
    text = tomllib_form(text)
    found = locate(text)
    assert set(found) == places(tomllib.loads(text))
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())


def tomllib_form(text: str) -> str:
    """As ``load`` hands it over."""
    return text.replace("\r\n", "\n")


@example('"\\1"=1')
@given(st.text(alphabet="[]{}=.,#'\"\\ab1 \n\t"))
def test_a_text_that_is_no_toml_is_no_trouble(text):
    locate(text)


@pytest.mark.parametrize("seed", range(50))
def test_a_text_cut_anywhere_is_no_trouble(seed):
    text = "\n".join(piece.format(n=number) for number, piece in enumerate(PIECES))
    locate(text[: random.Random(seed).randrange(len(text))])


def test_lines_are_counted_over_texts_lists_and_comments():
    text = dedent("""\
        # one
        [sources.web]
        text = '''
        [no.table]
        '''
        keys = [
          "a",   # with a ]
          "b", "c",
        ]
        [[routes]]
        to = ["x"]
        [routes.match]
        event = ["y"]

        [[routes]]
        match = { kind = ["track"] }
        [sources]
        """)
    assert locate(text) == {
        ("sources",): 17,
        ("sources", "web"): 2,
        ("sources", "web", "text"): 3,
        ("sources", "web", "keys"): 6,
        ("sources", "web", "keys", 0): 7,
        ("sources", "web", "keys", 1): 8,
        ("sources", "web", "keys", 2): 8,
        ("routes",): 10,
        ("routes", 0): 10,
        ("routes", 0, "to"): 11,
        ("routes", 0, "to", 0): 11,
        ("routes", 0, "match"): 12,
        ("routes", 0, "match", "event"): 13,
        ("routes", 0, "match", "event", 0): 13,
        ("routes", 1): 15,
        ("routes", 1, "match"): 16,
        ("routes", 1, "match", "kind"): 16,
        ("routes", 1, "match", "kind", 0): 16,
    }
