"""Several processes on one data directory: what callers and operators see is one gateway."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

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
    received,
    runs,
    stage,
    until,
)
from trackgate.app.child import MISSED
from trackgate.app.owner import PATHS
from trackgate.app.relay import AT_A_TIME
from trackgate.cli import main
from trackgate.outboxes.sqlite.lock import own

BEATS_MISSED = 0.25 * MISSED
"""Seconds after which an impatient gateway takes one for stuck."""

NO_TLS = ssl.create_default_context()
"""Made once: it takes longer than a call."""

BEARER = {"authorization": "Bearer in-appizer"}
READS = {"authorization": "Bearer looks"}
ACTS = {"authorization": "Bearer does"}
TOKENS = 'read_token = "looks"\nact_token = "does"\n'
ROOT = Path(__file__).parents[2]
SHARED = ROOT / "routes.toml"


@pytest.fixture(scope="module", name="its")
def two_workers(tmp_path_factory):
    """A stage on which a gateway with two workers runs."""
    with stage(tmp_path_factory.mktemp("two"), f"workers = 2\n{TOKENS}") as its:
        its.start()
        yield its


@pytest.fixture(name="gateway")
def running(its):
    return its.started[-1]


def send(gateway, number, user=None):
    """On a connection of its own, so that any worker may take it."""
    return httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number, user), verify=NO_TLS)


def at_once(count, call):
    """Call with 0, 1, ... in as many threads."""
    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)


def share(its, worker):
    """What a worker has counted, as it tells the owner."""
    transport = httpx.HTTPTransport(uds=str(its.folder / "data" / f"worker-{worker}.sock"))
    with httpx.Client(transport=transport, base_url="http://worker") as client:
        return client.get("/share").raise_for_status().json()


def answered(its, worker):
    """Calls that a worker has answered."""
    return sum(
        value for name, _, value in share(its, worker)["trackgate_request_duration_seconds"] if name.endswith("_count")
    )


def settled(gateway):
    """Everything that is counted, once nothing is due any more."""

    def look():
        seen = metrics(gateway)
        return seen if not any(count for line, count in seen.items() if line.startswith("trackgate_due{")) else None

    return until(look)


# --- one gateway ------------------------------------------------------------------------------------------------


def test_each_users_events_come_in_order_whoever_takes_them_in(its, gateway):
    """Every call on a connection of its own; a user's next is sent when the one before is acknowledged."""
    users, each = 4, 25

    def post(user):
        for number in range(each):
            assert send(gateway, number, f"ordered-{user}").status_code == 200

    at_once(users, post)
    settled(gateway)
    assert answered(its, 0)
    assert answered(its, 1)
    for vendor in VENDORS:
        for user in range(users):
            came = [number_of(call) for call in reversed(its.received(vendor=vendor, user=f"ordered-{user}"))]
            assert came in (list(range(each)), list(range(each))[::-1]), (vendor, user)


def test_what_is_counted_is_the_same_whichever_worker_answers_and_adds_up(its, gateway):
    received = 'trackgate_received_total{source="appizer"}'
    before = metrics(gateway).get(received, 0)
    at_once(8, lambda number: [send(gateway, number), httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json={})])
    until(lambda: metrics(gateway)[received] == before + 16)
    settled(gateway)
    calls = answered(its, 0) + answered(its, 1)
    for _ in range(8):
        seen = metrics(gateway)
        status = httpx.get(f"{gateway.url}/-/status", headers=READS).json()
        assert status["faults"] == []
        assert (
            sum(n for line, n in seen.items() if line.startswith("trackgate_request_duration_seconds_count")) == calls
        )
        for name, counted in status["destinations"].items():
            for field in ("owed", "delivered", "dropped", "filtered"):
                assert seen[f'trackgate_{field}_total{{destination="{name}"}}'] == counted[field]
            tries = f'trackgate_attempt_duration_seconds_count{{destination="{name}",outcome="delivered"}}'
            assert seen[tries] == counted["delivered"]
            assert seen[f'trackgate_in_flight{{destination="{name}"}}'] == 0
        for name, counted in status["sources"].items():
            for field in ("received", "accepted"):
                assert seen.get(f'trackgate_{field}_total{{source="{name}"}}', 0) == counted[field]


