"""Which source a call is for: the path, then the form of the credential, then the key."""

from __future__ import annotations

import pytest

from trackgate import vendors
from trackgate.config import Source
from trackgate.config.secret import Secret
from trackgate.ingest.doors import Door, Doors, Turned
from trackgate.model import ProblemKind

VENDORS = vendors.load()
HOST = {"host": "127.0.0.1:8080"}
BEARER = {"authorization": "Bearer b-key", **HOST}
RAW = {"authorization": "raw-key", "auth-type": "api", **HOST}


def source(name, vendor, *keys, cors=()):
    auth = "key" if keys else "none"
    return Source(name=name, vendor=VENDORS[vendor], keys=tuple(map(Secret, keys)), auth=auth, cors=cors)


def doors(*sources):
    return Doors({each.name: each for each in sources})


def picked(found):
    assert isinstance(found, Door), found
    return found.source.name


def turned(found):
    assert isinstance(found, Turned), found
    return found.problem.kind


EVERY = [source(name, name) for name in VENDORS]
KEYED = [source("fly", "flywheel", "raw-key"), source("app", "appizer", "b-key")]


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_every_documented_path_is_answered_under_the_sources_name(vendor):
    mine = doors(source("mine", vendor.name, "secret"))
    for endpoint in vendor.endpoints:
        headers = {**vendor.sample("", "secret").headers, **HOST}
        assert mine.find("POST", f"/mine{endpoint.path}", headers).endpoint is endpoint


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_the_documented_call_finds_its_keyless_source_at_the_root(vendor):
    call = vendor.sample("", "anything")
    assert picked(doors(*EVERY).find("POST", call.url, {**call.headers, **HOST})) == vendor.name


def test_the_form_of_the_credential_tells_two_vendors_at_one_path_apart():
    assert picked(doors(*KEYED).find("POST", "/v1/events", BEARER)) == "app"
    assert picked(doors(*KEYED).find("POST", "/v1/events", RAW)) == "fly"


def test_the_key_decides_between_two_sources_of_one_form():
    both = doors(source("one", "appizer", "a-key", "old-key"), source("two", "appizer", "b-key"))
    assert picked(both.find("POST", "/v1/events", BEARER)) == "two"
    assert picked(both.find("POST", "/v1/events", {"authorization": "bearer old-key", **HOST})) == "one"


@pytest.mark.parametrize("path", ["/v1/events", "/app/v1/events"])
@pytest.mark.parametrize("headers", [HOST, {"authorization": "Bearer wrong", **HOST}, {"authorization": "", **HOST}])
def test_a_wrong_or_missing_key_is_a_401(path, headers):
    assert turned(doors(KEYED[1]).find("POST", path, headers)) is ProblemKind.UNAUTHORIZED


def test_a_wrong_key_never_falls_through_to_a_source_without_one():
    mixed = doors(source("keyed", "appizer", "a-key"), source("open", "appizer"))
    assert turned(mixed.find("POST", "/v1/events", BEARER)) is ProblemKind.UNAUTHORIZED


@pytest.mark.parametrize("credential", ["Token t", "Basic dTpw", "Digest x", "Bearer"])
def test_a_credential_in_nobodys_form_is_not_taken_for_none(credential):
    """At the root; under its own name a keyless source asks for nothing."""
    mixed = doors(source("keyed", "flywheel", "a-key"), source("open", "appizer"))
    headers = {"authorization": credential, **HOST}
    assert turned(mixed.find("POST", "/v1/events", headers)) is ProblemKind.UNAUTHORIZED
    assert picked(mixed.find("POST", "/open/v1/events", headers)) == "open"


def test_without_a_credential_the_only_keyless_source_is_picked():
    mixed = doors(source("fly", "flywheel", "raw-key"), source("open", "appizer"))
    assert picked(mixed.find("POST", "/v1/events", HOST)) == "open"


def test_two_keyless_sources_of_one_path_want_to_be_named():
    found = doors(*EVERY).find("POST", "/v1/events", HOST)
    assert turned(found) is ProblemKind.UNAUTHORIZED
    assert "/flywheel/v1/events" in found.problem.message


def test_a_key_that_is_not_ascii_is_compared_and_not_fatal():
    accented = doors(source("app", "appizer", "clé"))
    assert picked(accented.find("POST", "/v1/events", {"authorization": "Bearer clé", **HOST})) == "app"
    assert turned(accented.find("POST", "/v1/events", BEARER)) is ProblemKind.UNAUTHORIZED


def test_other_methods_and_other_paths_are_turned_away_with_words_that_help():
    found = doors(*EVERY).find("GET", "/appizer/v1/events", HOST)
    assert turned(found) is ProblemKind.METHOD
    assert found.vendor is VENDORS["appizer"]
    found = doors(*EVERY).find("POST", "/appizer/v1/nothing", HOST)
    assert turned(found) is ProblemKind.NOT_FOUND
    assert found.vendor is VENDORS["appizer"]
    assert "/appizer/v1/events" in found.problem.message
    assert doors(*EVERY).find("POST", "/nothing", HOST).vendor is None


