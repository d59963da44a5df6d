"""The rig itself: a judge that cannot say guilty, or a driver that forgets, would prove nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.faults import dialects
from tests.faults.__main__ import GROUPS, files_of
from tests.faults.collector import Call, Collector, FellBehind, Seen
from tests.faults.driver import NO_ANSWER, Driver
from tests.faults.judge import Evidence, judge
from tests.faults.oracle import DIALECTS, Oracle

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORACLE = Oracle("rig", workers=4)


def body(vendor, number, our_id="ours"):
    """What the vendor must get: the expectation, with what the gateway makes up put in."""
    text = json.dumps(dialects._OWED[vendor](ORACLE.mint(number)))
    made_up = json.dumps(dialects.MADE_UP)
    return json.loads(
        text.replace(f'"timestamp": {made_up}', '"timestamp": "2026-03-01T12:00:00Z"').replace(
            f'"event_id": {made_up}', f'"event_id": "{our_id}"'
        )
    )


def came_in(*calls):
    seen = Seen()
    for vendor, number, altered in calls:
        seen.take(Call(1, NOW, vendor, 200, altered, trackgate_event_id=f"id-{number}"), ORACLE, timed=False)
    return seen


def well_kept():
    """Evidence of a run in which all went well: 20 events, 2 destinations, one duplicate."""
    numbers = range(20)
    return Evidence(
        destinations=("userpilot", "appizer"),
        promised={number: f"id-{number}" for number in numbers},
        was_sent=lambda number: number < 20,
        arrived={"userpilot": Counter([*numbers, 3]), "appizer": Counter(numbers)},
        ids={number: f"id-{number}" for number in numbers},
        altered=[],
        spurious=[],
        listed={},
        fresh={"userpilot": 0.1, "appizer": 0.2},
        retried=0,
    )


def guilty_of(**doctored):
    """The kinds of wrong that the judge finds in doctored evidence."""
    finding = judge(replace(well_kept(), **doctored), enough=20, within=5)
    return [words.split()[1].rstrip(",") for words in finding.wrongs]


def test_a_good_run_is_found_good():
    finding = judge(well_kept(), enough=20, within=5)
    assert finding.wrongs == []
    assert finding.kept
    assert (finding.obligations, finding.duplicates) == (40, 1)


def without(number):
    return {"userpilot": Counter([*range(20), 3]), "appizer": Counter(set(range(20)) - {number})}


def test_one_event_that_is_missing_at_one_destination_is_lost():
    finding = judge(replace(well_kept(), arrived=without(7)), enough=20, within=5)
    assert finding.lost == ["number 7 (id-7) at appizer"]
    assert not finding.kept


def test_one_that_is_missing_and_listed_there_as_waiting_is_not_lost():
    assert guilty_of(arrived=without(7), listed={"appizer": frozenset({7})}) == []
    assert guilty_of(arrived=without(7), listed={"userpilot": frozenset({7})}) == ["lost"]


def test_one_that_got_no_2xx_is_no_obligation():
    promised = {number: f"id-{number}" for number in range(20) if number != 7}
    finding = judge(replace(well_kept(), arrived=without(7), promised=promised), enough=19, within=5)
    assert finding.wrongs == []


@pytest.mark.parametrize(
    ("doctored", "kind"),
    [
        ({"altered": ["x"]}, "altered"),
        ({"spurious": ["x"]}, "spurious"),
        ({"was_sent": lambda number: number < 19}, "spurious"),
        ({"ids": {3: "another"}}, "spurious"),
        ({"fresh": {"userpilot": 0.1, "appizer": None}}, "stuck"),
        ({"fresh": {"userpilot": 0.1, "appizer": 5.1}}, "stuck"),
        ({"promised": {0: "id-0"}}, "vacuous"),
        ({"arrived": {"userpilot": Counter(range(20)), "appizer": Counter(range(20))}}, "vacuous"),
    ],
)
def test_doctored_evidence_is_found_out(doctored, kind):
    assert kind in guilty_of(**doctored)


@pytest.mark.parametrize("vendor", DIALECTS)
def test_a_body_is_as_owed_and_any_change_to_it_is_not(vendor):
    for number in range(200):
        good = body(vendor, number)
        assert dialects.is_as_owed(ORACLE.mint(number), vendor, good, "ours")
        text = json.dumps(good)
        for old, new in [('"digest": "', '"digest": "0'), ("user-", "user"), (f'"n": {number}', f'"n": {number}.0')]:
            assert old in text
            assert not dialects.is_as_owed(ORACLE.mint(number), vendor, json.loads(text.replace(old, new)), "ours")


def test_what_the_gateway_makes_up_must_be_fit_for_its_place():
    number = next(n for n in range(99) if (e := ORACLE.mint(n)).event_id is None and e.timestamp is None)
    event, good = ORACLE.mint(number), body("flywheel", number)
    assert dialects.is_as_owed(event, "flywheel", good, "ours")
    assert not dialects.is_as_owed(event, "flywheel", good, "another")
    good["event"]["timestamp"] = "yesterday"
    assert not dialects.is_as_owed(event, "flywheel", good, "ours")


def test_an_event_is_the_same_whenever_it_is_minted():
    again = Oracle("rig", workers=4)
    assert all(again.mint(number) == ORACLE.mint(number) for number in range(50))
    assert all(again.number_of(ORACLE.mint(number).mark) == number for number in range(50))
    assert Oracle("other").number_of(ORACLE.mint(3).mark) is None


def test_every_dialect_and_every_shape_is_among_the_first_events():
    events = [ORACLE.mint(number) for number in range(300)]
    assert {event.source for event in events} == set(DIALECTS)
    assert all(any(key in event.properties for event in events) for key in ("cart", "list", "long"))
    assert any(event.timestamp for event in events)
    assert any(event.event_id for event in events)
    assert any(event.group for event in events)


def test_the_reader_sees_what_is_altered_unknown_or_twice_stored():
    good = body("appizer", 5)
    assert came_in(("appizer", 5, good)).arrived["appizer"] == Counter({5: 1})
    assert came_in(("appizer", 5, {**good, "user_id": "another"})).altered
    assert came_in(("appizer", 5, {"event_name": "x", "user_id": "u"})).spurious
    seen = came_in(("appizer", 5, good))
    seen.take(Call(2, NOW, "userpilot", 200, body("userpilot", 5), trackgate_event_id="a-2nd"), ORACLE, timed=False)
    assert seen.spurious


def test_a_call_that_was_turned_away_has_not_arrived():
    seen = Seen()
    seen.take(Call(1, NOW, "appizer", 503, body("appizer", 5), trackgate_event_id="x"), ORACLE, timed=False)
    assert (seen.turned_away, seen.arrived["appizer"]) == (1, Counter())


WHOLE = b"ok"


class Answering:
    """A server in place of the gateway: answers each call with the next of these, and hangs up after one not whole."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                self.calls += 1
                answer = self.answers.pop(0)
                writer.write(answer)
                if not answer.endswith(WHOLE):
                    break
        except (asyncio.IncompleteReadError, IndexError):
            pass
        writer.close()


