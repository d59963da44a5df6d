"""From file, variables and flags to one value."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from tests.config.conftest import CLEAN, ENVIRON, complete
from trackgate import vendors
from trackgate.config import Secret, SecretUnreadable, Server, describe, load
from trackgate.config.kinds import STRING, Several, kind_of
from trackgate.config.reading import fields_of, from_text
from trackgate.config.secret import PLACEHOLDER
from trackgate.model import Event, Unsupported
from trackgate.routing import Match
from trackgate.units import Duration, Size
from trackgate.vendor import Encoded, Options, Target
from trackgate.vendors.userpilot import Userpilot


class Limits(Struct, frozen=True, kw_only=True):
    """A table with a key that must be there."""

    most: int


class TokenOptions(Options, frozen=True, kw_only=True):
    """Options with a secret among them."""

    token: Annotated[str, Meta(extra={"secret": True})] | None = None
    port: Annotated[int, Meta(ge=1)] = 1
    share: float = 0.5
    careful: bool = False
    limits: Limits | None = None


class Tokened(Userpilot):
    """A vendor whose destinations may have a token."""

    name = "tokened"
    options = TokenOptions  # type: ignore[assignment]

    def encode(self, event: Event, target: Target) -> Encoded:
        """Nobody's events but its own."""
        if event.vendor != self.name:
            raise Unsupported("foreign", "not its own")
        return super().encode(event, target)


TOKENED = {"tokened": Tokened(), **vendors.load()}
TO_TOKENED = (
    '[sources.web]\nvendor = "tokened"\nkey = "${WEB_KEY}"\n[destinations.up]\nvendor = "tokened"\nkey = "${UP_KEY}"\n'
)


def test_what_is_not_written_has_its_default(read):
    config, _ = read("")
    assert config.server == Server()
    assert config.server.dedupe_window == Duration.read("7d")
    source, destination, (route,) = config.sources["web"], config.destinations["up"], config.routes
    assert source.vendor is vendors.load()["userpilot"]
    assert [key.value() for key in source.keys] == ["key-of-web"]
    assert not source.keyless
    assert destination.url == "https://analytex.userpilot.io"
    assert destination.target().key == "key-of-up"
    assert (route.name, route.to, route.sources, route.match) == ("route-1", ("up",), None, Match())


def test_what_is_written_is_read(read):
    config, faults = read(
        """
[server]
listen = "[::1]:9090"
max_body = "2MiB"
max_backlog = "1GiB"
max_connections = "${CONNECTIONS}"
retention = "14d"
[sources.web]
vendor = "${VENDOR}"
keys = ["${WEB_KEY}", "${OTHER_KEY}"]
cors = ["https://app.example.com"]
[destinations.up]
vendor = "userpilot"
key = "${UP_KEY}"
url = "https://${HOST}/prefix/"
region = "eu"
timeout = "3s"
concurrency = 5
retry = { max_age = "72h" }
[[routes]]
name = "revenue"
from = ["web"]
to = ["up"]
match = { event = ["purchase_*"], kind = ["track"] }
""",
        {**ENVIRON, "CONNECTIONS": "7", "VENDOR": "userpilot", "HOST": "eu.example.com"},
    )
    assert faults == ()
    assert config.server.address.host == "::1"
    assert (config.server.max_body, config.server.max_backlog) == (Size(2**21), Size(2**30))
    assert config.server.max_connections == 7
    destination = config.destinations["up"]
    assert destination.url == "https://eu.example.com/prefix"
    assert destination.options.region == "eu"
    assert (destination.timeout, destination.concurrency, destination.retry.max_age) == (3.0, 5, 259_200.0)
    assert config.sources["web"].cors == ("https://app.example.com",)
    (route,) = config.routes
    assert (route.name, route.sources) == ("revenue", frozenset({"web"}))
    assert route.match == Match(event=("purchase_*",), kind=("track",))


def test_the_region_decides_the_address(read):
    config, _ = read(CLEAN["[destinations"] + 'region = "eu"\n')
    assert config.destinations["up"].url == "https://analytex-eu.userpilot.io"