CALLS = [
    ("GET", "/livez", {}, None),
    ("HEAD", "/livez", {}, None),
    ("POST", "/livez", {}, None),
    ("GET", "/readyz", {}, None),
    ("GET", "/readyz/", {}, None),
    ("HEAD", "/readyz", {}, None),
    ("POST", "/readyz", {}, b"{}"),
    ("GET", "/metrics", {}, None),
    ("HEAD", "/metrics", {}, None),
    ("DELETE", "/metrics", {}, None),
    ("GET", "/-/status", {}, None),
    ("GET", "/-/status", {"authorization": "Bearer wrong"}, None),
    ("GET", "/-/status", READS, None),
    ("POST", "/-/dead/retry", READS, b"{}"),
    ("POST", "/-/dead/retry", ACTS, b"{"),
    ("POST", "/-/dead/retry", ACTS, b'{"selection": {}, "limit": 10}'),
    ("POST", "/-/dead/retry", ACTS, b" " * 11_000_000),
    ("GET", "/-/dead?limit=0&reason=a%20b", READS, None),
    ("GET", "/-/dead?limit=3&reason=a%20b", READS, None),
    ("GET", "/-/events/a%2Fb%C3%A9%20c", READS, None),
    ("GET", "/-/openapi.json", READS, None),
    ("GET", "/-/nothing", READS, None),
    ("GET", "/-/", READS, None),
    ("GET", "/-", {}, None),
    ("POST", "/-/destinations/nobody/resume", ACTS, None),
    ("GET", "/nowhere", {}, None),
    ("OPTIONS", "/v1/events", {"origin": "https://elsewhere"}, None),
]