def drive(*answers):
    """What the driver remembers of these answers, one worker, one call each."""
    there = Answering(*answers)

    async def go():
        server = await asyncio.start_server(there.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        driver = Driver(Oracle("d"), workers=1)
        driver.aim(f"http://127.0.0.1:{port}")
        await asyncio.to_thread(driver.post, len(answers))
        server.close()
        return driver.record

    return asyncio.run(go())


def test_the_driver_counts_a_promise_only_where_a_whole_2xx_came():
    accepted = b"HTTP/1.1 202 x\r\ntrackgate-event-id: e-%d\r\ncontent-length: 2\r\n\r\nok"
    cut = b"HTTP/1.1 200 x\r\ntrackgate-event-id: e-cut\r\ncontent-length: 2\r\n\r\no"
    refused = b"HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nok"
    record = drive(accepted % 0, b"", refused, cut, accepted % 4)
    assert {0: "e-0", 4: "e-4"}.items() <= record.promised.items()
    assert {1, 2, 3}.isdisjoint(record.promised)
    assert record.statuses[503] == 1
    assert record.statuses[NO_ANSWER] >= 2
    assert record.was_sent(2, 1)
    assert not record.was_sent(10_000, 1)


def test_a_reader_that_fell_behind_says_so(tmp_path):
    """An emulator of one page: what it forgot before it was read is a gap."""
    forgotten = json.dumps([{"n": 5, "at": "2026-03-01T00:00:00Z", "vendor": "appizer", "status": 200, "body": {}}])

    async def emulate(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        said = b'{"count": 5}' if b"count" in head else forgotten.encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(said) + said)
        writer.close()

    async def go():
        server = await asyncio.start_server(emulate, "127.0.0.1", 0)
        collector = Collector(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ORACLE)
        try:
            with pytest.raises(FellBehind, match="1 to 4"):
                await asyncio.to_thread(collector.catch_up)
        finally:
            await asyncio.to_thread(collector.stop)
            server.close()

    asyncio.run(go())


def test_every_test_of_faults_has_its_turn_in_the_runner():
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    turns = [Path(path).name for group in files_of() for path in group]
    assert here <= set(turns)
    assert len(turns) == len(set(turns))
    assert all(Path(path).exists() for group in files_of() for path in group)
    assert len(GROUPS) >= 2
