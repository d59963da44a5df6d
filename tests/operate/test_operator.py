"""What operators ask and order, over a real outbox."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import apsw
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.operate.bench import minutes, play
from trackgate.metrics import Metrics
from trackgate.operate import inquiries
from trackgate.operate.inquiries import Readiness
from trackgate.operate.operator import _resumed
from trackgate.operate.tally import GONE, faults
from trackgate.outbox import Standing
from trackgate.outboxes.sqlite import database as sqlite_database
from trackgate.outboxes.sqlite.database import FILE

SAMPLED = {
    "owed": "owed_total",
    "delivered": "delivered_total",
    "due": "due",
    "parked": "parked",
    "dead": "dead",
    "dropped": "dropped_total",
    "filtered": "filtered_total",
}


def test_status_and_metrics_agree_exactly_at_a_quiet_moment(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2)
        await bench.owe("here", 3, 4)
        await bench.owe("gone", 5)
        await bench.outbox.stand("here", Standing(state="parked", reason="status_401"))
        await bench.outbox.stand("gone", Standing(state="parked", reason=GONE))
        bench.outbox.count_rejected("web", "invalid", 3)
        text = Metrics(bench.outbox.ledger, bench.clock).render().decode()
        seen = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        status = await bench.get("/-/status")
        assert status["faults"] == []
        for name, row in status["destinations"].items():
            for field, sample in SAMPLED.items():
                assert row[field] == float(seen[f'trackgate_{sample}{{destination="{name}"}}']), (name, field)
            assert seen[f'trackgate_destination_state{{destination="{name}",state="{row["state"]}"}}'] == "1.0"
        web = status["sources"]["web"]
        for field in ("received", "accepted", "duplicate", "unrouted"):
            assert web[field] == float(seen[f'trackgate_{field}_total{{source="web"}}'])
        assert (web["received"], web["accepted"], web["rejected_by"]) == (8, 5, {"invalid": 3})
        assert status["destinations"]["here"]["parked"] == 2

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("delete from dead where seq = 1", "destination there: 2 dead as counted, 1 in the outbox"),
        ("update tally set n = 5 where name = 'here'", "destination here: 5 waiting as counted, 2 in the outbox"),
        ("delete from event where seq = 4", "destination here: 2 waiting as counted, 1 in the outbox"),
        ("delete from unsettled where seq = 5", "destination gone: 1 waiting as counted, 0 in the outbox"),
        ("update tally set n = 3 where counter = 'events'", "the log: 3 events as counted, and one of number 5"),
    ],
)
def test_status_names_what_is_in_the_outbox_otherwise_than_it_was_counted(tmp_path, spoil, words):
    """The gateway's own counts know nothing of it."""

    async def act(bench):
        await bench.kill("there", 1, 2)
        await bench.owe("here", 3, 4)
        await bench.owe("gone", 5)
        await bench.hold("gone")
        before = await bench.get("/-/status")
        assert (before["faults"], before["unchecked"]) == ([], None)
        connection = apsw.Connection(str(bench.directory / FILE))
        connection.execute(spoil)
        connection.close()
        [fault] = (await bench.get("/-/status"))["faults"]
        assert words in fault
        assert fault.endswith("restart the gateway: it salvages its outbox as it starts, and logs what is lost")
        assert faults(bench.outbox.ledger()) == ()

    play(tmp_path, act)


def test_what_could_not_be_compared_is_not_said_to_add_up(tmp_path, monkeypatch):
    """The counts are shown all the same: they are in memory."""

    async def act(bench):
        await bench.owe("here", 1)
        with monkeypatch.context() as slow:
            slow.setattr(sqlite_database, "STEPS", 1)
            slow.setattr(inquiries, "LONGEST_CHECK", -1)
            status = await bench.get("/-/status")
        assert (status["destinations"]["here"]["due"], status["faults"]) == (1, [])
        assert status["unchecked"] == "that would take longer than -1 s"
        (bench.directory / FILE).rename(bench.directory / "elsewhere")
        status = await bench.get("/-/status")
        assert (status["destinations"]["here"]["due"], status["faults"]) == (1, [])
        assert "there is no outbox in" in status["unchecked"]

    play(tmp_path, act)


def test_status_gives_the_word_and_the_reason_of_readiness(tmp_path):
    async def act(bench):
        bench.readiness = Readiness("refusing", "the backlog has reached `server.max_backlog`")
        status = await bench.get("/-/status")
        assert (status["gateway"], status["reason"]) == ("refusing", "the backlog has reached `server.max_backlog`")

    play(tmp_path, act)


