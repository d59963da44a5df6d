"""Routes: a union, decided by pure matching."""

from __future__ import annotations

from fnmatch import translate
from itertools import product

import pytest

from tests.made import event
from trackgate.routing import Match, Route, Router, opens_a_set

PASS = {name: lambda _: False for name in ("a", "b", "c")}


def router(*routes):
    return Router(routes, PASS)


def test_several_routes_owe_an_event_to_a_destination_once():
    routed = router(Route(name="1", to=("a", "b")), Route(name="2", to=("b", "c"))).route(event())
    assert routed.owed == {"a", "b", "c"}
    assert routed.filtered == set()


def test_filtered_is_named_by_a_route_from_the_source_and_matched_by_none():
    routes = router(
        Route(name="bought", to=("a", "b"), match=Match(event=("purchase_*",))),
        Route(name="all", to=("b",)),
        Route(name="elsewhere", to=("c",), sources=frozenset({"mobile"})),
    )
    routed = routes.route(event(name="signed_up"))
    assert routed.owed == {"b"}
    assert routed.filtered == {"a"}


@pytest.mark.parametrize(
    ("globs", "name", "taken"),
    [
        (("purchase_*",), "purchase_done", True),
        (("purchase_*",), "Purchase_done", False),
        (("a", "b?"), "bc", True),
        (("a", "b?"), "b", False),
        (("*",), "line\nbreak", True),
        ((), "a", False),
    ],
)
def test_names_match_by_glob_case_sensitive_any_of_the_list(globs, name, taken):
    routed = router(Route(name="r", to=("a",), match=Match(event=globs))).route(event(name=name))
    assert bool(routed.owed) is taken


def test_an_identify_call_has_no_name_to_match_but_has_a_kind():
    identify = event(kind="identify", name="")
    assert not router(Route(name="r", to=("a",), match=Match(event=("*",)))).route(identify).owed
    assert router(Route(name="r", to=("a",), match=Match(kind=("identify",)))).route(identify).owed
    assert not router(Route(name="r", to=("a",), match=Match(kind=("track",)))).route(identify).owed


def test_a_destination_may_ask_not_to_be_owed():
    routes = Router([Route(name="r", to=("a", "b"))], {**PASS, "a": lambda each: each.user_id is None})
    routed = routes.route(event(user_id=None))
    assert routed.owed == {"b"}
    assert routed.filtered == {"a"}


def test_explain_says_of_each_route_why_not():
    routes = router(
        Route(name="1", to=("a",)),
        Route(name="2", to=("a",), sources=frozenset({"mobile"})),
        Route(name="3", to=("a",), match=Match(event=("x",))),
    )
    whys = [why for _, why in routes.explain(event())]
    assert whys[0] is None
    assert "mobile" in whys[1]
    assert "match" in whys[2]


def test_a_set_is_open_where_its_bracket_would_be_matched_as_itself():
    """Of every short glob, by the regex that ``fnmatch`` makes of it; there a set may begin with an escaped bracket."""
    globs = ["".join(chars) for size in range(6) for chars in product("[]!a-", repeat=size)]
    taken_as_itself = [glob for glob in globs if "\\[" in translate(glob).replace("[\\[", "[")]
    assert [glob for glob in globs if opens_a_set(glob)] == taken_as_itself
