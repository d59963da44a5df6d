"""The command line as a person meets it: exit statuses, and words that say what to do."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from click.testing import CliRunner

from tests.program.running import GUARD, Process
from trackgate import vendors
from trackgate.cli import main

ROUTES = """
[server]
listen = "127.0.0.1:0"
data = "{folder}/data"
[sources.web]
vendor = "userpilot"
key = "${{WEB_KEY}}"
[sources.local]
vendor = "appizer"
auth = "none"
[destinations.there]
vendor = "thrivestack"
key = "${{THERE_KEY}}"
token = "${{THERE_TOKEN}}"
lossy.allow = {losses}
[[routes]]
name = "most"
match = {{ event = ["[!_]*"] }}
to = ["there"]
"""
LOSSES = ["group_id.degraded", "context.group.dropped", "traits.changed"]
SECRETS = {"WEB_KEY": "in-canary", "THERE_KEY": "out", "THERE_TOKEN": "out-canary"}
EVENT = '{"user_id":"u","event_name":"signed up"}'


@pytest.fixture
def routes(tmp_path):
    path = tmp_path / "routes.toml"
    path.write_text(ROUTES.format(folder=tmp_path, losses=json.dumps(LOSSES)))
    return path


def run(*arguments, routes=None, stdin=None, **environ):
    config = ["--config", str(routes)] if routes is not None else []
    return CliRunner().invoke(main, [*map(str, arguments), *config], input=stdin, env={**SECRETS, **environ})


@contextmanager
def taken():
    """An address that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def unused():
    """An address that nobody listens at."""
    with taken() as address:
        return address