def test_without_a_gateway_a_destination_that_left_the_file_shows_as_parked_for_that(tmp_path):
    async def act(bench):
        await bench.owe("gone", 1)
        status = await bench.get("/-/status")
        assert status["gateway"] == "none"
        row = status["destinations"]["gone"]
        assert (row["state"], row["reason"], row["parked"], row["due"], row["rate"]) == ("parked", GONE, 1, 0, None)
        assert status["destinations"]["here"]["state"] == "up"

    play(tmp_path, act, live=False, read_only=True)


def test_the_dead_are_shown_by_cause_and_page_by_page(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2, 3)
        await bench.kill("here", 4, reason="status_413", name="other")
        page = await bench.get("/-/dead", limit=3)
        assert [(cause["destination"], cause["reason"], cause["count"]) for cause in page["causes"]] == [
            ("there", "status_400", 3),
            ("here", "status_413", 1),
        ]
        assert page["total"] == 4
        assert [letter["event_id"] for letter in page["letters"]] == ["event-4", "event-3", "event-2"]
        rest = await bench.get("/-/dead", limit=3, after=page["next"])
        assert [letter["event_id"] for letter in rest["letters"]] == ["event-1"]
        assert rest["next"] is None

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        ({"destination": "here"}, {"event-4"}),
        ({"reason": "status_400"}, {"event-1", "event-2", "event-3"}),
        ({"name": "oth*"}, {"event-4"}),
        ({"id": "event-2"}, {"event-2"}),
        ({"since": minutes(3)}, {"event-3", "event-4"}),
        ({"until": minutes(3)}, {"event-1", "event-2"}),
        ({"since": "1m"}, {"event-3", "event-4"}),
        ({"since": minutes(2), "reason": "status_413"}, {"event-4"}),
    ],
)
def test_filters_choose_the_same_for_a_list_a_retry_and_a_drop(tmp_path, filters, chosen):
    async def act(bench):
        await bench.kill("there", 1, 2, 3)
        await bench.kill("here", 4, reason="status_413", name="other")
        page = await bench.get("/-/dead", **filters)
        assert {letter["event_id"] for letter in page["letters"]} == chosen
        assert (await bench.post("/-/dead/drop", selection=filters))["selected"] == len(chosen)
        assert (await bench.post("/-/dead/retry", selection=filters))["retried"] == len(chosen)
        left = await bench.get("/-/dead")
        assert not chosen & {letter["event_id"] for letter in left["letters"]}
        assert left["total"] == 4 - len(chosen)

    play(tmp_path, act)


def test_a_letter_holds_the_event_the_request_the_reply_and_what_would_be_sent_today(tmp_path):
    async def act(bench):
        await bench.kill("there", 1)
        letter = await bench.get("/-/dead/there/event-1")
        assert letter["event"]["user_id"] == "u-1"
        assert letter["attempts"][0]["reply"] == "no"
        difference = letter["difference"]
        assert difference["as_sent"]["body"] == '{"a":1}'
        assert difference["today"][0]["url"].endswith("/api/track")
        assert "-POST https://old.example/v1/events" in difference["diff"]
        assert '+    "user_id": "u-1"' in difference["diff"]
        assert "trackgate-hops" not in difference["diff"]
        assert "a-secret" not in str(letter)

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("destination", "stated", "obstacle"),
    [("gone", {}, "the destination is not in routes.toml"), ("there", {"user_id": None}, "no_user_id: ")],
)
def test_a_letter_says_why_nothing_would_be_sent_today(tmp_path, destination, stated, obstacle):
    async def act(bench):
        await bench.kill(destination, 1, **stated)
        difference = (await bench.get(f"/-/dead/{destination}/event-1"))["difference"]
        assert difference["obstacle"].startswith(obstacle)
        assert difference["today"] == []

    play(tmp_path, act)


def test_a_dry_run_shows_a_difference_for_each_cause_and_changes_nothing(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2)
        await bench.kill("here", 3)
        told = await bench.post("/-/dead/retry", selection={}, dry_run=True)
        assert (told["retried"], told["selected"]) == (0, 3)
        assert [(each["event_id"], each["cause"]["count"]) for each in told["samples"]] == [
            ("event-2", 2),
            ("event-3", 1),
        ]
        assert all("-POST https://old.example" in each["difference"]["diff"] for each in told["samples"])
        assert (await bench.get("/-/dead"))["total"] == 3

    play(tmp_path, act, read_only=True)