def test_flags_win_over_variables_which_win_over_the_file(read):
    text = '[server]\nlisten = "127.0.0.1:1"\ngrace = "1s"\ndata = "one"\n'
    variables = {
        **ENVIRON,
        "TRACKGATE_LISTEN": "127.0.0.1:2",
        "TRACKGATE_GRACE": "2s",
        "TRACKGATE_MAX_CONNECTIONS": "2",
    }
    config, faults = read(text, variables, {"listen": "127.0.0.1:3"})
    assert faults == ()
    assert config.server.listen == "127.0.0.1:3"
    assert (config.server.grace, config.server.max_connections) == (2.0, 2)
    assert config.server.data == Path("one")


def test_every_key_of_the_server_has_a_variable(read):
    told = {
        "listen": "127.0.0.1:1",
        "data": "/data",
        "max_connections": "9",
        "workers": "3",
        "log_format": "json",
        "log_level": "debug",
        "dedupe_window": "9d",
    }
    for name in Server.__struct_fields__:
        told.setdefault(name, "9MiB" if isinstance(getattr(Server(), name), Size) or "max" in name else "9s")
    config, faults = read("", {**ENVIRON, **{f"TRACKGATE_{key.upper()}": text for key, text in told.items()}})
    assert faults == ()
    assert all(getattr(config.server, name) != getattr(Server(), name) for name in told)