def program(*arguments, routes, **environ):
    """A command of its own process that is expected to end by itself: its exit status and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "trackgate", *map(str, arguments), "--config", str(routes)],
        env={**os.environ, **SECRETS, **environ},
        cwd=routes.parent,
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


# --- check ----------------------------------------------------------------------------------------------------


def test_check_says_what_there_is(routes):
    said = run("check", routes=routes)
    assert said.exit_code == 0
    assert "2 sources, 1 destination, 1 route; no errors" in said.output


def test_check_names_every_line_that_is_wrong_and_exits_2(routes):
    routes.write_text(routes.read_text().replace("vendor = ", "vendr = "))
    said = run("check", routes=routes)
    assert said.exit_code == 2
    assert said.output.count("vendor") >= 3
    assert f"{routes}:6: error: " in said.output


def test_check_counts_the_errors_and_warnings_that_it_names(routes):
    text = routes.read_text().replace('"${WEB_KEY}"', '"literal"').replace('"${THERE_KEY}"', '"${NOWHERE}"')
    routes.write_text(text + '[[routes]]\nname = "again"\nto = ["their"]\n')
    said = run("check", routes=routes)
    assert said.stderr.count(": error: ") == 2
    assert said.stdout == f"{routes}: 2 errors, 1 warning\n"


def test_check_is_strict_only_when_asked(routes):
    routes.write_text(routes.read_text().replace('"${WEB_KEY}"', '"literal"'))
    assert run("check", routes=routes).exit_code == 0
    said = run("check", "--strict", routes=routes)
    assert said.exit_code == 1
    assert "1 warning" in said.output


def test_an_unset_variable_is_an_error_that_names_it(routes):
    said = run("check", routes=routes, THERE_KEY="")
    assert said.exit_code == 2
    assert "THERE_KEY" in said.output


@pytest.mark.parametrize("command", [("check",), ("explain", "--source", "web", "-"), ("try", "web")])
def test_without_a_configuration_it_says_how_to_name_one(tmp_path, command):
    said = run(*command, routes=tmp_path / "nowhere.toml")
    assert said.exit_code == 2
    assert "--config" in said.output


# --- explain --------------------------------------------------------------------------------------------------


def test_explain_shows_the_routes_the_calls_and_the_notes(routes):
    said = run("explain", "--source", "web", "-", routes=routes, stdin=EVENT)
    assert said.exit_code == 0
    for words in ('"name": "signed up"', "most -> there: takes it", "POST https://", "note group_id.degraded"):
        assert words in said.output


def test_explain_says_what_became_of_each_field(routes):
    """A field that moved with its new name, one that stayed with its old and new form, an identify with its call."""
    text = routes.read_text().replace('vendor = "userpilot"', 'vendor = "flywheel"')
    routes.write_text(text)
    event = {"event": "e", "user_id": "u", "event_id": "evt", "timestamp": "2024-01-15T16:00:00+05:30"}
    body = json.dumps({"event": {**event, "identify": True}})
    said = run("explain", "--source", "web", "-", routes=routes, stdin=body).output
    assert 'offset.changed  (timestamp: "2024-01-15T16:00:00+05:30" -> "2024-01-15T10:30:00Z")' in said
    assert "event_id.carried  (event_id -> properties.event_id)" in said
    assert "identify.carried  (identify: as a call of its own, before the event's)" in said


def test_explain_says_what_a_property_became_that_kept_its_name_and_where_the_rest_went(routes):
    text = routes.read_text().replace('vendor = "thrivestack"', 'vendor = "flywheel"')
    routes.write_text(text.replace("token = ", "# "))
    tags = ["a", "b", {"c": "x" * 99}]
    body = json.dumps({"user_id": "u", "event_name": "a b", "metadata": {"list": [1], "tags": tags}})
    said = run("explain", "--source", "web", "-", routes=routes, stdin=body).output
    assert 'name.changed  (name: "a b" -> "a_b", and properties.event_name)' in said
    assert 'arrays.changed  (properties.list: [1] -> "[1]")' in said
    (long,) = [line for line in said.splitlines() if "properties.tags" in line]
    assert "…" in long
    assert len(long) < 180


def test_explain_says_how_a_timestamp_without_an_offset_was_read(routes):
    routes.write_text(routes.read_text().replace('vendor = "userpilot"', 'vendor = "thrivestack"'))
    body = '{"user_id":"u","event_name":"e","timestamp":"2024-01-15T10:30:00"}'
    said = run("explain", "--source", "web", "-", routes=routes, stdin=body).output
    assert 'note timestamp.changed  (timestamp, read as "2024-01-15T10:30:00Z")' in said


def test_explain_shows_no_credential_even_where_one_is_part_of_another(routes):
    for flags in ((), ("--json",)):
        said = run("explain", "--source", "web", *flags, "-", routes=routes, stdin=EVENT)
        assert said.exit_code == 0
        assert "canary" not in said.output
        assert "Bearer ***" in said.output
        assert "application/json" in said.output


def test_explain_says_where_an_event_does_not_go(routes):
    said = run("explain", "--source", "web", "-", routes=routes, stdin=EVENT.replace("signed", "_"))
    assert "there: filtered, no route that names it lets this event through\n" in said.output
    assert "owed to nobody" in said.output


def test_explain_says_that_a_destinations_own_options_keep_an_event_out(routes):
    text = routes.read_text().replace('token = "$', 'anonymous = "filter"\ntoken = "$')
    routes.write_text(text.replace('vendor = "appizer"', 'vendor = "flywheel"'))
    stdin = '{"event":{"event":"signed_up"}}'
    said = run("explain", "--source", "local", "-", routes=routes, stdin=stdin)
    assert "most -> there: takes it" in said.output
    assert "there: filtered, the options of destinations.there keep this event out\n" in said.output


def test_explain_says_why_a_destination_would_get_nothing(routes):
    routes.write_text(routes.read_text().replace('vendor = "userpilot"', 'vendor = "flywheel"'))
    said = run("explain", "--source", "web", "-", routes=routes, stdin='{"event":{"event":"a"}}')
    assert "cannot be said, would be dead: no_user_id" in said.output


@pytest.mark.parametrize("body", ["", "{", "[]", '{"user_id":"u"}', '{"user_id":"u","event_name":"e","x":NaN}'])
def test_explain_exits_1_where_the_call_would_be_turned_away(routes, body):
    said = run("explain", "--source", "web", "-", routes=routes, stdin=body)
    assert said.exit_code == 1
    assert "would be turned away with 400" in said.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--matrix"),
        (("--source", "web"), "--matrix"),
        (("--matrix", "--source", "web"), "leave --source"),
        (("--matrix", "--path", "/v1/track"), "leave --source, --path"),
        (("--matrix", "-"), "and FILE out"),
        (("--source", "nobody", "-"), "there are web, local"),
        (("--source", "web", "--path", "/v1/nothing", "-"), "/v1/identify"),
        (("--source", "web", "no-such-file.json"), "no-such-file.json"),
    ],
)
def test_explain_says_how_it_is_called(routes, arguments, words):
    said = run("explain", *arguments, routes=routes, stdin=EVENT)
    assert said.exit_code == 2
    assert words in said.output


def test_the_matrix_holds_every_pair_and_a_legend():
    said = run("explain", "--matrix")
    assert said.exit_code == 0
    titles = [vendor.title for vendor in vendors.load().values()]
    rows = [line for line in said.output.splitlines() if line.startswith("| **")]
    assert [row.split("**")[1] for row in rows] == titles
    assert all(row.count("|") == len(titles) + 2 for row in rows)
    assert "all native" in said.output
    assert "! expected by the vendor" in said.output


def test_the_matrix_for_programs_holds_the_codes_of_every_pair():
    said = run("explain", "--matrix", "--json")
    assert said.exit_code == 0
    cells = json.loads(said.output)
    known = list(vendors.load())
    assert list(cells) == known
    assert all(list(row) == known for row in cells.values())
    assert cells["userpilot"]["userpilot"] == []
    assert "group_id.degraded" in cells["userpilot"]["thrivestack"]


# --- what asks a running gateway ------------------------------------------------------------------------------


def test_with_the_gateway_down_health_and_try_say_so(routes):
    address = unused()
    said = run("health", "--listen", address, routes=routes)
    assert said.exit_code == 1
    assert f"nobody answers at http://{address}/livez" in said.output
    said = run("try", "web", routes=routes, TRACKGATE_LISTEN=address)
    assert said.exit_code == 1
    assert "trackgate serve" in said.output
    assert "in-canary" not in said.output


def test_an_address_of_ipv6_is_asked_as_it_is_written(routes):
    for command in (("health", "--listen", "[::1]:1"), ("try", "web")):
        said = run(*command, routes=routes, TRACKGATE_LISTEN="[::1]:1")
        assert (said.exit_code, type(said.exception)) == (1, SystemExit)
        assert "nobody answers at http://[::1]:1/" in said.output


def test_try_wants_a_source_that_there_is(routes):
    said = run("try", "nobody", routes=routes)
    assert said.exit_code == 2
    assert "there are web, local" in said.output


def test_health_wants_an_address():
    said = run("health", "--listen", "nonsense")
    assert said.exit_code == 2
    assert "host:port" in said.output


def test_health_asks_at_the_written_address_though_the_file_is_otherwise_wrong(routes):
    address = unused()
    text = routes.read_text().replace("127.0.0.1:0", address).replace("[[routes]]", "[[routs]]")
    routes.write_text(text)
    assert f"http://{address}/livez" in run("health", routes=routes).output


def test_a_sample_is_sent_and_seen_to_arrive(routes, tmp_path):
    """``try`` and ``health`` beside a gateway; then ``try`` where the outbox is another's, and with a wrong key."""
    gateway = Process(
        tmp_path / "gateway",
        *("serve", "--config", str(routes), "--sandbox", "--sandbox-listen", "127.0.0.1:0"),
        **SECRETS,
    )
    address = gateway.url.removeprefix("http://")
    try:
        said = run("try", "web", routes=routes, TRACKGATE_LISTEN=address)
        assert said.exit_code == 0, said.output
        assert "there            delivered, 200 in" in said.output
        assert "canary" not in said.output
        elsewhere = run("try", "web", routes=routes, TRACKGATE_LISTEN=address, TRACKGATE_DATA=str(tmp_path / "other"))
        assert elsewhere.exit_code == 1
        assert "server.data" in elsewhere.output
        assert "give --data DIR" in elsewhere.output
        moved = {"routes": tmp_path / "moved.toml", "TRACKGATE_LISTEN": address}
        moved["routes"].write_text(routes.read_text().replace("/data", "/other"))
        assert run("try", "web", **moved).exit_code == 1
        assert run("try", "web", "--data", str(tmp_path / "data"), **moved).exit_code == 0
        wrong = run("try", "web", routes=routes, TRACKGATE_LISTEN=address, WEB_KEY="another")
        assert wrong.exit_code == 1
        assert "< 401" in wrong.output
        for flags in ((), ("--ready",)):
            assert run("health", "--listen", address, *flags, routes=routes).exit_code == 0
    finally:
        assert gateway.stop() == 0


