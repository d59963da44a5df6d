"""Each rule of ``check``: a comment ``#! error key: words`` stands on the line that the fault must name."""

# ruff: noqa: E501 - an announcement stands on the one line that it speaks of

from __future__ import annotations

import pytest

from tests.config.conftest import CLEAN, ENVIRON, marked
from trackgate.config import describe

CASES = {
    "an unknown key has a suggestion": """
        [server]
        listn = "127.0.0.1:80"             #! error server.listn: unknown key; did you mean "listen"?
    """,
    "an unknown key that is like none has no suggestion": """
        [server]
        colour = "blue"                    #! error server.colour: unknown key
    """,
    "an unknown table has a suggestion": """
        [sever]                            #! error sever: unknown table; did you mean "server"?
        listen = "127.0.0.1:80"
    """,
    "a misspelt key that is required is one fault, not two": """
        [destinations.up]
        vendor = "userpilot"
        kee = "${UP_KEY}"                  #! error destinations.up.kee: unknown key; did you mean "key"?
    """,
    "a missing key is named at its table": """
        [destinations.up]                  #! error destinations.up: `key` is missing
        vendor = "userpilot"
    """,
    "an unset variable is named": """
        [sources.web]
        vendor = "userpilot"
        key = "${NOWHERE}"                 #! error sources.web.key: the variable NOWHERE is not set
    """,
    "an empty variable is named": """
        [sources.web]
        vendor = "userpilot"
        keys = [
          "${WEB_KEY}",
          "${EMPTY}",                      #! error sources.web.keys[1]: the variable EMPTY is empty
        ]
    """,
    "an unset variable is named in any string": """
        [server]
        data = "${NOWHERE}/data"           #! error server.data: the variable NOWHERE is not set
    """,
    "an empty string is no value": """
        [server]
        data = ""                          #! error server.data: is empty
    """,
    "an empty secret is told as that": """
        [sources.web]
        vendor = "userpilot"
        key = ""                           #! error sources.web.key: is empty: give it a value
    """,
    "all that is missing of one string is named, once each": """
        [sources.web]
        vendor = "userpilot"
        key = "${A}-${EMPTY}-${WEB_KEY}-${A}-${file:/nowhere/key}" #! error sources.web.key: the variable A is not set: set it; the variable EMPTY is empty: set it; the file /nowhere/key cannot be read
    """,
    "every file that a secret lacks is named": """
        [sources.web]
        vendor = "userpilot"
        key = "${file:/nowhere/a}${file:/nowhere/b}" #! error sources.web.key: the file /nowhere/a cannot be read (No such file or directory): put it there; the file /nowhere/b cannot be read
    """,
    "a key that is not there hides nothing else that is wrong with its destination": """
        [destinations.up]                  #! warning destinations.up.lossy: kind.changed
        vendor = "flywheel"
        key = "${NOWHERE}"                 #! error destinations.up.key: the variable NOWHERE is not set
        url = "http://localhost:8080/v1/events" #! warning destinations.up.url: leave /v1/events off #! error destinations.up.url: this gateway itself
    """,
    "an address with more than one thing too many": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        url = "http://user@host?a=b"       #! error destinations.up.url: must not hold a user #! error destinations.up.url: must have no query
    """,
    "nor does one that nobody wrote": """
        [destinations.up]                  #! error destinations.up: `key` is missing
        vendor = "userpilot"
        url = "http://localhost:8080"      #! error destinations.up.url: this gateway itself
    """,
    "a broken reference is no literal": """
        [server]
        data = "${no-name}"                #! error server.data: write $${ for a literal ${
    """,
    "a secret file that is not there is named": """
        [sources.web]
        vendor = "userpilot"
        key = "${file:/nowhere/key}"       #! error sources.web.key: the file /nowhere/key cannot be read
    """,
    "a key that no header can carry": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY} "                #! error sources.web.key: no HTTP header can carry
    """,
    "wrong types say what is wanted": """
        [server]
        listen = 8080                      #! error server.listen: must be a string
        max_body = 1048576                 #! error server.max_body: must be a size such as
        grace = "20"                       #! error server.grace: must be a duration such as
        body_timeout = "0s"                #! error server.body_timeout: must be more than zero
        retention = "99999d"               #! error server.retention: must be at most 36500d
        max_connections = true             #! error server.max_connections: must be a whole number, minimum 1
        log_level = "loud"                 #! error server.log_level: must be one of
    """,
    "a body that could be taken, and never delivered": """
        [server]
        max_body = "128.1MiB"              #! error server.max_body: must be at most 128MiB
    """,
    "a number out of bounds": """
        [server]
        max_connections = 0                #! error server.max_connections: must be a whole number, minimum 1
    """,
    "a table in the place of a list, and a value in the place of a table": """
        [routes]                           #! error routes: must be a list of tables: write [[routes]]
        to = ["up"]
        [destinations]
        up = "userpilot"                   #! error destinations.up: must be a table  #! warning destinations.up: no route names it
        [sources.web]                      #! warning sources.web: no route takes from it
        vendor = "userpilot"
        key = "${WEB_KEY}"
    """,
    "a value in the place of all sources": """
        sources = 1                        #! error sources: must be tables: write [sources.NAME]  #! warning sources: there is none
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        [[routes]]
        to = ["up"]
        # [sources
    """,
    "an address to listen at": """
        [server]
        listen = "8080"                    #! error server.listen: must be host:port
    """,
    "a dedupe window shorter than the retention": """
        [server]
        retention = "7d"
        dedupe_window = "6d"               #! error server.dedupe_window: must be at least `retention`
    """,
    "an unknown vendor": """
        [sources.web]
        vendor = "userpilt"                #! error sources.web.vendor: there are appizer, flywheel
        key = "${WEB_KEY}"
        [destinations.up]
        vendor = "userpilt"                #! error destinations.up.vendor: did you mean "userpilot"?
        key = "${UP_KEY}"
    """,
    "unknown names in routes": """
        [[routes]]
        from = ["wob"]                     #! error routes.route-1.from[0]: there are web; did you mean "web"?
        to = [
          "up",
          "down",                          #! error routes.route-1.to[1]: unknown destination; there are up
        ]
    """,
    "a glob that is never closed": """
        [[routes]]
        to = ["up"]
        match.event = [
          "[a",                            #! warning routes.route-1.match.event[0]: its `[` is never closed, so it stands for itself
          "[]a",                           #! warning routes.route-1.match.event[1]: write `[[]` if that is meant
          "[abc]*[!",                      #! warning routes.route-1.match.event[2]: never closed
          "[[]*", "[]a]", "[!]a]", "[!_]*", "a]",
        ]
    """,
    "a route to nowhere": """
        [[routes]]
        to = ["up"]
        [[routes]]
        name = "lost"
        to = []                            #! error routes.lost.to: goes nowhere
    """,
    "a route that takes nothing": """
        [[routes]]
        to = ["up"]
        from = []                          #! error routes.route-1.from: takes from no source
        [routes.match]
        event = []                         #! error routes.route-1.match.event: takes nothing
        kind = []                          #! error routes.route-1.match.kind: takes nothing
        [sources.web]                      #! warning sources.web: no route takes from it
        vendor = "userpilot"
        key = "${WEB_KEY}"
    """,
    "a kind that is none": """
        [[routes]]
        to = ["up"]
        match = { kind = ["track", "group"] } #! error routes.route-1.match.kind[1]: must be one of "identify", "track"
    """,
    "two routes of one name": """
        [[routes]]
        to = ["up"]
        [[routes]]
        name = "route-1"                   #! error routes.route-1.name: another route has this name
        to = ["up"]
    """,
    "what no route names is said": """
        [sources.web]                      #! warning sources.web: no route takes from it
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [sources.shop]
        vendor = "thrivestack"
        key = "${OTHER_KEY}"
        [destinations.up]                  #! warning destinations.up: no route names it
        vendor = "userpilot"
        key = "${UP_KEY}"
        [destinations.thrive]
        vendor = "thrivestack"
        key = "${UP_KEY}"
        [[routes]]
        from = ["shop"]
        to = ["thrive"]
    """,
    "a source has a key or says that it has none": """
        [sources.web]                      #! error sources.web: write key = "${NAME}", or auth = "none"
        vendor = "userpilot"
        [sources.shop]
        vendor = "thrivestack"
        key = "${OTHER_KEY}"
        auth = "none"                      #! error sources.shop.auth: remove `auth = "none"`, or remove the key
        [sources.app]
        vendor = "appizer"
        key = "${OTHER_KEY}"
        keys = ["${WEB_KEY}"]              #! error sources.app.keys: write `key` or `keys`, not both
        [[routes]]
        to = ["up"]
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        lossy.allow = ["arrays.changed", "objects.changed", "context.other.dropped", "device_id.dropped",
          "origin.dropped", "session_id.dropped", "timestamp.dropped"]
    """,
    "a keyless source off loopback": """
        [server]
        listen = "0.0.0.0:8080"
        [sources.web]
        vendor = "userpilot"
        auth = "none"                      #! error sources.web.auth: give it key = "${NAME}", or listen on 127.0.0.1
    """,
    "names that are none": """
        [sources.Web]                      #! error sources.Web: not a name
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [destinations."a b"]               #! error destinations."a b": not a name
        vendor = "userpilot"
        key = "${UP_KEY}"
        [[routes]]
        name = "-"                         #! error routes.route-1.name: not a name
        to = ["a b"]
    """,
    "one key in two sources of a vendor": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [sources.app]
        vendor = "userpilot"
        keys = [
          "${OTHER_KEY}",
          "${WEB_KEY}",                    #! error sources.app.keys[1]: is a key of sources.web too
        ]
    """,
    "one key in two vendors that cannot be told apart by path and header is no fault where they can": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [sources.app]
        vendor = "thrivestack"
        key = "${WEB_KEY}"
        [[routes]]
        from = ["web"]
        to = ["up"]
        [[routes]]
        from = ["app"]
        to = ["thrive"]
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        [destinations.thrive]
        vendor = "thrivestack"
        key = "${UP_KEY}"
    """,
    "the vendor's path stands in the url": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        url = "https://here.example/v1/track" #! warning destinations.up.url: leave /v1/track off
        [[routes]]
        to = ["up"]
    """,
    "an identify call has no name to match": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        [[routes]]
        to = ["up"]
        match = { kind = ["identify"], event = ["a"] } #! warning routes.route-1.match: takes nothing
    """,
    "keyless sources of one vendor cannot be told apart at the root": """
        [sources.web]
        vendor = "userpilot"
        auth = "none"
        [sources.app]
        vendor = "userpilot"
        auth = "none"                      #! warning sources.app.auth: nothing tells its calls from those of sources.web at /v1/identify, /v1/track: use /web/v1/identify, /app/v1/identify
    """,
    "a keyless source beside one of its vendor with a key cannot be reached at the root": """
        [sources.web]
        vendor = "userpilot"
        auth = "none"                      #! warning sources.web.auth: nothing tells its calls from those of sources.app
        [sources.app]
        vendor = "userpilot"
        key = "${WEB_KEY}"
    """,
    "keyless sources that share a path are told apart by the form of the credential alone": """
        [sources.fly]
        vendor = "flywheel"
        auth = "none"
        [sources.app]
        vendor = "appizer"
        auth = "none"                      #! warning sources.app.auth: only the form of a credential tells its calls from those of sources.fly at /v1/events: use /fly/v1/events, /app/v1/events
        [destinations.fly]
        vendor = "appizer"
        key = "${UP_KEY}"
        [[routes]]
        to = ["fly"]
    """,
    "secrets in plain text": """
        [sources.web]
        vendor = "userpilot"
        keys = ["plain",                   #! warning sources.web.keys[0]: a secret in plain text
          "${WEB_KEY}"]
        [destinations.up]
        vendor = "userpilot"
        key = "plain-$${x}"                #! warning destinations.up.key: write "${NAME}"
    """,
    "an option of another vendor": """
        [destinations.up]
        vendor = "flywheel"
        key = "${UP_KEY}"
        region = "eu"                      #! error destinations.up.region: unknown to flywheel: it is an option of userpilot
        lossy.allow = ["name.changed", "name.dropped", "nulls.dropped", "kind.changed"]
    """,
    "an option with a value that it does not have": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        region = "mars"                    #! error destinations.up.region: must be one of "eu", "us"
    """,
    "a rate and a limit that are none": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        rate = "600"                       #! error destinations.up.rate: must be a rate such as "10/s", "600/min" or "5000/h"
        backlog = { max = 5, full = "drop" } #! error destinations.up.backlog.max: must be a size #! error destinations.up.backlog.full: must be one of "refuse", "shed"
    """,
    "a rate of nothing": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        rate = "0/s"                       #! error destinations.up.rate: must be more than zero
    """,
    "a rate and a limit": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        rate = "600/min"
        backlog = { max = "2GiB", full = "shed" }
    """,
    "keys of later versions": """
        [shapes.x]                         #! error shapes: not available in this version
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        mode = "live"                      #! error destinations.up.mode: not available in this version
        batch = 5                          #! error destinations.up.batch: not available in this version
        [[routes]]
        to = ["up"]
        where = "x"                        #! error routes.route-1.where: not available in this version
        consent = "x"                      #! error routes.route-1.consent: not available in this version
        since = 2026-01-01                 #! error routes.route-1.since: not available in this version
        until = 2026-01-01                 #! error routes.route-1.until: not available in this version
        cutover = 10                       #! error routes.route-1.cutover: not available in this version
    """,
    "a loss that nobody has accepted": """
        [destinations.up]
        vendor = "flywheel"
        key = "${UP_KEY}"
        lossy = { allow = ["kind.changed"] } #! warning destinations.up.lossy: name.changed (from web); nulls.dropped (from web); if you can live with that: lossy = { allow = ["kind.changed", "name.changed", "nulls.dropped"] }
    """,
    "a loss counts only for the kinds that are routed": """
        [destinations.up]                  #! warning destinations.up.lossy: here: kind.changed (identify calls from web); nulls.dropped (identify calls from web); if
        vendor = "flywheel"
        key = "${UP_KEY}"
        [[routes]]
        to = ["up"]
        match.kind = ["identify"]
    """,
    "a loss of identify calls alone says so": """
        [destinations.up]                  #! warning destinations.up.lossy: here: kind.changed (identify calls from late, web); name.changed (from late); nulls.dropped (from late; identify calls from web); if
        vendor = "flywheel"
        key = "${UP_KEY}"
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        [sources.late]
        vendor = "userpilot"
        key = "${OTHER_KEY}"
        [[routes]]
        from = ["late"]
        to = ["up"]
        [[routes]]
        to = ["up"]
        match.kind = ["identify"]
    """,
    "a code of a note that there is not": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        lossy.allow = ["name.chnged"]      #! error destinations.up.lossy.allow[0]: no such code; did you mean "name.changed"?
    """,
    "retries that wait longer at first than at most": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        [destinations.up.retry]            #! error destinations.up.retry: `max_delay` must be at least `base`
        base = "1h"
    """,
    "an unknown key of a table in a line": """
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        retry = { max_aeg = "7d" }         #! error destinations.up.retry.max_aeg: did you mean "max_age"?
    """,
    "a route that is no table": """
        routes = [
          1,                               #! error routes.route-1: must be a table
        ] # [routes
    """,
    "a vendor that cannot be read": """
        [destinations.up]
        vendor = "${"                      #! error destinations.up.vendor: write $${ for a literal ${
        key = "${UP_KEY}"
        region = "eu"
    """,
    "an origin is no address": """
        [sources.web]
        vendor = "userpilot"
        key = "${WEB_KEY}"
        cors = ["https://app.example.com", "https://app.example.com/", "*"] #! error sources.web.cors[1]: must be an origin #! error sources.web.cors[2]: must be an origin
    """,
    "texts and comments that look like tables do not mislead": """
        [server]
        data = '''
          [sources.web]
          vendor = "no"
        '''
        #   [destinations.none]
        colour = "red" # x = 1             #! error server.colour: unknown key
    """,
}


