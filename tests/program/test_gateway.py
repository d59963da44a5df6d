"""The whole program as processes: four vendors in, four out, killed, stopped, starved and mended."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from tests.program.running import (
    GUARD,
    VENDORS,
    Process,
    appizer,
    arrived,
    end_at_once,
    metrics,
    number_of,
    stage,
    until,
)
from trackgate import vendors
from trackgate.cli import main
from trackgate.curl import curl as say_curl

README = Path(__file__).parents[2] / "README.md"
KNOWN = vendors.load()
BEARER = {"authorization": "Bearer in-appizer"}


def post(gateway, source):
    """The vendor's documented call to its source."""
    call = KNOWN[source].sample(f"{gateway.url}/{source}", f"in-{source}")
    return httpx.post(call.url, headers=call.headers, content=call.body)


def send(gateway, number, user=None):
    return httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number, user))


def ledger(gateway):
    """The brief's equations, from what /metrics says."""
    seen = metrics(gateway)
    for source in VENDORS:
        rejected = sum(
            n
            for line, n in seen.items()
            if line.startswith('trackgate_rejected_total{reason="') and f'source="{source}"' in line
        )
        received, accepted, duplicate = (
            seen.get(f'trackgate_{name}_total{{source="{source}"}}', 0)
            for name in ("received", "accepted", "duplicate")
        )
        assert received == rejected + duplicate + accepted
    for name in VENDORS:
        owed, delivered, dropped = (
            seen.get(f'trackgate_{counter}_total{{destination="{name}"}}', 0)
            for counter in ("owed", "delivered", "dropped")
        )
        due, parked, dead = (
            seen.get(f'trackgate_{gauge}{{destination="{name}"}}', 0) for gauge in ("due", "parked", "dead")
        )
        assert owed == delivered + due + parked + dead + dropped
    return seen


def of(seen, counter, destination):
    return seen.get(f'trackgate_{counter}{{destination="{destination}"}}', 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_four_vendors_in_four_vendors_out(tmp_path, workers):
    """Each documented sample arrives at each vendor, in a form that its strict emulator has nothing against."""
    with stage(tmp_path, f"workers = {workers}\n") as its:
        gateway = its.start()
        ids = {source: post(gateway, source).headers["trackgate-event-id"] for source in VENDORS}
        for source, event_id in ids.items():
            calls = arrived(its.sandbox.url, event_id, len(VENDORS))
            assert {each["vendor"] for each in calls} == set(VENDORS), source
            assert not [each["problems"] for each in calls if each["problems"]]
        until(lambda: sum(of(metrics(gateway), "delivered_total", name) for name in VENDORS) == 16)
        ledger(gateway)
        assert gateway.stop() == 0


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path):
    """Killed under load, twice, and started again: every event that got a 2xx arrives everywhere."""
    with stage(tmp_path) as its:
        acknowledged: list[int] = []
        numbers = iter(range(1, 10**9))
        for _ in range(2):
            gateway = its.start()
            load = [threading.Thread(target=_pour, args=(gateway, numbers, acknowledged)) for _ in range(4)]
            for thread in load:
                thread.start()
            enough = len(acknowledged) + 150
            until(partial(_at_least, acknowledged, enough))
            gateway.kill()
            for thread in load:
                thread.join(GUARD)
        gateway = its.start()
        until(lambda: all(of(metrics(gateway), "due", name) == 0 for name in VENDORS))
        seen = ledger(gateway)
        for name in VENDORS:
            arrived = Counter(number_of(each) for each in its.received(vendor=name))
            assert not set(acknowledged) - set(arrived)
            assert of(seen, "dead", name) == 0
        assert len(acknowledged) >= 300


def _at_least(acknowledged, count):
    return len(acknowledged) >= count


def _pour(gateway, numbers, acknowledged):
    with httpx.Client() as client:
        try:
            while True:
                number = next(numbers)
                if client.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number)).status_code == 200:
                    acknowledged.append(number)
        except httpx.HTTPError:
            return  # killed: this one was not acknowledged


def test_one_dead_vendor_delays_nobody_and_catches_up_in_order(tmp_path):
    with stage(tmp_path) as its:
        gateway = its.start()
        its.fail(vendor="flywheel", status=500, times=-1)
        for number in range(40):
            assert send(gateway, number, "one-user").status_code == 200
        others = [name for name in VENDORS if name != "flywheel"]
        until(lambda: all(of(metrics(gateway), "delivered_total", name) == 40 for name in others))
        assert of(metrics(gateway), "delivered_total", "flywheel") == 0
        its.mend()
        until(lambda: of(metrics(gateway), "delivered_total", "flywheel") == 40)
        good = [number_of(each) for each in its.received(vendor="flywheel") if not each["failed"]]
        assert good == list(range(40))
        ledger(gateway)