def test_replies_have_one_form_however_many_processes_there_are(tmp_path):
    with stage(tmp_path / "one", TOKENS) as one, stage(tmp_path / "several", f"workers = 2\n{TOKENS}") as several:
        gateways = (one.start(), several.start())
        for method, path, headers, body in CALLS:
            heard = [
                httpx.request(method, gateway.url + path, headers=headers, content=body, timeout=GUARD, verify=NO_TLS)
                for gateway in gateways
            ]
            alone, beside = ((reply.status_code, shape(reply)) for reply in heard)
            assert alone == beside, (method, path)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_a_head_is_answered_as_a_get_without_its_body(gateway, path):
    """Two on one connection: a body between them would be no head of a reply."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    head = f"HEAD {path} HTTP/1.1\r\nhost: {host}\r\n"
    with socket.create_connection((host, int(port)), timeout=GUARD) as caller:
        caller.sendall(f"{head}\r\n{head}connection: close\r\n\r\n".encode())
        said = b"".join(iter(lambda: caller.recv(65_536), b""))
    first, second, rest = said.split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ncontent-length: " in first
    assert rest == b""


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_that_were_turned_away_unread_are_all_told_of_by_the_end(tmp_path, workers):
    with stage(tmp_path, f"workers = {workers}\n") as its:
        gateway = its.start()
        host, _, port = gateway.url.removeprefix("http://").partition(":")
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=GUARD) as caller:
                caller.sendall(b"garbage\r\n\r\n")
                assert caller.recv(12) == b"HTTP/1.1 400"
        assert gateway.stop() == 0
        log = gateway.log()
    assert sum(line["no_http"] for line in log if line["event"] == "calls.refused") == 20
    assert not [line for line in log if line["event"] == "library.warned"]


def shape(reply):
    """Headers and body, without what is counted or timed."""
    headers = sorted(
        (name, value) for name, value in reply.headers.multi_items() if name not in {"date", "content-length"}
    )
    if reply.headers.get("content-type", "").startswith("text/plain"):
        return headers, sorted({line for line in reply.text.splitlines() if line.startswith("#")})
    try:
        return headers, keys(reply.json())
    except ValueError:
        return headers, reply.text


def keys(value):
    if isinstance(value, dict):
        return {key: keys(each) for key, each in value.items()}
    return value if isinstance(value, str) and not value.startswith("20") else type(value).__name__


def test_a_caller_that_sends_its_body_in_chunks_is_passed_on(gateway):
    def body():
        yield b'{"selection": {},'
        yield b' "limit": 10}'

    reply = httpx.post(f"{gateway.url}/-/dead/retry", headers=ACTS, content=body())
    assert (reply.status_code, reply.json()["retried"]) == (200, 0)


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_callers_whose_bodies_never_come_keep_nobody_from_looking(its, gateway, method, path):
    """More of them than the owner answers at a time, each on a connection that stays open."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    head = f"{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 10\r\n\r\n".encode()
    callers = [socket.create_connection((host, int(port)), timeout=GUARD) for _ in range(2 * AT_A_TIME + 1)]
    try:
        for caller in callers:
            caller.sendall(head)
        for caller in callers:
            assert caller.recv(12) == (b"HTTP/1.1 200" if method == "GET" else b"HTTP/1.1 405")
        assert httpx.get(gateway.url + path, timeout=GUARD).status_code == 200
    finally:
        for caller in callers:
            caller.close()


# --- operators --------------------------------------------------------------------------------------------------


def test_operators_find_resume_and_retry_whichever_worker_delivers_there(tmp_path):
    with stage(tmp_path, "workers = 2\n", **dict.fromkeys(VENDORS, 'retry = { probe = "1h" }')) as its:
        gateway = its.start()

        def run(*arguments, status=0):
            said = CliRunner().invoke(main, [*arguments, "--config", str(its.config)])
            assert said.exit_code == status, said.output
            return said.output

        its.fail(status=401, times=-1)
        event_id = send(gateway, 1).headers["trackgate-event-id"]
        until(lambda: run("status").count("is parked") == len(VENDORS))
        assert "still parked" in run("resume", "flywheel", status=1)
        its.mend()
        for name in VENDORS:
            assert f"{name} is up" in run("resume", name)
        arrived_at = {call["vendor"] for call in until(lambda: delivered(its, event_id))}
        assert arrived_at == set(VENDORS)

        its.fail(status=429, times=len(VENDORS), retry_after="86400")
        event_id = send(gateway, 3).headers["trackgate-event-id"]
        until(lambda: run("status").count("is paused until") == len(VENDORS))
        for name in VENDORS:
            assert f"{name} is up: what waits there is being sent" in run("resume", name)
        until(lambda: delivered(its, event_id))
        until(lambda: "is paused" not in run("status"))

        its.fail(status=400, times=-1)
        event_id = send(gateway, 2).headers["trackgate-event-id"]
        until(lambda: json.loads(run("dead", "list", "--json"))["total"] == len(VENDORS))
        its.mend()
        assert "4" in run("dead", "retry", "--all")
        until(lambda: delivered(its, event_id))
        assert run("find", event_id).count("delivered") == len(VENDORS)
        assert "it adds up" in run("status")


def delivered(its, event_id):
    """The good calls that brought it, once it is everywhere."""
    good = [call for call in its.received(id=event_id) if not call["failed"]]
    return good if len(good) == len(VENDORS) else None


# --- their ends -------------------------------------------------------------------------------------------------


def test_a_worker_that_was_killed_is_replaced_and_its_share_of_the_metrics_alone_begins_anew(tmp_path):
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start()
        at_once(8, lambda number: [send(gateway, number) for _ in range(4)])
        before = settled(gateway)
        family, kept = gateway.family(), answered(its, 1)
        os.kill(family["worker-0"], signal.SIGKILL)
        until(lambda: gateway.family().get("worker-0", family["worker-0"]) != family["worker-0"])
        line = until(lambda: [line for line in gateway.log() if line["event"] == "worker.ended"])[0]
        assert (line["level"], line["worker"], line["pid"]) == ("error", 0, family["worker-0"])
        assert line["how"] == "signal 9 (SIGKILL)"
        until(lambda: answered_anew(its))
        after = settled(gateway)
        counted = [line for line in before if line.startswith("trackgate_owed_total")]
        assert {line: after[line] for line in counted} == {line: before[line] for line in counted}
        assert (
            sum(n for line, n in after.items() if line.startswith("trackgate_request_duration_seconds_count")) == kept
        )
        assert gateway.family()["owner"] == family["owner"]
        until(lambda: ready(gateway) == (200, {"configured": 2, "serving": 2, "ended": 1, "unserved": []}))
        at_once(8, lambda number: send(gateway, 100 + number))
        assert settled(gateway)['trackgate_delivered_total{destination="appizer"}'] == 40
        assert gateway.stop() == 0


def answered_anew(its):
    try:
        return share(its, 0)["trackgate_request_duration_seconds"] == []
    except httpx.TransportError:
        return False


class Crowded(Process):
    """The program on the system of ``crowded``."""

    module = "tests.program.crowded"


def crowded(forks):
    def start(folder, *arguments):
        return Crowded(folder, forks, *arguments, PYTHONPATH=str(ROOT))

    return start


def test_where_there_is_no_room_for_a_worker_it_is_tried_again_while_the_others_go_on(tmp_path):
    """The second worker at the start, later the first one's successor: three times, once without a thread to log."""
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start(crowded("3,5,6+,7"))
        family = gateway.family()
        os.kill(family["worker-0"], signal.SIGKILL)
        until(lambda: gateway.family().get("worker-0", family["worker-0"]) != family["worker-0"])
        missing = [line for line in gateway.log() if line["event"] == "worker.missing"]
        assert [(line["level"], line["worker"]) for line in missing] == [("error", 1), ("error", 0), ("error", 0)]
        assert {line["reason"] for line in missing} == {os.strerror(errno.EAGAIN)}
        assert 2 * missing[1]["pause"] < missing[2]["pause"]
        assert gateway.log_path.read_text().count("can't start new thread") == 1
        assert [gateway.family()[name] for name in ("owner", "worker-1")] == [family["owner"], family["worker-1"]]
        assert send(gateway, 1).status_code == 200
        assert gateway.stop() == 0


def test_workers_that_are_missing_are_told_of_and_without_any_the_gateway_is_not_ready(tmp_path):
    """The one that is left takes calls; without it only the owner is there to be asked."""
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start(crowded(",".join(map(str, range(4, 100)))))
        assert ready(gateway) == (200, {"configured": 2, "serving": 2, "ended": 0, "unserved": []})
        assert status(its).splitlines()[1] == "workers  2 of 2 serve"

        os.kill(gateway.family()["worker-1"], signal.SIGKILL)
        until(lambda: "worker-1" not in gateway.family() and ready(gateway)[1]["ended"])
        unserved = ["flywheel", "appizer"]
        assert ready(gateway) == (200, {"configured": 2, "serving": 1, "ended": 1, "unserved": unserved})
        assert send(gateway, 1).status_code == 200
        seen = metrics(gateway)
        counted = [seen[f"trackgate_workers{each}"] for each in ("", "_serving", "_ended_total")]
        assert counted == [2, 1, 1]
        assert status(its).splitlines()[1:3] == [
            "workers  1 of 2 serve, 1 ended since the start; why: worker.ended, worker.missing in the log",
            "  nothing goes to flywheel, appizer until their worker serves again",
        ]

        os.kill(gateway.family()["worker-0"], signal.SIGKILL)
        transport = httpx.HTTPTransport(uds=str(its.folder / "data" / PATHS))
        with httpx.Client(transport=transport) as client:
            reply = until(lambda: (said := client.get("http://owner/readyz")).status_code == 503 and said)
        assert reply.json()["reason"].startswith("no worker serves")
        assert (reply.json()["status"], reply.json()["workers"]["serving"]) == ("refusing", 0)
        first, second = status(its).splitlines()[:2]
        assert first.startswith("gateway  refusing, at ")
        assert second == f"  new events are refused: {reply.json()['reason']}"
        assert gateway.stop() == 0


def ready(gateway):
    """The status of ``/readyz``, and what it says of the workers."""
    reply = httpx.get(f"{gateway.url}/readyz", timeout=GUARD)
    return reply.status_code, reply.json()["workers"]


def status(its):
    said = CliRunner().invoke(main, ["status", "--config", str(its.config)])
    assert said.exit_code == 0, said.output
    return said.output


class Impatient(Process):
    """A gateway that misses one that is stuck within seconds."""

    module = "tests.program.impatient"

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder, *arguments, PYTHONPATH=str(ROOT))