def test_variables_that_kubernetes_injects_are_nobodys(read):
    """A service named trackgate gives TRACKGATE_PORT=tcp://... and the like: no key may be called so."""
    injected = {
        "TRACKGATE_PORT": "tcp://10.0.0.1:8080",
        "TRACKGATE_SERVICE_HOST": "10.0.0.1",
        "TRACKGATE_SERVICE_PORT_HTTP": "8080",
        "TRACKGATE_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    assert read("", {**ENVIRON, **injected})[1] == ()
    assert not any(name.split("_")[0] in {"port", "service"} for name in Server.__struct_fields__)


@pytest.mark.parametrize(
    ("variables", "flags", "file"),
    [
        ({"TRACKGATE_GRACE": "soon"}, {}, "TRACKGATE_GRACE"),
        ({}, {"grace": ""}, "--grace"),
        ({"TRACKGATE_GRACE": ""}, {}, "TRACKGATE_GRACE"),
    ],
)
def test_a_fault_outside_the_file_names_the_variable_or_the_flag(read, variables, flags, file):
    config, (fault,) = read("", {**ENVIRON, **variables}, flags)
    assert config is None
    assert (fault.file, fault.line, fault.key) == (file, None, "server.grace")


def test_a_flag_that_opens_the_door_is_seen_by_the_rules(read):
    text = '[sources.web]\nvendor = "userpilot"\nauth = "none"\n'
    assert read(text)[0] is not None
    config, (fault,) = read(text, overrides={"listen": "0.0.0.0:8080"})
    assert config is None
    assert (fault.line, fault.key) == (3, "sources.web.auth")


def test_the_dedupe_window_grows_with_the_retention(read):
    config, faults = read('[server]\nretention = "30d"\n')
    assert faults == ()
    assert config.server.dedupe_window == config.server.retention == Duration.read("30d")


def test_the_sandbox_needs_no_destination_variables(read):
    """Secrets become placeholders, other keys count as not written; a source's key is still needed."""
    text = '[destinations.up]\nvendor = "userpilot"\nkey = "${NO}"\nurl = "${NO}"\nregion = "${NO}"\n'
    assert read(text)[0] is None
    config, faults = read(text, sandbox=True)
    assert faults == ()
    assert config.destinations["up"].target().key == PLACEHOLDER
    assert config.destinations["up"].url == "https://analytex.userpilot.io"
    config, faults = read(text, {}, sandbox=True)
    assert config is None
    assert [fault.key for fault in faults] == ["sources.web.key"]


def test_the_sandbox_needs_no_secret_files(read):
    text = TO_TOKENED.replace("${UP_KEY}", "${file:/nowhere/key}") + 'token = "${file:/nowhere/token}"\n'
    config, faults = read(text, sandbox=True, vendors=TOKENED)
    assert faults == ()
    target = config.destinations["up"].target()
    assert (target.key, target.options.token) == (PLACEHOLDER, PLACEHOLDER)


def test_options_of_every_simple_type_are_read(read):
    config, faults = read(TO_TOKENED + "port = 2\nshare = 1\ncareful = true\n", vendors=TOKENED)
    assert faults == ()
    assert config.destinations["up"].options == TokenOptions(port=2, share=1.0, careful=True)
    text = 'port = "${P}"\nshare = "${S}"\ncareful = "${C}"\n'
    config, faults = read(TO_TOKENED + text, {**ENVIRON, "P": "3", "S": "0.25", "C": "true"}, vendors=TOKENED)
    assert faults == ()
    assert config.destinations["up"].options == TokenOptions(port=3, share=0.25, careful=True)
    _, (fault,) = read(TO_TOKENED + 'share = "${S}"\n', {**ENVIRON, "S": "half"}, vendors=TOKENED)
    assert fault.message == "must be a number"
    _, faults = read(TO_TOKENED + 'port = 0\nshare = nan\ncareful = "yes"\n', vendors=TOKENED)
    assert [(fault.line, fault.key.rpartition(".")[2]) for fault in faults] == [
        (7, "port"),
        (8, "share"),
        (9, "careful"),
    ]


def test_a_secret_option_is_treated_as_a_secret(read, tmp_path):
    """Read anew from its file with each target, warned of in plain text, and never shown."""
    path = tmp_path / "token"
    path.write_text("canary-1\n")
    config, faults = read(TO_TOKENED + f'token = "${{file:{path}}}"\n', vendors=TOKENED)
    assert faults == ()
    destination = config.destinations["up"]
    assert destination.target().options.token == "canary-1"
    assert "canary" not in repr(config)
    path.write_text("canary-2\n")
    assert destination.target().options.token == "canary-2"
    path.unlink()
    with pytest.raises(SecretUnreadable, match="token"):
        destination.target()
    config, (fault,) = read(TO_TOKENED + 'token = "canary"\n', vendors=TOKENED)
    assert config is not None
    assert (fault.level, fault.line, fault.key) == ("warning", 7, "destinations.up.token")


def test_a_table_among_the_options_is_read_and_its_faults_named(read):
    config, faults = read(TO_TOKENED + "limits = { most = 3 }\n", vendors=TOKENED)
    assert faults == ()
    assert config.destinations["up"].options.limits == Limits(most=3)
    config, (fault,) = read(TO_TOKENED + "limits = {}\n", vendors=TOKENED)
    assert config is None
    assert (fault.line, fault.key) == (7, "destinations.up.limits")


def test_an_event_that_cannot_be_said_is_a_loss(read):
    text = CLEAN["[sources"] + TO_TOKENED.partition("[dest")[1] + TO_TOKENED.partition("[dest")[2]
    config, (fault,) = read(text, vendors=TOKENED)
    assert config is not None
    assert "foreign.unsupported (from web)" in fault.message
    assert read(text + 'lossy.allow = ["foreign.unsupported"]\n', vendors=TOKENED)[1] == ()


def test_only_a_single_value_has_a_variable():
    with pytest.raises(TypeError, match="only single values"):
        from_text("a", Several(STRING))


def test_a_rotated_key_is_read_from_its_file(read, tmp_path):
    path = tmp_path / "key"
    path.write_text("old\n")
    config, _ = read(CLEAN["[destinations"].replace("${UP_KEY}", f"${{file:{path}}}"))
    destination = config.destinations["up"]
    assert destination.target().key == "old"
    path.write_text("new\n")
    assert destination.target().key == "new"
    path.unlink()
    with pytest.raises(OSError, match="cannot be read"):
        destination.target()


def test_a_configuration_cannot_be_changed(read):
    config, _ = read("")
    with pytest.raises(AttributeError):
        config.server = Server()
    with pytest.raises(TypeError):
        config.sources["other"] = config.sources["web"]
    with pytest.raises(TypeError):
        config.destinations["other"] = config.destinations["up"]


def test_the_same_file_gives_an_equal_configuration(read):
    """So that a reload can tell that nothing changed."""
    assert read("")[0] == read("")[0]


def test_an_option_that_no_file_can_hold_is_the_vendors_bug():
    class Odd(Options, frozen=True, kw_only=True):
        when: date | None = None

    with pytest.raises(TypeError, match="no key can be of the type"):
        kind_of(fields_of(Odd)["when"].type)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"[server]\nlisten = \n", 2, "not TOML"),
        (b"[server]\n\n[server]\n", 3, "not TOML"),
        (b'[server]\na = "x\n', 2, "not TOML"),
        (b"a = 1\n# \xff\n", 2, "not UTF-8"),
        (b"a = " + b"[" * 5000, None, "nested too deep"),
        (b"a = " + b"9" * 5000, None, "not TOML"),
    ],
)
def test_a_file_that_is_no_toml_names_the_first_such_line(tmp_path, content, line, words):
    path = tmp_path / "routes.toml"
    path.write_bytes(content)
    config, (fault,) = load(path, {}, {})
    assert config is None
    assert (fault.level, fault.line) == ("error", line)
    assert words in fault.message


