"""What operators see and do from the command line: without a gateway, and beside a running one."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import apsw
import httpx
import pytest
from click.testing import CliRunner

from tests.made import NOON
from tests.operate.bench import ROUTES, Bench
from tests.outboxes.kinds import Sqlite
from tests.program.running import GUARD, appizer, arrived, metrics, stage, until
from trackgate.cli import main
from trackgate.cli.status import _backlog
from trackgate.operate import inquiries
from trackgate.operate.tally import of_destination
from trackgate.outbox import DestinationTally, Standing
from trackgate.outboxes.sqlite import database
from trackgate.outboxes.sqlite.database import FILE
from trackgate.outboxes.sqlite.lock import own

BEARER = {"authorization": "Bearer in-appizer"}


class Data(Sqlite):
    """The outbox of a data directory that the configuration names."""

    @property
    def directory(self) -> Path:
        return self._place / "data"


@pytest.fixture
def folder(tmp_path):
    """A configuration, and an outbox that no gateway runs on: two causes of death, and one destination has left."""
    server = f'[server]\ndata = "{tmp_path}/data"\ndead_retention = "3650d"\n'
    (tmp_path / "routes.toml").write_text(server + ROUTES)

    async def fill():
        kind = Data(tmp_path)
        outbox = await kind.open()
        bench = Bench(kind, outbox, None)
        await bench.kill("there", 1, 2, 3, name="signed_up")
        await bench.kill("here", 4, reason="status_413", name="a_name_that_is_longer_than_its_column")
        await bench.owe("gone", 5, 6)
        outbox.count_rejected("web", "invalid", 2)
        await outbox.close()

    asyncio.run(fill())
    return tmp_path


def run(folder, *arguments, status=0):
    said = CliRunner().invoke(main, [*arguments, "--config", str(folder / "routes.toml")])
    assert said.exit_code == status, (said.output, said.exception)
    return said.output


def on_terminal(folder, *arguments, columns):
    """What a command writes to a terminal that is so wide."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "trackgate", *arguments, "--config", str(folder / "routes.toml")]
    try:
        subprocess.run(command, stdout=its, env=environ, check=True, timeout=GUARD)
        return os.read(ours, 65_536).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(its)


def still(text):
    """Without what differs from run to run."""
    return re.sub(r"at 2\d{3}-\S+Z|\d+d(?=\s)", "NOW", text)


def spoil(folder, sql):
    connection = apsw.Connection(str(folder / "data" / FILE))
    connection.execute(sql)
    connection.close()


# --- without a gateway ------------------------------------------------------------------------------------------

STATUS = """\
gateway  not running, NOW
backlog  248 B

source  received  accepted  duplicate  rejected  unrouted
web            8         6          0         2         0
  web: rejected for invalid 2

destination  state   owed  delivered  due  parked  dead  dropped  filtered  oldest  rate
gone         parked     2          0    0       2     0        0         0    NOW     -
here         up         1          0    0       0     1        0         0       -     -
there        up         3          0    0       0     3        0         0       -     -
  gone is parked: not in routes.toml

received = accepted + duplicate + rejected; owed = delivered + due + parked + dead + dropped
it adds up: as many wait, and are dead, in the outbox as were counted
"""

DEAD = """\
count  destination  reason      latest                detail
    3  there        status_400  2026-03-01T12:03:00Z  said no
    1  here         status_413  2026-03-01T12:04:00Z  said no

died                  event id  destination  name                                   tries  reason
2026-03-01T12:04:00Z  event-4   here         a_name_that_is_longer_than_its_column      1  status_413
2026-03-01T12:03:00Z  event-3   there        signed_up                                  1  status_400
and 2 more: --limit, or a filter, shows them
"""

FOUND = """\
event     event-3
  what    signed_up
  from    web, received 2026-03-01T12:00:00Z
  destination  fate  tries  last
  there        dead      1  400 in 10 ms at 2026-03-01T12:03:00Z
"""

SHOWN = """\
event-3 is dead at there since 2026-03-01T12:03:00Z: status_400
  said no

event
  {
    "id": "event-3",
    "vendor": "userpilot",
    "source": "web",
    "received_at": "2026-03-01T12:00:00Z",
    "name": "signed_up",
    "user_id": "u-1"
  }

tried (track)  400 in 10 ms at 2026-03-01T12:03:00Z
  no

request, as it was sent
  POST https://old.example/v1/events
  x: ***

  {
    "a": 1
  }

today this would be sent instead
  --- as sent
  +++ today
"""