def told_of_stuck(gateway):
    return [line["process"] for line in gateway.log() if line["event"] == "process.stuck"]


def test_a_worker_that_is_stuck_is_replaced_and_what_it_had_in_hand_goes_out(tmp_path):
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start(Impatient)
        family = gateway.family()
        os.kill(family["worker-0"], signal.SIGSTOP)
        until(lambda: gateway.family().get("worker-0", family["worker-0"]) != family["worker-0"])
        assert told_of_stuck(gateway) == ["worker-0"]
        assert {send(gateway, number).status_code for number in range(10)} == {200}
        settled(gateway)
        assert gateway.family().items() >= {(name, family[name]) for name in ("supervisor", "owner", "worker-1")}
        assert gateway.stop() == 0


def test_an_owner_that_is_stuck_ends_the_program_for_somebody_to_start_it_again(tmp_path):
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start(Impatient)
        family = gateway.family()
        os.kill(family["owner"], signal.SIGSTOP)
        assert gateway.process.wait(GUARD) == 1
        assert told_of_stuck(gateway) == ["owner"]
        until(lambda: not any(map(runs, family.values())))


def test_where_all_of_them_slept_nobody_is_stuck(tmp_path):
    """A container that is paused, or a machine that is."""
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start(Impatient)
        family = gateway.family()
        for pid in family.values():
            os.kill(pid, signal.SIGSTOP)
        time.sleep(1.2 * BEATS_MISSED)
        for pid in family.values():
            os.kill(pid, signal.SIGCONT)
        assert send(gateway, 1).status_code == 200
        time.sleep(1.2 * BEATS_MISSED)
        assert (told_of_stuck(gateway), gateway.family()) == ([], family)
        assert gateway.stop() == 0