def test_a_retry_is_bounded_and_idempotent(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2, 3)
        asked = {"selection": {"destination": "there"}, "limit": 2}
        assert [(await bench.post("/-/dead/retry", **asked))["retried"] for _ in range(3)] == [2, 1, 0]
        row = (await bench.get("/-/status"))["destinations"]["there"]
        assert (row["due"], row["dead"]) == (3, 0)

    play(tmp_path, act)


def test_a_drop_needs_a_yes(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2)
        assert await bench.post("/-/dead/drop", selection={}) == {"dropped": 0, "selected": 2}
        assert (await bench.get("/-/dead"))["total"] == 2
        assert (await bench.post("/-/dead/drop", selection={}, yes=True))["dropped"] == 2
        row = (await bench.get("/-/status"))["destinations"]["there"]
        assert (row["dead"], row["dropped"]) == (0, 2)

    play(tmp_path, act)


def test_what_waits_and_is_dead_at_a_destination_that_left_moves_to_one_that_is_there(tmp_path):
    async def act(bench):
        await bench.owe("gone", 1, 2)
        await bench.hold("gone")
        await bench.kill("gone", 3)
        moved = [(await bench.post("/-/destinations/gone/move", to="here", limit=2))["moved"] for _ in range(3)]
        assert moved == [2, 1, 0]
        status = (await bench.get("/-/status"))["destinations"]
        assert (status["gone"]["owed"], status["here"]["owed"], status["here"]["dead"]) == (0, 3, 1)
        assert (await bench.get("/-/events/event-1"))["events"][0]["destinations"].keys() == {"here"}

    play(tmp_path, act)


def test_what_waits_at_a_destination_that_left_is_dropped_only_with_a_yes(tmp_path):
    async def act(bench):
        await bench.owe("gone", 1, 2)
        path = "/-/destinations/gone/drop"
        assert await bench.post(path) == {"dropped": 0, "selected": 2}
        assert [(await bench.post(path, yes=True))["dropped"] for _ in range(2)] == [2, 0]
        assert (await bench.get("/-/status"))["destinations"]["gone"]["dropped"] == 2

    play(tmp_path, act)


def test_an_event_is_found_by_our_id_and_by_the_callers(tmp_path):
    async def act(bench):
        await bench.owe("there", 1, key="order/17")
        await bench.owe("gone", 2, key="order/18")
        for known in ("event-1", "order%2F17"):
            found = (await bench.get(f"/-/events/{known}"))["events"]
            assert [each["event"]["id"] for each in found] == ["event-1"]
            assert found[0]["destinations"]["there"]["fate"] == "due"

    play(tmp_path, act)


def test_resume_probes_beside_a_gateway_and_else_sets_the_next_start(tmp_path):
    async def act(bench):
        await bench.owe("here", 1)
        await bench.outbox.stand("here", Standing(state="parked", reason="status_401", up_seconds=7))
        told = await bench.post("/-/destinations/here/resume")
        assert (told["was"], told["state"]) == ("parked", "up")

    async def beside(bench):
        await act(bench)
        assert bench.probed == ["here"]

    async def alone(bench):
        await act(bench)
        standing = bench.outbox.ledger().destinations["here"].standing
        assert (standing.state, standing.reason, standing.up_seconds) == ("up", None, 7)
        assert bench.probed == []

    for name, check in (("beside", beside), ("alone", alone)):
        (tmp_path / name).mkdir()
        play(tmp_path / name, check, live=check is beside)


def paused(bench, hours=24, **stated):
    now = bench.clock.now()
    return Standing(paused_at=now, paused_until=now + timedelta(hours=hours), **stated)


GAUGE = "trackgate_destination_paused_until_timestamp_seconds"


def test_a_pause_is_shown_until_it_is_over(tmp_path):
    """By the status, the metrics and each event that waits there; the destination is up, as it is counted."""

    async def act(bench):
        def gauge():
            text = Metrics(bench.outbox.ledger, bench.clock).render().decode()
            (value,) = re.findall(f'^{GAUGE}{{destination="here"}} (\\S+)$', text, re.MULTILINE)
            return float(value)

        async def row():
            told = (await bench.get("/-/status"))["destinations"]["here"]
            return told["state"], told["due"], told["paused_until"]

        async def fate():
            told = (await bench.get("/-/events/event-1"))["events"][0]["destinations"]["here"]
            return told["fate"], told["reason"], told["next_due"], told["paused_until"]

        await bench.owe("here", 1)
        assert (await row(), gauge()) == (("up", 1, None), 0)
        assert await fate() == ("due", None, None, None)
        standing = paused(bench)
        end = bench.clock.now() + timedelta(days=1)
        stamp = end.isoformat().replace("+00:00", "Z")
        await bench.outbox.stand("here", standing)
        assert (await row(), gauge()) == (("up", 1, stamp), end.timestamp())
        assert await fate() == ("due", "here is paused, as its vendor asked (Retry-After)", stamp, stamp)
        await bench.hold("here")  # due within the pause
        assert (await fate())[2] == stamp
        bench.clock.seconds += 86_400
        assert (await row(), gauge()) == (("up", 1, None), 0)
        assert (await fate())[3] is None

    play(tmp_path, act)