# --- what listens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--listen", "nonsense"), 2, "host:port"),
        (("--listen", "127.0.0.1:99999"), 2, "host:port"),
        (("--listen", "192.0.2.1:80"), 2, "give it key"),
        (("--data", ""), 2, "server.data"),
        (("--sandbox", "--sandbox-listen", "nonsense"), 2, "host:port"),
        (("--data", "routes.toml"), 1, "routes.toml cannot be made (File exists): name another as server.data"),
        (("--data", "/proc/nothing"), 1, "/proc/nothing cannot be made"),
    ],
)
def test_serve_says_why_it_cannot_start(routes, arguments, status, words):
    code, said = program("serve", *arguments, routes=routes)
    assert (code, words in said) == (status, True), said
    assert "Traceback" not in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_that_is_refused_says_why_and_nothing_else(routes, workers):
    text = routes.read_text().replace('"${WEB_KEY}"', '"literal"')
    routes.write_text(text)
    code, said = program("serve", "--workers", workers, "--data", "routes.toml", routes=routes)
    assert code == 1
    assert re.fullmatch("trackgate cannot start: .* cannot be made .*\n", said), said
    routes.write_text(text.replace("auth =", "auht ="))
    code, said = program("serve", "--workers", workers, routes=routes)
    assert code == 2
    assert re.fullmatch(f"{routes}:10: error: .*\n", said), said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_check_warns_of_is_in_the_log_of_a_gateway_that_runs(routes, tmp_path, workers):
    routes.write_text(routes.read_text().replace('"${WEB_KEY}"', '"literal"'))
    flags = ("--workers", workers, "--sandbox", "--sandbox-listen", "127.0.0.1:0")
    gateway = Process(tmp_path / "gateway", "serve", "--config", str(routes), *flags, **SECRETS)
    assert gateway.stop() == 0
    doubts = [line for line in gateway.log() if line["event"] == "configuration.doubted"]
    assert [(line["level"], line["line"], line["key"]) for line in doubts] == [("warning", 7, "sources.web.key")]