KILLED_OWNER = """
import os, signal
from trackgate.app import owner
from trackgate.cli import main

owner.main = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_an_owner_that_is_killed_before_it_could_say_anything_is_told_of(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_OWNER, "serve", "--sandbox", "--config", str(SHARED), "--workers", "2"],
        cwd=tmp_path, capture_output=True, timeout=GUARD, check=False,
    )  # fmt: skip
    told = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith(b"{")]
    assert [line["how"] for line in told if line["event"] == "owner.ended"] == ["signal 9 (SIGKILL)"]
    assert ended.returncode == 1


def test_a_worker_that_takes_anothers_place_knows_the_keys_that_the_others_know(tmp_path):
    """Files that were replaced since the start count from the next one, in every worker alike."""
    key, token = tmp_path / "key", tmp_path / "token"
    key.write_text("in-appizer")
    token.write_text("looks")
    with stage(tmp_path, f'workers = 2\nread_token = "${{file:{token}}}"\n') as its:
        its.config.write_text(its.config.read_text().replace('"in-appizer"', f'"${{file:{key}}}"'))
        gateway = its.start()
        family = gateway.family()
        key.write_text("newer")
        token.write_text("newer")
        for name in ("worker-0", "worker-1"):
            os.kill(family[name], signal.SIGKILL)
        until(lambda: family.items() & gateway.family().items() == {(n, family[n]) for n in ("supervisor", "owner")})
        assert send(gateway, 1).status_code == 200
        assert httpx.get(f"{gateway.url}/-/status", headers=READS, timeout=GUARD).status_code == 200
        assert gateway.stop() == 0


def test_a_worker_that_takes_anothers_place_delivers_although_a_secret_is_gone(tmp_path):
    """With the one that was known, as the other did; and nothing else that is its own waits for that file."""
    key = tmp_path / "key"
    key.write_text("out-userpilot")
    with stage(tmp_path, "workers = 2\n") as its:
        its.config.write_text(its.config.read_text().replace('"out-userpilot"', f'"${{file:{key}}}"'))
        gateway = its.start()
        first = gateway.family()["worker-0"]
        key.unlink()
        os.kill(first, signal.SIGKILL)
        until(lambda: gateway.family().get("worker-0", first) != first)
        calls = arrived(its.sandbox.url, send(gateway, 1).headers["trackgate-event-id"], len(VENDORS))
        assert {call["vendor"] for call in calls if call["problems"]} == set()
        unread = [line["destination"] for line in gateway.log() if line["event"] == "secret.unreadable"]
        assert unread == ["userpilot"]
        assert len([line for line in gateway.log() if line["event"] == "worker.ended"]) == 1
        assert gateway.stop() == 0


@pytest.mark.parametrize("victim", ["owner", "supervisor"])
def test_the_end_of_one_that_cannot_be_replaced_is_the_end_of_all(tmp_path, victim):
    with stage(tmp_path, "workers = 2\n") as its:
        gateway = its.start()
        family = gateway.family()
        os.kill(family[victim], signal.SIGKILL)
        assert gateway.process.wait(GUARD) == (1 if victim == "owner" else -signal.SIGKILL)
        until(lambda: not any(map(runs, family.values())))
        told = [line["how"] for line in gateway.log() if line["event"] == "owner.ended"]
        assert told == (["signal 9 (SIGKILL)"] if victim == "owner" else [])


@pytest.mark.parametrize(
    ("told", "number"), [("worker-1", signal.SIGTERM), ("all", signal.SIGTERM), ("all", signal.SIGINT)]
)
def test_a_signal_whoever_gets_it_finishes_what_is_in_hand(tmp_path, told, number):
    """Process managers tell one of them, or all of them at once; so does Ctrl-C."""
    with stage(tmp_path, "workers = 2\n") as its:
        its.fail(delay="300ms", times=4)
        gateway = its.start()
        family = gateway.family()
        sent = Counter(send(gateway, number).status_code for number in range(20))
        for pid in family.values() if told == "all" else [family[told]]:
            os.kill(pid, number)
        assert gateway.process.wait(GUARD) == 0
        told_of = [line["event"] for line in gateway.log() if line["event"].startswith(("gateway.", "worker."))]
        assert told_of == ["gateway.started", "gateway.draining", "gateway.stopped"]
        gateway = its.start()
        settled(gateway)
        assert sent == {200: 20}
        for name in VENDORS:
            assert sorted(number_of(call) for call in its.received(vendor=name)) == list(range(20))


def test_an_owner_that_does_nothing_any_more_keeps_nobody_from_ending(tmp_path):
    """A disk that hangs, for one: after the grace it is killed, and what was acknowledged goes out after the start."""
    with stage(tmp_path, 'workers = 2\ngrace = "100ms"\n') as its:
        its.fail(delay="2s", times=-1)
        gateway = its.start()
        family = gateway.family()
        assert {send(gateway, number).status_code for number in range(5)} == {200}
        os.kill(family["owner"], signal.SIGSTOP)
        gateway.process.terminate()
        assert gateway.process.wait(GUARD) == 1
        assert not any(map(runs, family.values()))
        assert [line["how"] for line in gateway.log() if line["event"] == "owner.ended"] == ["signal 9 (SIGKILL)"]
        its.mend()
        settled(its.start())
        for name in VENDORS:
            assert {number_of(call) for call in its.received(vendor=name)} == set(range(5))


def test_a_second_signal_ends_all_at_once(tmp_path):
    with stage(tmp_path, 'workers = 2\ngrace = "60s"\n') as its:
        its.fail(delay="30s", times=-1)
        gateway = its.start()
        family = gateway.family()
        for number in range(10):
            assert send(gateway, number).status_code == 200
        end_at_once(gateway)
        assert not any(map(runs, family.values()))


# --- the start --------------------------------------------------------------------------------------------------


def test_a_second_start_on_the_data_is_refused_with_words(its):
    with pytest.raises(AssertionError, match=r"cannot start: .*data"):
        its.start()


def test_an_address_that_is_taken_is_told_and_leaves_nobody_behind(tmp_path, gateway):
    at = gateway.url.removeprefix("http://")
    with stage(tmp_path, "workers = 2\n") as other:
        other.config.write_text(other.config.read_text().replace("127.0.0.1:0", at))
        with pytest.raises(AssertionError, match=r"cannot start: .*choose another address"):
            other.start()
        own(other.folder / "data")()


@pytest.mark.parametrize("stated", ["0", "two", "-1", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused_with_words(stated):
    said = CliRunner().invoke(main, ["serve", "--sandbox", "--config", str(SHARED), "--workers", stated])
    assert said.exit_code == 2
    assert re.search(r"--workers.*a whole number, minimum 1", said.output), said.output


def test_the_sandbox_runs_beside_several_workers(tmp_path):
    process = Process(
        tmp_path, "serve", "--sandbox", "--config", str(SHARED), "--data", str(tmp_path / "data"),
        "--listen", "127.0.0.1:0", "--sandbox-listen", "127.0.0.1:0", "--workers", "2",
    )  # fmt: skip
    try:
        sandbox = re.findall(r"emulated vendors at (http://\S+),", process.out_path.read_text())[0]
        reply = httpx.post(f"{process.url}/appizer/v1/events", headers=BEARER, json=appizer(1))
        assert reply.headers["trackgate-sandbox"] == "true"
        arrived(sandbox, reply.headers["trackgate-event-id"], len(VENDORS))
        assert not [each["problems"] for each in received(sandbox) if each["problems"]]
        assert httpx.get(f"{process.url}/readyz").json()["sandbox"] is True
        assert process.out_path.read_text().count("listens at") == 1
        assert process.stop() == 0
    finally:
        process.kill()
    started = [line for line in process.log() if line["event"] == "gateway.started"]
    assert [(line["workers"], line["sandbox"]) for line in started] == [(2, sandbox.removeprefix("http://"))]