def test_a_pause_that_began_later_than_it_is_now_is_shown_for_no_longer_than_was_asked_for(tmp_path):
    async def act(bench):
        await bench.owe("here", 1)
        await bench.outbox.stand("here", paused(bench, hours=1))
        bench.clock.seconds -= 365 * 86_400
        told = (await bench.get("/-/status"))["destinations"]["here"]["paused_until"]
        assert datetime.fromisoformat(told) - bench.clock.now() == timedelta(hours=1)

    play(tmp_path, act)


def test_a_destination_that_left_the_file_waits_for_that_and_for_no_pause(tmp_path):
    async def act(bench):
        await bench.owe("gone", 1)
        await bench.outbox.stand("gone", paused(bench, state="parked", reason=GONE))
        assert (await bench.get("/-/status"))["destinations"]["gone"]["paused_until"] is None

    play(tmp_path, act)


def test_resume_ends_a_pause_beside_a_gateway_and_else_for_the_next_start(tmp_path):
    async def beside(bench):
        await bench.owe("here", 1)
        await bench.outbox.stand("here", paused(bench))
        told = await bench.post("/-/destinations/here/resume")
        assert bench.probed == ["here"]
        assert (told["was"], told["state"], told["paused_until"]) == ("up", "up", None)
        assert told["message"] == "here is up: what waits there is being sent."
        bench.stands = paused(bench)
        again = await bench.post("/-/destinations/here/resume")
        assert datetime.fromisoformat(again["paused_until"]) == bench.stands.paused_until
        assert "its vendor asks again to wait (Retry-After): it is paused until 20" in again["message"]
        bench.stands = replace(bench.stands, state="down", reason="status_503")
        down = (await bench.post("/-/destinations/here/resume"))["message"]
        assert (
            "here is still down (status_503): its vendor asks to wait (Retry-After); it is tried by itself at 20"
            in down
        )

    async def alone(bench):
        await bench.owe("here", 1)
        await bench.outbox.stand("here", paused(bench, up_seconds=7))
        told = await bench.post("/-/destinations/here/resume")
        assert told["message"].startswith("here will start as up, without a pause")
        standing = bench.outbox.ledger().destinations["here"].standing
        assert (standing.paused_at, standing.paused_until, standing.up_seconds) == (None, None, 7)

    for name, check in (("beside", beside), ("alone", alone)):
        (tmp_path / name).mkdir()
        play(tmp_path / name, check, live=check is beside)


def test_a_pause_that_is_over_is_nothing_to_resume(tmp_path):
    async def act(bench):
        await bench.owe("here", 1)
        await bench.outbox.stand("here", paused(bench, hours=1))
        bench.clock.seconds += 3600
        assert "nothing to resume" in (await bench.post("/-/destinations/here/resume"))["message"]

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/-/destinations/her/resume", None, 404, 'did you mean "here"?'),
        ("/-/destinations/gone/resume", None, 409, "trackgate move gone NEW"),
        ("/-/destinations/here/move", {"to": "there"}, 409, "here is in routes.toml"),
        ("/-/destinations/gone/move", {"to": "her"}, 404, 'did you mean "here"?'),
        ("/-/destinations/nobody/move", {"to": "here"}, 404, "there are gone, here, there"),
        ("/-/destinations/here/drop", {"yes": True}, 409, "take it out of the file"),
        ("/-/dead/retry", {"selection": {"destination": "therex"}}, 404, 'did you mean "there"?'),
        ("/-/dead/drop", {"selection": {"destination": "therex"}, "yes": True}, 404, 'did you mean "there"?'),
    ],
)
def test_what_cannot_be_done_is_declined_and_changes_nothing(tmp_path, path, body, status, words):
    async def act(bench):
        await bench.owe("gone", 1)
        before = bench.outbox.ledger()
        reply = await bench.ask("POST", path, json=body)
        assert (reply.status_code, words in reply.json()["message"]) == (status, True), reply.text
        assert bench.outbox.ledger() == before

    play(tmp_path, act)


