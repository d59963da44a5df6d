"""What ships: the file, its schema and its reference."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from trackgate import vendors
from trackgate.config import describe, load, reference, schema
from trackgate.config.editor import shipped, spell
from trackgate.config.meanings import sections
from trackgate.config.reading import fields_of
from trackgate.config.tables import DestinationTable, RouteTable, Server, SourceTable

ROUTES = Path(__file__).parents[2] / "routes.toml"
KEYS = {"USERPILOT_KEY": "a", "FLYWHEEL_KEY": "b", "THRIVESTACK_KEY": "c", "APPIZER_KEY": "d"}


def test_the_file_has_no_error_and_no_unknown_loss():
    """The one warning is a fact of the vendors: two of them document one path."""
    config, faults = load(ROUTES, KEYS, {})
    assert config is not None, describe(faults)
    assert [(fault.level, fault.key) for fault in faults] == [("warning", "sources.appizer.auth")], describe(faults)


def test_the_file_joins_every_vendor_with_every_vendor():
    config, _ = load(ROUTES, KEYS, {})
    assert config is not None
    everyone = set(vendors.load())
    assert set(config.sources) == set(config.destinations) == everyone
    assert all(name == source.vendor.name and source.keyless for name, source in config.sources.items())
    assert all(name == destination.vendor.name for name, destination in config.destinations.items())
    (route,) = config.routes
    assert set(route.to) == everyone
    assert route.sources is None
    assert config.server.address.loopback


def test_the_file_accepts_exactly_the_losses_that_occur(tmp_path):
    """Without the accepted losses, each of them is warned of, and no other."""
    stripped = re.sub(
        r"^lossy\.allow = \[.*?^\]$", "", ROUTES.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    (tmp_path / "routes.toml").write_text(stripped, encoding="utf-8")
    _, faults = load(tmp_path / "routes.toml", KEYS, {})
    warned = {fault.key.split(".")[1]: fault.message for fault in faults if fault.key.endswith(".lossy")}
    config, _ = load(ROUTES, KEYS, {})
    assert config is not None
    for name, destination in config.destinations.items():
        assert set(re.findall(r'"([a-z_.-]+)"', warned[name])) == set(destination.lossy.allow)


def test_the_file_needs_no_variable_in_the_sandbox():
    config, _ = load(ROUTES, {}, {}, sandbox=True)
    assert config is not None


def test_without_its_variables_the_file_names_each():
    config, faults = load(ROUTES, {}, {})
    assert config is None
    errors = [fault.message for fault in faults if fault.level == "error"]
    assert [next(name for name in KEYS if name in message) for message in errors] == list(KEYS)


def test_the_commented_lines_of_the_file_work_too():
    """What the file teaches in comments can be uncommented."""
    text = re.sub(r"^# ((?:\[\[routes|[a-z]+ +=).*)$", r"\1", ROUTES.read_text(encoding="utf-8"), flags=re.MULTILINE)
    document = tomllib.loads(text)
    assert document["destinations"]["userpilot"]["region"] == "eu"
    assert len(document["routes"]) == 2
    jsonschema.validate(document, schema())


def test_the_schema_that_ships_is_current():
    """If not: python -m trackgate.config schema > src/trackgate/config/routes.schema.json."""
    assert shipped() == spell(schema())


def test_the_schema_is_one_and_takes_the_shipped_file():
    jsonschema.Draft7Validator.check_schema(schema())
    jsonschema.validate(tomllib.loads(ROUTES.read_text(encoding="utf-8")), schema())


def test_the_file_names_its_schema():
    first = ROUTES.read_text(encoding="utf-8").splitlines()[0]
    assert (ROUTES.parent / first.removeprefix("#:schema ")).read_text(encoding="utf-8") == shipped()


@pytest.mark.parametrize(
    "text",
    [
        '[server]\nlistn = "x"',
        '[server]\ngrace = "soon"',
        '[server]\nmax_connections = "many"',
        '[sources.web]\nkey = "x"',
        '[sources.web]\nvendor = "userpilt"',
        '[sources."a b"]\nvendor = "userpilot"',
        '[destinations.up]\nvendor = "flywheel"\nkey = "x"\nregion = "eu"',
        '[destinations.up]\nvendor = "userpilot"\nkey = "x"\nregion = "mars"',
        "[[routes]]\nto = 'up'",
        "[[routes]]\nto = ['up']\nmatch = { kind = ['page'] }",
        "[other]",
    ],
)
def test_the_schema_turns_away_what_check_turns_away(text):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema())


def test_the_schema_takes_references_anywhere():
    text = '[server]\ngrace = "${G}"\nmax_connections = "${N}"\nlog_level = "${L}"'
    jsonschema.validate(tomllib.loads(text), schema())


@pytest.mark.parametrize("made", ["schema", "reference"])
def test_what_is_generated_is_printed(made):
    command = [sys.executable, "-m", "trackgate.config", made]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert printed == {"schema": spell(schema()), "reference": reference()}[made]


def test_every_key_has_a_type_and_a_meaning():
    known = vendors.load()
    found = sections(known)
    for section in found:
        assert section.meaning, section.header
        for key in section.keys:
            assert key.kind, key
            assert key.meaning, key
    everything = {key.name for section in found for key in section.keys}
    options = [vendor.options for vendor in known.values()]
    assert everything >= set(fields_of(Server, SourceTable, DestinationTable, RouteTable, *options))


def test_the_reference_shows_every_key_once_with_its_default():
    page = reference()
    for line in (
        '| `listen` | string | `"127.0.0.1:8080"` |',
        "| `max_backlog` | size | unset |",
        "| `key` | secret | *required* |",
        '| `max_age` | duration | `"7d"` |',
        "| `to` | list of string | *required* |",
        "| `from` | list of string | unset |",
        "`TRACKGATE_MAX_BODY`",
    ):
        assert line in page
    assert all(line.count("|") in {5, 6} for line in re.sub(r"\\\|", "", page).splitlines() if line.startswith("|"))