def test_status_is_readable_without_a_gateway_and_adds_up(folder):
    assert still(run(folder, "status")) == STATUS


def test_status_fails_where_it_does_not_add_up_and_says_what_to_do(folder):
    spoil(folder, "delete from dead where seq = 2")
    said = run(folder, "status", status=1).splitlines()[-1]
    assert said == (
        "it does not add up: destination there: 3 dead as counted, 2 in the outbox; "
        "restart the gateway: it salvages its outbox as it starts, and logs what is lost"
    )

    async def restart():
        await (await Data(folder).open()).close()

    asyncio.run(restart())
    assert "it adds up" in run(folder, "status")


def test_status_does_not_say_that_it_adds_up_where_nobody_looked(folder, monkeypatch):
    monkeypatch.setattr(inquiries, "LONGEST_CHECK", -1)
    monkeypatch.setattr(database, "STEPS", 1)
    said = run(folder, "status")
    assert "it adds up" not in said
    assert said.endswith("not compared with what is in the outbox: that would take longer than -1 s\n")


def test_the_dead_are_led_by_their_causes(folder):
    assert run(folder, "dead", "list", "--limit", "2") == DEAD
    assert run(folder, "dead", "list", "--reason", "nothing") == "none\n"


def test_an_event_is_found_and_its_death_shown(folder):
    assert run(folder, "find", "event-3") == FOUND
    assert run(folder, "dead", "show", "event-3").startswith(SHOWN)
    assert "not dead at here" in run(folder, "dead", "show", "event-3", "--destination", "here", status=1)


async def _with_a_long_detail(folder, detail):
    kind = Data(folder)
    outbox = await kind.open()
    await Bench(kind, outbox, None).kill("here", 7, name="n" * 60, detail=detail)
    await outbox.close()


def test_what_others_wrote_is_cut_to_the_terminal_and_never_where_there_is_none(folder):
    detail = "the vendor says\nat length " + "why " * 30
    asyncio.run(_with_a_long_detail(folder, detail))
    listed = " ".join(detail.split())
    assert f"2026-03-01T12:01:00Z  {listed}\n" in run(folder, "dead", "list")
    assert f"  {'n' * 60} " in run(folder, "dead", "list")
    assert f"  {'n' * 60}\n" in run(folder, "find", "event-7")
    for columns in (95, 115):
        shown = on_terminal(folder, "dead", "list", columns=columns).splitlines()
        assert max(map(len, shown)) == columns
        assert sum(len(line) == columns for line in shown) >= 2
    assert len(on_terminal(folder, "find", "event-7", columns=40).splitlines()[1]) == 40


def test_an_id_is_asked_for_where_there_is_none(folder):
    for command in (("find", ""), ("find", "  "), ("find", "/"), ("dead", "show", "")):
        said = run(folder, *command, status=2)
        assert "the reply's trackgate-event-id" in said
        assert "01a1fde8-f0fe-7715-b446-c571e6a31c86" in said


def test_everything_is_json_for_programs(folder):
    assert json.loads(run(folder, "status", "--json"))["destinations"]["there"]["dead"] == 3
    assert json.loads(run(folder, "dead", "list", "--json"))["total"] == 4
    assert json.loads(run(folder, "find", "event-3", "--json"))["events"][0]["event"]["id"] == "event-3"
    shown = json.loads(run(folder, "dead", "show", "event-3", "--json"))
    assert shown["letters"][0]["difference"]["as_sent"]["body"] == '{"a":1}'


def test_who_only_looks_takes_no_lock(folder):
    let_go = own(folder / "data")
    try:
        for command in (("status",), ("dead", "list"), ("find", "event-3"), ("dead", "retry", "--all", "--dry-run")):
            run(folder, *command)
        assert "is in use by process" in run(folder, "dead", "retry", "--all", status=1)
    finally:
        let_go()


def test_a_retry_without_a_gateway_is_sent_at_the_next_start(folder):
    said = run(folder, "dead", "retry", "--destination", "there")
    assert "3 due again; they are sent as soon as the gateway runs" in said
    assert json.loads(run(folder, "status", "--json"))["destinations"]["there"]["due"] == 3
    assert "none of the dead is like that" in run(folder, "dead", "retry", "--destination", "there", status=1)