def test_a_file_that_is_not_there_says_how_to_name_another(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        config, (fault,) = load(path, {}, {})
        assert config is None
        assert "--config" in describe([fault])


WORDS = """server sources destinations routes web up vendor key keys auth cors url timeout retry lossy allow to from
name match event kind listen retention region token max_age concurrency shapes"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.sampled_from(
    [
        "userpilot",
        "flywheel",
        "none",
        "${A}",
        "${",
        "7d",
        "x y",
        "",
        "web",
        "up",
        "track",
        "http://localhost",
        "\n",
        "é",
    ]
) | st.one_of(st.integers(-1, 10**20), st.booleans(), st.floats(), st.dates(), st.datetimes(), st.text(max_size=5))
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5)
)


def toml(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{quoted(key)} = {toml(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return quoted(value)
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case date():
            return value.isoformat()
        case _:
            raise AssertionError(value)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(letter):08x}" for letter in text if not 0xD800 <= ord(letter) < 0xE000) + '"'


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, DOCUMENTS, max_size=5) | DOCUMENTS, max_size=4))
def test_no_file_raises(tmp_path_factory, document):
    """Whatever stands in the file: a configuration or a fault, and each fault in one line with a line of the file."""
    text = "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in document.items())
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8")
    config, faults = load(path, {"A": "canary"}, {})
    assert (config is None) == any(fault.level == "error" for fault in faults)
    assert all(fault.line is None or 1 <= fault.line <= len(document) + 1 for fault in faults)
    assert len(describe(faults).splitlines()) == len(faults)
    assert "canary" not in describe(faults)


@given(st.text(alphabet=st.sampled_from("[]{}=.,#'\"\\ab1 \n\tsourcestofrom$"), max_size=60) | st.text(max_size=40))
def test_no_text_raises(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    config, faults = load(path, {}, {})
    assert config is not None or faults


def test_no_fault_repeats_a_value(read):
    """With a canary in the place of every value, whether literal or from a variable, none is ever repeated."""
    fields = (
        ("server", "listen", "data", "max_body", "grace", "max_connections", "log_level", "nope"),
        ("sources.web", "vendor", "key", "auth", "cors", "nope"),
        ("destinations.up", "vendor", "key", "url", "timeout", "concurrency", "region", "retry", "lossy", "token"),
    )
    for value in (
        '"CANARY"',
        '"${CANARY}"',
        '"http://CANARY@x"',
        '["CANARY"]',
        '["${CANARY}"]',
        "{ allow = ['CANARY'] }",
    ):
        for table, *keys in fields:
            for key in keys:
                text = complete(f"[{table}]\n{key} = {value}\n")
                _, faults = read(text, {**ENVIRON, "CANARY": "CANARY"})
                assert "CANARY" not in describe(faults).replace("the variable CANARY", "")
        routes = f"[[routes]]\nto = {value}\nfrom = {value}\nname = {value}\nmatch = {value}\n"
        _, faults = read(routes, {**ENVIRON, "CANARY": "CANARY"})
        assert faults
        assert "CANARY" not in describe(faults)


def test_a_placeholder_is_a_credential():
    assert Secret(PLACEHOLDER).credential() == PLACEHOLDER