def test_readiness_has_one_shape_and_the_order_of_the_file_from_the_first_moment(tmp_path):
    limit = 'backlog = { max = "1MiB", full = "shed" }'
    with stage(tmp_path, thrivestack=limit) as its:
        gateway = its.start()
        first = httpx.get(f"{gateway.url}/readyz").json()["destinations"]
        assert send(gateway, 1, "one-user").status_code == 200
        until(lambda: all(of(metrics(gateway), "delivered_total", name) == 1 for name in VENDORS))
        later = httpx.get(f"{gateway.url}/readyz").json()["destinations"]
        assert list(first) == list(later) == list(VENDORS)
        assert {name: each.keys() for name, each in first.items()} == {name: later[name].keys() for name in VENDORS}
        limits = {name: None if name != "thrivestack" else (2**20, "shed") for name in VENDORS}
        for shown in (first, later):
            assert limits == {
                name: each["backlog_limit_bytes"] and (each["backlog_limit_bytes"], each["backlog_full"])
                for name, each in shown.items()
            }


def test_a_rotated_key_parks_and_a_replaced_file_mends_it(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("rotated-out-0001")
    more = f'key = "${{file:{secret}}}"\nretry = {{ probe = "200ms" }}'
    with stage(tmp_path) as its:
        tables = its.config.read_text().replace('key = "out-appizer"', more)
        its.config.write_text(tables)
        gateway = its.start()
        its.fail(vendor="appizer", status=401, times=-1)
        for number in range(5):
            send(gateway, number)
        ready = until(
            lambda: (
                (r := httpx.get(f"{gateway.url}/readyz").json())["destinations"]["appizer"]["state"] == "parked" and r
            )
        )
        assert ready["status"] == "ready"
        assert ready["destinations"]["appizer"]["reason"] == "status_401"
        seen = ledger(gateway)
        assert of(seen, "parked", "appizer") == 5
        assert of(seen, "dead", "appizer") == 0
        secret.write_text("rotated-in-0002\n")
        its.mend()
        until(lambda: of(metrics(gateway), "delivered_total", "appizer") == 5)
        assert its.received(vendor="appizer")[-1]["headers"]["authorization"].endswith("0002")
        told = [line["event"] for line in gateway.log() if line.get("destination") == "appizer"]
        assert told.count("destination.parked") == 1
        assert told.count("destination.resumed") == 1


def test_a_repeat_of_an_event_id_is_delivered_once_even_after_a_restart(tmp_path):
    event: dict[str, Any] = {
        "event": {"event": "bought", "event_id": "order-1", "user_id": "u", "properties": {"n": 1}}
    }
    headers = {"authorization": "in-flywheel", "auth-type": "api"}
    with stage(tmp_path) as its:
        gateway = its.start()
        ids = {
            httpx.post(f"{gateway.url}/v1/events", headers=headers, json=event).headers["trackgate-event-id"]
            for _ in range(5)
        }
        assert gateway.stop() == 0
        gateway = its.start()
        again = httpx.post(f"{gateway.url}/v1/events", headers=headers, json=event)
        assert ids == {again.headers["trackgate-event-id"]}
        event["event"]["properties"]["n"] = 2
        other = httpx.post(f"{gateway.url}/v1/events", headers=headers, json=event)
        assert other.headers["trackgate-event-id"] not in ids
        until(lambda: of(metrics(gateway), "delivered_total", "appizer") == 2)
        seen = ledger(gateway)
        assert seen['trackgate_duplicate_total{source="flywheel"}'] == 5
        assert seen['trackgate_conflict_total{source="flywheel"}'] == 1
        assert len(its.received(vendor="appizer")) == 2


def test_an_event_that_a_vendor_cannot_take_is_dead_with_its_reason(tmp_path):
    event = {"event": {"event": "page_viewed", "anonymous_id": "anon_789"}}
    with stage(tmp_path) as its:
        gateway = its.start()
        httpx.post(f"{gateway.url}/flywheel/v1/events", headers={"authorization": "in-flywheel"}, json=event)
        until(lambda: of(metrics(gateway), "dead", "userpilot") == 1)
        died = [line for line in gateway.log() if line["event"] == "delivery.died"]
        assert {line["reason"] for line in died} == {"no_user_id"}
        until(lambda: of(metrics(gateway), "delivered_total", "appizer") == 1)
        assert its.received(vendor="appizer")[0]["body"]["user_id"] == "anon_789"
        ledger(gateway)


def test_a_full_backlog_is_the_vendors_503_and_what_is_queued_flows(tmp_path):
    with stage(tmp_path, 'max_backlog = "20KB"\n') as its:
        its.fail(status=503, times=-1)
        gateway = its.start()
        replies = [send(gateway, number) for number in range(200)]
        last = replies[-1]
        assert last.status_code == 503
        assert last.headers["retry-after"]
        assert set(last.json()) >= {"error", "message", "code"}
        accepted = sum(reply.status_code == 200 for reply in replies)
        warned = until(lambda: [line for line in gateway.log() if line["event"] == "backlog.filling"])
        assert warned[0]["destination"] in VENDORS
        its.mend()
        until(lambda: all(of(metrics(gateway), "delivered_total", name) == accepted for name in VENDORS))
        until(lambda: send(gateway, 1).status_code == 200)
        ledger(gateway)


def test_sigterm_finishes_what_is_in_hand_and_loses_nothing(tmp_path):
    with stage(tmp_path) as its:
        its.fail(delay="300ms", times=4)
        gateway = its.start()
        for number in range(30):
            assert send(gateway, number).status_code == 200
        assert gateway.stop() == 0
        assert [line["event"] for line in gateway.log() if line["event"].startswith("gateway.")][
            -1
        ] == "gateway.stopped"
        gateway = its.start()
        until(lambda: all(of(metrics(gateway), "delivered_total", name) == 30 for name in VENDORS))
        for name in VENDORS:
            assert sorted(Counter(number_of(each) for each in its.received(vendor=name) if not each["failed"])) == list(
                range(30)
            )


def test_a_second_sigterm_ends_it_at_once_without_loss(tmp_path):
    with stage(tmp_path, 'grace = "60s"\n') as its:
        its.fail(delay="30s", times=-1)
        gateway = its.start()
        for number in range(10):
            assert send(gateway, number).status_code == 200
        end_at_once(gateway)
        its.mend()
        gateway = its.start()
        until(lambda: all(of(metrics(gateway), "delivered_total", name) == 10 for name in VENDORS))


def test_a_second_process_on_the_data_is_refused_with_words(tmp_path):
    with stage(tmp_path) as its:
        its.start()
        with pytest.raises(AssertionError, match=r"cannot start: .*data"):
            its.start()


def test_a_destination_that_leaves_the_file_keeps_its_queue(tmp_path):
    with stage(tmp_path) as its:
        its.fail(vendor="flywheel", status=503, times=-1)
        gateway = its.start()
        send(gateway, 1)
        until(lambda: of(metrics(gateway), "retried_total", "flywheel") > 0)
        gateway.stop()
        whole = its.config.read_text()
        part = re.sub(r"\[destinations\.flywheel\][^\[]*", "", whole).replace(
            '"flywheel", "thrivestack"', '"thrivestack"'
        )
        its.config.write_text(part)
        its.mend()
        gateway = its.start()
        assert httpx.get(f"{gateway.url}/readyz").json()["destinations"]["flywheel"]["reason"] == "not in routes.toml"
        assert of(ledger(gateway), "parked", "flywheel") == 1
        gateway.stop()
        its.config.write_text(whole)
        gateway = its.start()
        until(lambda: of(metrics(gateway), "delivered_total", "flywheel") == 1)
        assert httpx.get(f"{gateway.url}/readyz").json()["destinations"]["flywheel"]["state"] == "up"
        assert any(line["event"] == "destination.resumed" for line in gateway.log())


def test_what_callers_and_upstreams_send_is_in_no_log_and_no_metric(tmp_path):
    """Canaries: a user id, a property, both keys, and (through failing replies) the vendors' words."""
    with stage(tmp_path) as its:
        gateway = its.start()
        its.fail(status=400, times=2)
        canary = {"event_name": "bought", "user_id": "canary-user", "properties": {"canary-key": "canary-value"}}
        httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=canary)
        httpx.post(f"{gateway.url}/v1/events", headers={"authorization": "Bearer canary-wrong"}, json=canary)
        httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json={**canary, "user_id": 5})
        until(
            lambda: (
                sum(of(metrics(gateway), "delivered_total", n) + of(metrics(gateway), "dead", n) for n in VENDORS) == 4
            )
        )
        text = httpx.get(f"{gateway.url}/metrics").text + httpx.get(f"{gateway.url}/readyz").text
        gateway.stop()
        text += gateway.log_path.read_text() + gateway.out_path.read_text()
        assert "delivery.attempted" in text
        for secret in ("canary", "in-appizer", "out-appizer", "out-userpilot", "bought"):
            assert secret not in text, secret