def test_a_dry_run_shows_the_count_and_a_difference_for_each_cause(folder):
    said = run(folder, "dead", "retry", "--all", "--dry-run")
    assert said.startswith("4 would be due again\n\n3 at there, status_400; for example event-3\n")
    assert said.count("-POST https://old.example/v1/events") == 2
    assert "a-secret" not in said
    assert json.loads(run(folder, "status", "--json"))["destinations"]["there"]["dead"] == 3


def test_what_gives_something_up_wants_a_yes(folder):
    assert "4 events would be given up, for good: add --yes" in run(folder, "dead", "drop", "--all", status=1)
    assert "1 dropped" in run(folder, "dead", "drop", "--id", "event-4", "--yes")
    assert "2 events would be given up at gone, for good: add --yes" in run(folder, "drop", "gone", status=1)
    assert "2 events dropped at gone" in run(folder, "drop", "gone", "--yes")
    assert "nothing waits at gone" in run(folder, "drop", "gone", "--yes", status=1)
    rows = json.loads(run(folder, "status", "--json"))["destinations"]
    assert (rows["here"]["dropped"], rows["gone"]["dropped"], rows["there"]["dead"]) == (1, 2, 3)


def test_what_waits_where_nobody_delivers_any_more_is_moved(folder):
    assert "2 events moved from gone to here" in run(folder, "move", "gone", "here")
    assert "there was nothing to move" in run(folder, "move", "gone", "here", status=1)
    assert json.loads(run(folder, "status", "--json"))["destinations"]["here"]["due"] == 2


def test_resume_without_a_gateway_is_for_the_next_start(folder):
    assert "here will start as up" in run(folder, "resume", "here")
    assert 'did you mean "there"?' in run(folder, "resume", "therex", status=1)