@pytest.mark.parametrize("path", ["/-/events/nobody", "/-/dead/there/event-1", "/-/dead/nowhere/event-1"])
def test_what_is_not_there_is_a_404(tmp_path, path):
    async def act(bench):
        await bench.owe("there", 1)
        reply = await bench.ask("GET", path)
        assert (reply.status_code, reply.json()["error"]) == (404, "not_found")

    play(tmp_path, act)


def test_every_change_is_one_line_in_the_log_and_no_line_holds_user_data(tmp_path):
    async def act(bench):
        await bench.kill("there", 1, 2, name="bought", user_id="canary")
        await bench.owe("gone", 3, user_id="canary")
        with capture_logs() as lines:
            await bench.post("/-/dead/retry", selection={"id": "event-1"})
            await bench.post("/-/dead/drop", selection={"destination": "there"}, yes=True)
            await bench.post("/-/destinations/here/resume")
            await bench.post("/-/destinations/gone/move", to="here")
            await bench.owe("gone", 4, user_id="canary")
            await bench.post("/-/destinations/gone/drop", yes=True)
            await bench.post("/-/destinations/gone/drop", yes=True)  # nothing is left to change
            await bench.get("/-/dead")
            await bench.post("/-/dead/drop", selection={})
        assert [(line["event"], line.get("count")) for line in lines] == [
            ("dead.retried", 1),
            ("dead.dropped", 1),
            ("destination.resume_asked", None),
            ("destination.moved", 1),
            ("destination.dropped", 1),
        ]
        assert lines[0]["event_id"] == "event-1"
        assert "canary" not in str(lines)

    play(tmp_path, act)


def test_nothing_is_changed_where_the_outbox_is_only_read(tmp_path):
    async def act(bench):
        await bench.kill("there", 1)
        reply = await bench.ask("POST", "/-/dead/retry", json={"selection": {}})
        assert (reply.status_code, reply.json()["error"]) == (503, "unavailable")

    play(tmp_path, act, read_only=True)


@pytest.mark.parametrize("body", ["'{'", "replace(body, 'signed_up', 'signed_in')"])
def test_a_damaged_event_is_shown_as_that_and_hides_no_other(tmp_path, body):
    async def act(bench):
        await bench.kill("there", 1)
        await bench.owe("there", 2)
        connection = apsw.Connection(str(bench.directory / "outbox.db"))
        connection.execute(f"update event set body = {body} where seq = 2")  # noqa: S608 - the two above
        connection.close()
        assert await bench.outbox.take("there", 9) == []
        shown = await bench.get("/-/dead/there/event-2")
        assert (shown["letter"]["reason"], shown["event"]) == ("damaged", None)
        assert "is damaged" in shown["difference"]["obstacle"]
        rehearsed = await bench.post("/-/dead/retry", selection={}, dry_run=True)
        assert rehearsed["selected"] == 2
        obstacles = {each["event_id"]: each["difference"]["obstacle"] for each in rehearsed["samples"]}
        assert obstacles["event-2"] == shown["difference"]["obstacle"] != obstacles["event-1"]

    play(tmp_path, act)


def test_what_is_found_waiting_is_due_or_parked_as_it_is_counted(tmp_path):
    async def act(bench):
        async def fate(number, name):
            found = (await bench.get(f"/-/events/event-{number}"))["events"][0]["destinations"][name]
            return found["fate"], found["reason"], found["next_due"] is not None

        await bench.owe("here", 1)
        await bench.owe("gone", 2)
        assert await fate(1, "here") == ("due", None, False)
        assert await fate(2, "gone") == ("parked", f"gone is parked ({GONE})", False)
        await bench.hold("here")
        assert await fate(1, "here") == ("due", None, True)
        await bench.outbox.stand("here", Standing(state="down", reason="status_503"))
        assert await fate(1, "here") == ("due", "here is down (status_503)", False)
        await bench.outbox.stand("here", Standing(state="parked", reason="status_401"))
        assert await fate(1, "here") == ("parked", "here is parked (status_401)", False)

    play(tmp_path, act)


@pytest.mark.parametrize(
    ("state", "words"), [("parked", "fix its key or url"), ("down", "its vendor has to answer again")]
)
def test_what_is_still_stopped_is_told_with_what_ends_it(state, words):
    stopped = Standing(state=state, reason="x")
    assert f"here is still {state} (x): {words}" in _resumed("here", stopped, None, stopped=True, live=True)