def test_at_the_root_the_credential_picks_the_words_of_an_error():
    """Other documented calls of a vendor get that vendor's own 404, its own 405 where it shares the path."""
    found = doors(*KEYED).find("POST", "/v1/audiences", BEARER)
    assert turned(found) is ProblemKind.NOT_FOUND
    assert found.vendor is VENDORS["appizer"]
    assert "/v1/users" in found.problem.message
    assert doors(*KEYED).find("PUT", "/v1/events", BEARER).vendor is VENDORS["appizer"]
    assert (
        doors(*EVERY).find("POST", "/v1/companies/identify", {"authorization": "Token x"}).vendor
        is VENDORS["userpilot"]
    )
    assert doors(*EVERY).find("POST", "/api/group", {"authorization": "Bearer x"}).vendor is None


@pytest.mark.parametrize("authorization", [{}, {"authorization": ""}, {"authorization": "  "}])
def test_a_missing_key_is_answered_with_each_form_that_is_read_there(authorization):
    found = doors(*KEYED).find("POST", "/v1/events", {**authorization, **HOST})
    words = "The API key is missing; send `Authorization: KEY` or `Authorization: Bearer KEY`."
    assert (turned(found), found.problem.flaw) == (ProblemKind.UNAUTHORIZED, "missing")
    assert found.problem.message == words


@pytest.mark.parametrize("credential", ["Bearer", "Bearer ", "Token x"])
def test_a_form_without_its_key_or_of_nobody_here_is_answered_with_each_form_that_is_read_there(credential):
    found = doors(*KEYED).find("POST", "/v1/events", {"authorization": credential, **HOST})
    assert (turned(found), found.problem.flaw) == (ProblemKind.UNAUTHORIZED, "value")
    assert found.problem.message == (
        "`Authorization` holds no credential in a form that is read here;"
        " send `Authorization: KEY` or `Authorization: Bearer KEY`."
    )


@pytest.mark.parametrize("keys", [(), ("a-key",)])
@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_another_vendors_form_is_called_that_and_not_an_unknown_key(vendor, keys):
    """Where a source has no key, none can be unknown."""
    call = vendor.sample("", "k")
    found = doors(source("mine", vendor.name, *keys)).find("POST", call.url, {"authorization": "Basic dTpw", **HOST})
    words = f"`Authorization` holds no credential in a form that is read here; send `{vendor.credential}`."
    assert (turned(found), found.problem.message) == (ProblemKind.UNAUTHORIZED, words)


@pytest.mark.parametrize("path", ["/v1/events", "/app/v1/events"])
def test_an_unknown_key_is_answered_with_the_form_that_it_came_in(path):
    headers = {"authorization": "Bearer wrong", **HOST}
    words = "The API key is not known here; it is read from `Authorization: Bearer KEY`."
    assert doors(*KEYED).find("POST", path, headers).problem.message == words


BOTH = [source("up", "userpilot", "u-key"), source("app", "appizer", "b-key")]


def test_by_another_method_the_form_tells_whose_call_it_is_where_another_vendor_has_the_path():
    """Deleting users is a documented call of one vendor, and its path another's."""
    token = {"authorization": "Token u-key", **HOST}
    at_root, named = (doors(*BOTH).find("DELETE", path, token) for path in ("/v1/users", "/up/v1/users"))
    assert [turned(found) for found in (at_root, named)] == [ProblemKind.NOT_FOUND] * 2
    assert at_root.vendor is named.vendor is VENDORS["userpilot"]
    assert at_root.problem.message == "There is nothing at this path. POST is taken at /v1/track, /v1/identify."


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/users", {"authorization": "Bearer b-key"}),
        ("/v1/users", {"authorization": "Bearer other"}),
        ("/v1/users", {}),
        ("/app/v1/users", {"authorization": "Token u-key"}),
    ],
)
def test_by_another_method_the_vendor_whose_path_it_is_answers_all_others(path, headers):
    found = doors(*BOTH).find("DELETE", path, {**headers, **HOST})
    assert turned(found) is ProblemKind.METHOD
    assert found.vendor is VENDORS["appizer"]


def test_a_keyless_source_takes_loopback_hosts_only():
    for host in ("example.com", "127.evil.example", "", "10.0.0.1:8080"):
        found = doors(*EVERY).find("POST", "/appizer/v1/events", {"host": host})
        assert turned(found) is ProblemKind.FORBIDDEN


def test_a_keyless_source_refuses_web_pages_that_it_does_not_list():
    page = {"origin": "https://a.example", **HOST}
    listed = doors(source("open", "appizer", cors=("https://a.example",)))
    assert turned(doors(source("open", "appizer")).find("POST", "/v1/events", page)) is ProblemKind.FORBIDDEN
    assert picked(listed.find("POST", "/v1/events", page)) == "open"


def test_a_keyed_source_asks_for_its_key_alone():
    assert (
        picked(doors(*KEYED).find("POST", "/v1/events", {**BEARER, "host": "x", "origin": "https://b.example"}))
        == "app"
    )