def test_a_pause_is_told_with_its_end_and_what_ends_it_earlier(folder):
    """By the status and for each event that waits there, until a resume without a gateway ends it."""

    async def wait():
        kind = Data(folder)
        outbox = await kind.open()
        await Bench(kind, outbox, None).owe("there", 7)
        await Bench(kind, outbox, None).owe("here", 8)
        end = NOON.replace(year=2100)
        await outbox.stand("there", Standing(paused_at=NOON, paused_until=end))
        await outbox.stand("here", Standing(state="down", reason="status_503", paused_at=NOON, paused_until=end))
        await outbox.close()

    asyncio.run(wait())
    line = "\n  there is paused until 2100-03-01T12:00:00Z (Retry-After); trackgate resume there sends now\n"
    assert line in run(folder, "status")
    assert line.replace("there", "here") in run(folder, "status")
    found = run(folder, "find", "event-7")
    assert line in found
    assert re.search(r"there +due +0 +again at 2100-03-01T12:00:00Z\n", found)
    found = run(folder, "find", "event-8")
    assert line.replace("there", "here") in found
    assert re.search(r"here +due +0 +here is down \(status_503\)\n", found)
    assert (
        json.loads(run(folder, "status", "--json"))["destinations"]["there"]["paused_until"] == "2100-03-01T12:00:00Z"
    )
    assert "there will start as up, without a pause" in run(folder, "resume", "there")
    assert line not in run(folder, "status")
    assert "paused" not in run(folder, "find", "event-7")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("dead", "retry"), 2, "or else --all"),
        (("dead", "drop", "--yes"), 2, "or else --all"),
        (("dead", "retry", "--all", "--id", "x"), 2, "or else --all"),
        (("dead", "retry", "--all", "--rate", "fast"), 2, 'must be a rate such as "10/s", "600/min"'),
        (("dead", "retry", "--all", "--rate", "0/min"), 2, "must be more than zero"),
        (("dead", "retry", "--all", "--rate", "1.5/d"), 1, "nothing would be delivered at any --rate"),
        (("dead", "retry", "--all", "--rate", "100/min"), 1, "nothing would be delivered at any --rate"),
        (("dead", "list", "--since", "yesterday"), 2, "an age such as 30m"),
        (("dead", "list", "--destination", "therex"), 1, 'did you mean "there"?'),
        (("find", "nobody"), 1, "No event has the id 'nobody'"),
        (("find", ".."), 1, "No event has the id '..'"),
        (("move", "here", "there"), 1, "take it out of the file"),
        (("resume", "a/b"), 1, "There is no destination 'a/b'"),
        (("move", "a/b", "here"), 1, "There is no destination 'a/b'"),
        (("drop", "a/b"), 1, "There is no destination 'a/b'"),
        (("status", "--data", "/nowhere/at-all"), 2, "name it with --data, or start the gateway"),
        (("dead", "retry", "--all", "--data", "/nowhere/at-all"), 2, "start the gateway (trackgate serve)"),
        (("status", "--sandbox"), 2, "data/sandbox"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(folder, arguments, status, words):
    said = run(folder, *arguments, status=status)
    assert words in said
    assert "Traceback" not in said


def test_an_empty_directory_is_no_outbox(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    for command in (("status",), ("dead", "retry", "--all")):
        assert "there is no outbox in" in run(folder, *command, "--data", str(tmp_path / "empty"), status=2)
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_outbox_of_the_other_mode_is_pointed_at(folder):
    assert "leave --sandbox out" in run(folder, "status", "--sandbox", status=2)
    in_sandbox(folder)
    for command in (("status",), ("dead", "retry", "--all")):
        assert "there is one in" in (said := run(folder, *command, status=2))
        assert "add --sandbox" in said
    assert still(run(folder, "status", "--sandbox")) == STATUS


def test_what_would_be_sent_from_a_sandbox_leads_to_the_sandbox(folder, monkeypatch):
    in_sandbox(folder)
    assert "+POST http://127.0.0.1:8090/thrivestack/" in run(folder, "dead", "show", "event-3", "--sandbox")
    monkeypatch.setenv("TRACKGATE_SANDBOX_LISTEN", "127.0.0.1:8097")
    said = run(folder, "dead", "retry", "--all", "--dry-run", "--sandbox")
    assert said.count("+POST http://127.0.0.1:8097/") == 2


def in_sandbox(folder):
    """The outbox as `serve --sandbox` would have made it."""
    (folder / "data").rename(folder / "sandbox")
    (folder / "data").mkdir()
    (folder / "sandbox").rename(folder / "data" / "sandbox")


def test_a_change_without_a_gateway_leaves_a_line_in_the_log(folder, capfd):
    run(folder, "dead", "list")
    run(folder, "dead", "retry", "--all", "--dry-run")
    assert capfd.readouterr().err == ""
    run(folder, "dead", "retry", "--destination", "there")
    run(folder, "dead", "drop", "--all", "--yes")
    run(folder, "resume", "here")
    run(folder, "move", "gone", "here")
    lines = map(json.loads, capfd.readouterr().err.splitlines())
    assert [(line["event"], line.get("count"), line.get("destination")) for line in lines] == [
        ("dead.retried", 3, "there"),
        ("dead.dropped", 1, None),
        ("destination.resume_asked", None, "here"),
        ("destination.moved", 2, "gone"),
    ]


def test_a_damaged_outbox_is_told_with_what_mends_it(folder):
    with (folder / "data" / "outbox.db").open("r+b") as file:
        file.truncate(5000)
    for command in (("status",), ("find", "event-3"), ("dead", "retry", "--all")):
        assert "start the gateway anew (trackgate serve)" in run(folder, *command, status=1)


def test_a_full_backlog_and_what_it_shed_are_told_under_the_table():
    def lines(**counted):
        return [*_backlog("here", of_destination(DestinationTally(**counted), NOON, gone=False, rate=None))]

    assert lines(owed=1, backlog_bytes=5000) == []
    full = {"owed": 1, "backlog_bytes": 4096, "backlog_limit": 4096}
    assert lines(**full) == ["  here's backlog is full (4.0 KiB of 4.0 KiB): new events are refused with a 503"]
    assert lines(**full, backlog_full="shed", shed=1234, dead=1234) == [
        "  here's backlog is full (4.0 KiB of 4.0 KiB): new events are shed",
        "  here: 1,234 shed in all, because its backlog was full (trackgate dead list)",
    ]
    assert lines(shed=1) == ["  here: 1 shed in all, because its backlog was full"]


def test_check_names_a_destination_that_has_left_with_what_is_there_and_what_to_do(folder):
    begin = "`gone` is not in this file and 2 events wait for it: put it back, move what is there"
    said = run(folder, "check")
    assert f"{begin} (`trackgate move gone NEW`), or give it up (`trackgate drop gone`)\n" in said
    run(folder, "check", "--strict", status=1)
    run(folder, "drop", "gone", "--yes")
    assert "gone" not in run(folder, "check")
    routes = folder / "routes.toml"
    routes.write_text(routes.read_text().replace("here]", "away]").replace('"here"', '"away"'))
    said = run(folder, "check")
    assert "`here` is not in this file and 1 event is dead there: put it back, " in said
    assert "or give it up (`trackgate dead drop --destination here`)\n" in said


# --- beside a running gateway -----------------------------------------------------------------------------------


def send(gateway, number):
    reply = httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number))
    return reply.raise_for_status().headers["trackgate-event-id"]