# --- as a newcomer does ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """``serve --sandbox`` with the shipped configuration and nothing set."""
    folder = tmp_path_factory.mktemp("newcomer")
    config = README.parent / "routes.toml"
    process = Process(
        folder, "serve", "--sandbox", "--config", str(config), "--data", str(folder / "data"),
        "--listen", "127.0.0.1:0", "--sandbox-listen", "127.0.0.1:0",
    )  # fmt: skip
    yield process
    process.stop()


def curls(text):
    """The curl commands of a page: URL, headers and body of each."""
    for command in re.findall(r"^curl -X POST .*?(?:[^\\]$)(?=\n```)", text, re.MULTILINE | re.DOTALL):
        words = shlex.split(command)
        url = next(word for word in words if word.startswith("http"))
        pairs = list(pairwise(words))
        headers = dict(value.split(": ", 1) for flag, value in pairs if flag == "-H")
        yield url, headers, next(value for flag, value in pairs if flag == "-d")


def test_the_readmes_curls_are_answered_and_arrive_at_all_four(newcomer):
    sandbox = re.findall(r"emulated vendors at (http://\S+),", newcomer.out_path.read_text())[0]
    seen = []
    for url, headers, body in curls(README.read_text()):
        reply = httpx.post(url.replace("http://127.0.0.1:8080", newcomer.url), headers=headers, content=body)
        assert reply.is_success, (url, reply.text)
        assert reply.headers["trackgate-sandbox"] == "true"
        seen.append(reply.headers["trackgate-event-id"])
    assert len(seen) == 4
    for event_id in seen:
        assert not [each["problems"] for each in arrived(sandbox, event_id, 4) if each["problems"]]