def lines_of(text: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in text.splitlines())


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_a_rule_names_the_line_the_key_and_what_to_do(read, text):
    """Exactly the announced faults are found, and errors alone stand in the way of a configuration."""
    announced = marked(lines_of(text))
    config, faults = read(lines_of(text))
    assert [(fault.level, fault.line, fault.key) for fault in faults] == [each[:3] for each in announced], describe(
        faults
    )
    for fault, (*_, words) in zip(faults, announced, strict=True):
        assert words in fault.message
    assert (config is None) == any(fault.level == "error" for fault in faults)


def test_a_clean_file_has_no_fault(read):
    config, faults = read("")
    assert config is not None
    assert faults == ()


@pytest.mark.parametrize("name", ["livez", "readyz", "metrics", "v1", "api", "events", "users"])
def test_a_source_cannot_have_the_name_of_a_path(read, name):
    config, faults = read(CLEAN["[sources"].replace("web", name))
    assert config is None
    assert [(fault.line, fault.key) for fault in faults] == [(1, f"sources.{name}")]
    assert "reserved" in faults[0].message


@pytest.mark.parametrize(
    ("listen", "url", "here"),
    [
        ("127.0.0.1:8080", "http://localhost:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/flywheel", True),
        ("127.0.0.1:8080", "http://[::1]:8080", True),
        ("127.0.0.1:8080", "http://0.0.0.0:8080", True),
        ("127.0.0.1:80", "http://LOCALHOST.", True),
        ("127.0.0.1:443", "https://localhost", True),
        ("0.0.0.0:8080", "http://127.0.0.1:8080", True),
        ("[::]:8080", "http://localhost:8080", True),
        ("gateway.internal:8080", "http://Gateway.internal:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", False),
        ("127.0.0.1:8080", "http://10.0.0.7:8080", False),
        ("127.0.0.1:8080", "http://gateway.internal:8080", False),
        ("10.0.0.7:8080", "http://127.0.0.1:8080", False),
        ("127.0.0.1:0", "http://127.0.0.1:80", False),
    ],
)
def test_a_destination_cannot_be_this_gateway(read, listen, url, here):
    _, faults = read(CLEAN["[destinations"] + f'url = "{url}"\n[server]\nlisten = "{listen}"\n')
    assert [(fault.line, fault.key) for fault in faults] == ([(4, "destinations.up.url")] if here else [])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host",
        "//host",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://ho st",
        "http://[::1",
        "http://host\\n",
        "http://höst",
        "http://user:canary@host",
        "https://host?canary",
        "https://host/#canary",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_repeated(read, url):
    config, faults = read(CLEAN["[destinations"] + f'url = "{url}"\n')
    assert config is None
    assert [(fault.line, fault.key) for fault in faults] == [(4, "destinations.up.url")]
    assert "canary" not in describe(faults)