def status(folder):
    return json.loads(run(folder, "status", "--json"))


def test_a_vendor_refuses_and_an_operator_mends_it(tmp_path):
    """The whole story: list, show, mend, dry run, retry, delivered, found; then a key that is mended, and resumed."""
    slow = 'retry = { probe = "10m" }'
    with stage(tmp_path, userpilot=slow) as its:
        gateway = its.start()
        its.fail(vendor="thrivestack", status=422, times=2)
        ids = [send(gateway, number) for number in (1, 2)]
        until(lambda: status(tmp_path)["destinations"]["thrivestack"]["dead"] == 2)
        listed = run(tmp_path, "dead", "list")
        assert re.search(r"\n    2  thrivestack  status_422  ", listed)
        assert all(each in listed for each in ids)
        shown = run(tmp_path, "dead", "show", ids[0])
        assert '"event_name": "counted"' in shown
        assert "The sandbox was told to answer 422." in shown
        assert "today the same would be sent" in shown
        assert gateway.stop() == 0

        its.configure(thrivestack='token = "mended"', userpilot=slow)
        gateway = its.start()
        rehearsed = run(tmp_path, "dead", "retry", "--reason", "status_422", "--dry-run")
        assert rehearsed.startswith("2 would be due again\n\n2 at thrivestack, status_422; for example ")
        assert "\n    +authorization: Bearer ***\n" in rehearsed
        assert "mended" not in rehearsed
        said = run(tmp_path, "dead", "retry", "--reason", "status_422", "--rate", "1000/s")
        assert "2 due again; watch: trackgate status" in said
        until(lambda: status(tmp_path)["destinations"]["thrivestack"]["delivered"] == 2)
        assert len(arrived(its.sandbox.url, ids[0], 5)) == 5
        assert re.search(r"thrivestack +delivered +2  200 in", run(tmp_path, "find", ids[0]))
        assert run(tmp_path, "dead", "list") == "none\n"

        its.fail(vendor="userpilot", status=401, times=2)
        last = send(gateway, 3)
        until(lambda: status(tmp_path)["destinations"]["userpilot"]["state"] == "parked")
        assert "userpilot is still parked (status_401)" in run(tmp_path, "resume", "userpilot", status=1)
        assert "userpilot is up" in run(tmp_path, "resume", "userpilot")
        until(lambda: "userpilot    delivered" in run(tmp_path, "find", last))
        assert "there was nothing to resume" in run(tmp_path, "resume", "userpilot")
        _agree(tmp_path, gateway)
        assert gateway.stop() == 0


def test_a_vendor_that_asks_to_wait_a_day_is_shown_everywhere_and_an_operator_need_not_wait(tmp_path):
    """Also after a restart; the event that was put off and those that came behind it go at once."""
    with stage(tmp_path) as its:
        gateway = its.start()
        its.fail(vendor="flywheel", status=429, times=2, retry_after="86400")
        first = send(gateway, 1)
        until(lambda: status(tmp_path)["destinations"]["flywheel"]["paused_until"])
        assert gateway.stop() == 0

        gateway = its.start()
        last = send(gateway, 2)
        row = until(lambda: (told := status(tmp_path)["destinations"]["flywheel"])["due"] == 2 and told)
        shown = httpx.get(f"{gateway.url}/readyz").json()["destinations"]["flywheel"]
        assert row["state"] == shown["state"] == "up"
        assert row["paused_until"] == shown["paused_until"]
        seen = metrics(gateway)['trackgate_destination_paused_until_timestamp_seconds{destination="flywheel"}']
        assert seen == datetime.fromisoformat(row["paused_until"]).timestamp()
        for said in (run(tmp_path, "status"), run(tmp_path, "find", first), run(tmp_path, "find", last)):
            assert f"flywheel is paused until {row['paused_until'][:19]}" in said

        said = run(tmp_path, "resume", "flywheel", status=1)  # the second 429
        assert "flywheel was tried, and its vendor asks again to wait (Retry-After): it is paused until 2" in said
        assert "flywheel is up: what waits there is being sent" in run(tmp_path, "resume", "flywheel")
        until(lambda: status(tmp_path)["destinations"]["flywheel"]["delivered"] == 2)
        assert "paused" not in run(tmp_path, "status") + run(tmp_path, "find", first)
        assert httpx.get(f"{gateway.url}/readyz").json()["destinations"]["flywheel"]["paused_until"] is None
        assert gateway.stop() == 0