def test_the_two_digit_year_is_a_warning_in_the_log(newcomer):
    call = KNOWN["thrivestack"].sample(f"{newcomer.url}/thrivestack", "k")
    event_id = httpx.post(call.url, headers=call.headers, content=call.body).headers["trackgate-event-id"]
    line = until(lambda: [line for line in newcomer.log() if line.get("event_id") == event_id])[0]
    assert (line["level"], line["notes"]) == ("warning", ["timestamp.degraded"])


def test_the_sandbox_is_announced_in_log_readiness_and_words(newcomer):
    assert httpx.get(f"{newcomer.url}/readyz").json()["sandbox"] is True
    assert any(line["event"] == "gateway.started" and line["sandbox"] for line in newcomer.log())
    assert "none to a real one" in newcomer.out_path.read_text()
    assert shlex.split(newcomer.out_path.read_text().partition("try it")[2].splitlines()[0])[0] == "curl"


def test_a_rehearsal_beside_the_sandbox_leads_to_the_sandbox(newcomer):
    sandbox = re.findall(r"emulated vendors at (http://\S+),", newcomer.out_path.read_text())[0]
    refusal = {"vendor": "flywheel", "status": 422, "match": {"user": "refused"}}
    httpx.post(f"{sandbox}/-/fail", json=refusal).raise_for_status()
    body = {"event_name": "e", "user_id": "refused"}
    reply = httpx.post(f"{newcomer.url}/appizer/v1/events", headers=BEARER, json=body)
    event_id = reply.raise_for_status().headers["trackgate-event-id"]

    folder = newcomer.out_path.parent
    where = ("--sandbox", "--data", str(folder / "data"), "--config", str(README.parent / "routes.toml"))
    said = until(
        lambda: (shown := CliRunner().invoke(main, ["dead", "show", event_id, *where])).exit_code == 0 and shown.output
    )
    assert "today the same would be sent" in said


def test_livez_says_that_the_process_answers(newcomer):
    assert httpx.get(f"{newcomer.url}/livez").json() == {"status": "alive"}


def test_a_call_as_a_curl_line_is_that_call():
    call = KNOWN["appizer"].sample("http://h", "it's")
    words = shlex.split(say_curl(call))
    assert words[:2] == ["curl", "http://h" + KNOWN["appizer"].endpoints[0].path]
    assert json.loads(words[-1]) == json.loads(call.body)
    assert "Authorization: Bearer it's" in words
