"""The operators' calls as HTTP: what is wrong is said by the field's name, and what there is is described."""

from __future__ import annotations

import pytest

from tests.operate.bench import play

BODIES = [
    ("/-/dead/retry", "{}", "selection", "an object with any of destination"),
    (
        "/-/dead/retry",
        '{"selection": {"destinations": "x"}}',
        "selection.destinations",
        "known are: destination, reason",
    ),
    ("/-/dead/retry", '{"selection": {"since": "yesterday"}}', "selection.since", "an age such as 30m"),
    ("/-/dead/retry", '{"selection": {"id": 7}}', "selection.id", "an event id of Trackgate's"),
    ("/-/dead/retry", '{"selection": {}, "limit": 0}', "limit", "from 1 to 10000"),
    ("/-/dead/retry", '{"selection": {}, "yes": true}', "yes", "known are: selection, dry_run, limit"),
    ("/-/dead/drop", '{"selection": {}, "yes": "perhaps"}', "yes", "true or false"),
    ("/-/destinations/gone/move", "{}", "to", "the name of a destination"),
    ("/-/destinations/gone/drop", '{"yes": 2.5}', "yes", "true or false"),
    ("/-/dead/retry", "", None, "a JSON object with any of: selection, dry_run, limit"),
    ("/-/dead/retry", "[]", None, "a JSON object"),
    ("/-/dead/retry", "{", None, "a JSON object"),
    ("/-/dead/retry", "[" * 100_000, None, "a JSON object"),
    ("/-/dead/retry", b'{"selection": "\xff"}', None, "a JSON object"),
]
QUERIES = [
    ("limit=0", "limit", "from 1 to 1000"),
    ("limit=many", "limit", "from 1 to 1000"),
    ("destinations=x", "destinations", "known are: destination"),
    ("since=yesterday", "since", "2026-03-01T12:00:00Z"),
    ("after=nowhere", "after", "`next` of the page before"),
]


@pytest.mark.parametrize(("path", "body", "field", "words"), BODIES)
def test_a_body_that_is_not_what_it_must_be_is_a_400_that_names_the_field(tmp_path, path, body, field, words):
    async def act(bench):
        await bench.owe("gone", 1)
        reply = await bench.ask("POST", path, content=body)
        said = reply.json()
        assert (reply.status_code, said["error"], said["field"]) == (400, "bad_request", field), said
        assert words in said["message"]

    play(tmp_path, act)


@pytest.mark.parametrize(("query", "field", "words"), QUERIES)
def test_a_query_that_is_not_what_it_must_be_is_a_400_that_names_the_field(tmp_path, query, field, words):
    async def act(bench):
        reply = await bench.ask("GET", f"/-/dead?{query}")
        assert (reply.status_code, reply.json()["field"]) == (400, field)
        assert words in reply.json()["message"]

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/-/nothing", 404), ("GET", "/-/dead/retry", 405), ("POST", "/-/status", 405), ("GET", "/", 404)],
)
def test_what_is_nobodys_path_or_method_is_told_in_json(tmp_path, method, path, status):
    async def act(bench):
        reply = await bench.ask(method, path)
        assert reply.status_code == status
        assert "/-/openapi.json" in reply.json()["message"]

    play(tmp_path, act)


def test_the_description_holds_every_path_with_its_words_and_its_answers(tmp_path):
    async def act(bench):
        described = await bench.get("/-/openapi.json")
        operations = {
            (method.upper(), path): operation
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
        }
        served = {
            (method, route.path_format)
            for route in bench.app.routes
            for method in route.methods - {"OPTIONS"}
            if not route.path.startswith("/-/openapi.json")
        }
        assert operations.keys() == served
        assert len(served) == 9
        schemas = described["components"]["schemas"]
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            for status, answer in operation["responses"].items():
                name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                assert (name == "Refusal") == (status != "200"), (operation["summary"], status)
                assert schemas[name]["properties"]
        assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"

    play(tmp_path, act)