def test_all_faults_come_at_once_in_the_order_of_the_lines(read):
    """A file with ten faults of all sorts names all ten in one go."""
    text = lines_of("""
        [server]
        listn = "127.0.0.1:80"                        #! error server.listn: unknown key
        grace = "soon"                                #! error server.grace: must be a duration
        [sources.v1]                                  #! error sources.v1: reserved
        vendor = "userpilot"
        key = "${NOWHERE}"                            #! error sources.v1.key: NOWHERE
        [sources.web]                                 #! warning sources.web: no route takes from it
        vendor = "userpilot"
        key = "plain"                                 #! warning sources.web.key: plain text
        [destinations.up]
        vendor = "userpilot"
        key = "${UP_KEY}"
        url = "http://localhost:8080"                 #! error destinations.up.url: this gateway itself
        mode = "live"                                 #! error destinations.up.mode: not available
        [[routes]]
        from = ["v1"]
        to = ["up", "upp"]                            #! error routes.route-1.to[1]: did you mean "up"?
        match = { kind = ["page"] }                   #! error routes.route-1.match.kind[0]: must be one of
    """)
    _, faults = read(text)
    assert [(fault.level, fault.line, fault.key) for fault in faults] == [each[:3] for each in marked(text)]
    assert len(faults) == 10


def test_faults_read_as_one_line_each(read):
    _, faults = read('[server]\nlistn = ""\n', {**ENVIRON, "TRACKGATE_LISTEN": "x"})
    first, second = describe(faults).splitlines()
    assert first.startswith("TRACKGATE_LISTEN: error: server.listen: must be host:port")
    assert second.endswith('routes.toml:2: error: server.listn: unknown key; did you mean "listen"?')