def test_an_address_in_use_is_named(routes):
    with taken() as address:
        for arguments in (("--listen", address), ("--sandbox", "--sandbox-listen", address)):
            code, said = program("serve", *arguments, routes=routes)
            assert (code, f"{address} cannot be listened at (Address already in use)" in said) == (1, True), said
        sandbox = run("sandbox", "--listen", address)
        assert sandbox.exit_code == 1
        assert f"{address} cannot be listened at" in sandbox.output


def test_a_foreign_file_in_the_data_directory_is_left_alone(routes, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "outbox.db").write_text("somebody's notes")
    code, said = program("serve", routes=routes)
    assert code == 1
    assert "directory of its own" in said
    assert (tmp_path / "data" / "outbox.db").read_text() == "somebody's notes"


def test_the_data_directory_is_for_its_owner_alone_also_beside_the_sandbox(routes, tmp_path):
    flags = ("--sandbox", "--sandbox-listen", "127.0.0.1:0")
    gateway = Process(tmp_path / "gateway", "serve", "--config", str(routes), *flags, **SECRETS)
    assert gateway.stop() == 0
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "data", tmp_path / "data" / "sandbox")] == [0o700] * 2


@pytest.mark.parametrize("key", ["nobody=key", "flywheel", "flywheel=", "=key"])
def test_the_sandbox_wants_a_vendors_key(key):
    said = run("sandbox", "--key", key)
    assert said.exit_code == 2
    assert "must be VENDOR=KEY, and the vendor one of appizer, flywheel" in said.output


def test_a_stranger_hears_the_401_of_a_vendor_whose_key_was_set(tmp_path):
    with sandbox_with_keys(tmp_path, "flywheel=right", "appizer=a=b") as url:
        known = vendors.load()
        for name, key, status in (
            ("flywheel", "right", 200),
            ("flywheel", "wrong", 401),
            ("appizer", "a=b", 200),
            ("appizer", "a", 401),
            ("userpilot", "any", 202),
        ):
            call = known[name].sample(f"{url}/{name}", key)
            assert httpx.post(call.url, headers=call.headers, content=call.body).status_code == status, (name, key)


@contextmanager
def sandbox_with_keys(folder, *keys):
    flags = [flag for key in keys for flag in ("--key", key)]
    sandbox = Process(folder / "sandbox", "sandbox", "--listen", "127.0.0.1:0", *flags)
    try:
        yield sandbox.url
    finally:
        assert sandbox.stop() == 0


def test_the_sandbox_wants_an_address():
    said = run("sandbox", "--listen", "nonsense")
    assert said.exit_code == 2
    assert "host:port" in said.output


@pytest.mark.parametrize("name", sorted(main.commands))
def test_a_command_answers_to_the_name_it_is_found_by(name):
    assert main.commands[name].name == name
    assert main.commands[name].short_help in run("--help").output


def test_a_command_that_is_not_there_is_told_with_the_one_that_is_meant():
    said = run("serv")
    assert said.exit_code == 2
    assert "Did you mean 'serve'?" in said.output


@pytest.mark.parametrize(
    ("command", "spared"),
    [("serve", {"httpx", "trackgate.cli.control"}), ("health", {"apsw", "httpx", "litestar", "structlog", "uvicorn"})],
)
def test_a_command_imports_nothing_that_only_others_need(command, spared):
    program = f"import sys; from trackgate.cli import main; main.commands['{command}']; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=GUARD)
    imported = set(done.stdout.split())
    assert f"trackgate.cli.{command}" in imported
    assert imported & spared == set()


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "no-such-host.invalid:80", "a..b:80"])
def test_health_says_where_nobody_answers(listen):
    said = run("health", "--listen", listen)
    assert said.exit_code == 1
    assert f"nobody answers at http://{listen}/livez: " in said.output