def _agree(folder, gateway):
    """At a quiet moment /metrics and status say the same."""
    told, seen = status(folder), metrics(gateway)
    assert told["faults"] == []
    for name, row in told["destinations"].items():
        for field, sample in (("owed", "owed_total"), ("delivered", "delivered_total"), ("dead", "dead")):
            assert row[field] == seen[f'trackgate_{sample}{{destination="{name}"}}']
    for name, row in told["sources"].items():
        assert row["received"] == seen.get(f'trackgate_received_total{{source="{name}"}}', 0)


def test_beside_a_gateway_only_the_data_directory_of_the_file_matters(tmp_path):
    """The operator's shell need not have the gateway's variables, nor the file be without faults."""
    with stage(tmp_path) as its:
        gateway = its.start()
        routes = tmp_path / "routes.toml"
        routes.write_text(routes.read_text() + '\n[sources.late]\nvendor = "userpilot"\nkey = "${SET_FOR_NOBODY}"\n')
        assert status(tmp_path)["gateway"] == "ready"
        assert run(tmp_path, "dead", "list") == "none\n"
        assert "there was nothing to resume" in run(tmp_path, "resume", "userpilot")
        assert gateway.stop() == 0
        said = run(tmp_path, "status", status=2)
        assert said.startswith("no gateway answers in ")
        assert "the variable SET_FOR_NOBODY is not set" in said
        assert "warning" not in said


def test_over_http_operators_need_a_token_and_beside_the_gateway_they_do_not(tmp_path):
    with stage(tmp_path, server='read_token = "may-read"') as its:
        gateway = its.start()
        assert (tmp_path / "data" / "control.sock").stat().st_mode & 0o777 == 0o600
        url = f"{gateway.url}/-/status"
        assert httpx.get(url).status_code == 401
        bearer = {"authorization": "Bearer may-read"}
        assert httpx.get(url, headers=bearer).json()["gateway"] == "ready"
        described = httpx.get(f"{gateway.url}/-/openapi.json", headers=bearer)
        assert "/-/dead/retry" in described.json()["paths"]
        reply = httpx.post(f"{gateway.url}/-/dead/retry", headers=bearer, json={"selection": {}})
        assert (reply.status_code, "server.act_token" in reply.text) == (404, True)
        assert httpx.get(f"{gateway.url}/-/nothing").status_code == 401
        assert status(tmp_path)["gateway"] == "ready"
        assert gateway.stop() == 0
        assert not (tmp_path / "data" / "control.sock").exists()


def test_a_gateway_that_was_killed_leaves_a_socket_that_stops_nobody(tmp_path):
    with stage(tmp_path) as its:
        its.start().kill()
        assert (tmp_path / "data" / "control.sock").exists()
        assert status(tmp_path)["gateway"] == "none"
        gateway = its.start()
        assert status(tmp_path)["gateway"] == "ready"
        assert gateway.stop() == 0


def test_a_gateway_that_takes_nothing_says_the_same_word_and_reason_everywhere(tmp_path):
    with stage(tmp_path, server='max_backlog = "2KiB"') as its:
        its.fail(vendor="flywheel", status=401, times=-1)
        gateway = its.start()
        calls = (httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(n)) for n in range(100))
        assert next(reply for reply in calls if not reply.is_success).status_code == 503
        ready = httpx.get(f"{gateway.url}/readyz")
        told = status(tmp_path)
        assert (ready.status_code, ready.json()["status"]) == (503, "refusing")
        assert (told["gateway"], told["reason"]) == ("refusing", ready.json()["reason"])
        first, second = run(tmp_path, "status").splitlines()[:2]
        assert first.startswith("gateway  refusing, at ")
        assert second == "  new events are refused: the backlog has reached `server.max_backlog`"
        assert gateway.stop() == 0


def test_a_gateway_that_drains_still_says_how_it_stands(tmp_path):
    with stage(tmp_path) as its:
        gateway = its.start()
        its.fail(vendor="flywheel", delay="3s")
        send(gateway, 1)
        until(lambda: metrics(gateway)['trackgate_in_flight{destination="flywheel"}'] == 1)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: "gateway.draining" in gateway.log_path.read_text())
        told = status(tmp_path)
        assert (told["gateway"], told["destinations"]["flywheel"]["due"]) == ("draining", 1)
        assert gateway.process.wait(GUARD) == 0
        assert status(tmp_path)["destinations"]["flywheel"]["delivered"] == 1


def test_a_destination_that_leaves_the_file_is_told_of_and_moved(tmp_path):
    with stage(tmp_path) as its:
        gateway = its.start()
        its.fail(vendor="flywheel", status=401, times=-1)
        ids = [send(gateway, number) for number in range(3)]
        until(lambda: status(tmp_path)["destinations"]["flywheel"]["parked"] == 3)
        assert gateway.stop() == 0
        text = its.config.read_text().replace("[destinations.flywheel]", "[destinations.other]")
        its.config.write_text(text.replace('"flywheel", "thrivestack"', '"other", "thrivestack"'))
        its.mend()
        assert "`flywheel` is not in this file and 3 events wait for it" in run(tmp_path, "check")
        gateway = its.start()
        line = next(line for line in gateway.log() if line["event"] == "destination.parked" and "waiting" in line)
        assert (line["destination"], line["waiting"], line["dead"]) == ("flywheel", 3, 0)
        assert "trackgate move flywheel NEW" in run(tmp_path, "resume", "flywheel", status=1)
        assert "3 events moved from flywheel to other" in run(tmp_path, "move", "flywheel", "other")
        until(lambda: status(tmp_path)["destinations"]["other"]["delivered"] == 3)
        assert all(re.search(r"other +delivered", run(tmp_path, "find", each)) for each in ids)
        assert gateway.stop() == 0


def test_a_data_directory_with_a_long_path_has_its_socket_too(tmp_path):
    long = tmp_path / ("d" * 100) / ("e" * 100)
    long.mkdir(parents=True)
    with stage(long) as its:
        gateway = its.start()
        assert status(long)["gateway"] == "ready"
        assert gateway.stop() == 0


@contextmanager
def four_dead_being_retried(folder, rate):
    """A gateway with four dead, and a `dead retry --all` that has just said that the first is due again."""
    with stage(folder) as its:
        gateway = its.start()
        its.fail(vendor="thrivestack", status=422, times=4)
        for number in range(4):
            send(gateway, number)
        until(lambda: status(folder)["destinations"]["thrivestack"]["dead"] == 4)
        command = [sys.executable, "-m", "trackgate", "dead", "retry", "--all", "--rate", rate]
        with subprocess.Popen(
            [*command, "--config", str(its.config)], stderr=subprocess.PIPE, text=True, env=os.environ
        ) as retrying:
            assert retrying.stderr is not None
            assert retrying.stderr.readline() == "1 of 4 due again ...\n"
            yield gateway, retrying


def test_ctrl_c_says_what_was_done_and_how_to_go_on(tmp_path):
    with four_dead_being_retried(tmp_path, "1/h") as (gateway, retrying):
        retrying.send_signal(signal.SIGINT)
        assert "stopped: 1 due again; the same command does the rest" in retrying.stderr.read()
        assert retrying.wait() == 1
        assert "3 due again" in run(tmp_path, "dead", "retry", "--all")
        until(lambda: status(tmp_path)["destinations"]["thrivestack"]["delivered"] == 4)
        assert gateway.stop() == 0


def test_a_gateway_that_ends_amid_a_command_is_told_with_how_to_go_on(tmp_path):
    with four_dead_being_retried(tmp_path, "60/min") as (gateway, retrying):
        gateway.kill()
        said = retrying.stderr.read()
        assert "the gateway went away before it answered" in said
        assert "the same command does the rest" in said
        assert retrying.wait() == 1


def test_a_file_that_is_no_socket_is_no_gateway(folder):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(folder / "data" / "control.sock"))
    assert status(folder)["gateway"] == "none"
