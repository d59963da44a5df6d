"""The same event a hundred times at once, and again after a restart and after ``kill -9``: delivered once."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.faults.driver import Line
from tests.faults.rig import rig
from tests.program.running import VENDORS, until

AT_ONCE = 100

FLYWHEEL = {"event": {"event": "bought", "event_id": "order-1", "user_id": "u", "properties": {"n": 1}}}
APPIZER = {"event_name": "bought", "user_id": "u", "properties": {"n": 1}}
CALLS = {
    "an event id": ("/v1/events", "authorization: in-flywheel\r\nauth-type: api", FLYWHEEL),
    "an Idempotency-Key": ("/v1/events", "authorization: Bearer in-appizer\r\nidempotency-key: order-1", APPIZER),
}


def post_at_once(url, path, headers, body):
    """The ids of the answers, one a call; ``None`` where none came, and each that came is a 2xx."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\ncontent-length: {len(content)}\r\n\r\n"
    at = urlsplit(url)

    async def one(line):
        reply = await line.exchange(head.encode() + content)
        await line.close()
        assert reply is None or 200 <= reply.status < 300, reply
        return reply and reply.event_id

    async def go():
        lines = [Line() for _ in range(AT_ONCE)]
        for line in lines:
            await line.connect((at.hostname or "", at.port or 0))
        return await asyncio.gather(*map(one, lines))

    return asyncio.run(go())


def settled(its):
    """Wait until nothing is owed any more."""
    until(lambda: not sum(one["waiting"] for one in its.ready()["destinations"].values()))


@pytest.mark.parametrize("key", CALLS)
def test_an_event_that_is_sent_a_hundred_times_is_delivered_once(tmp_path, key, long, verdict):
    posted = 0
    with rig(tmp_path, "once") as its:
        its.start()
        ids = set(post_at_once(its.running.url, *CALLS[key]))
        settled(its)
        for end in [its.stop, its.kill] * (10 if long else 1):
            end()
            its.start()
            ids |= set(post_at_once(its.running.url, *CALLS[key]))
            settled(its)
            posted += AT_ONCE
        calls = its.stage.received()
        verdict(
            test=f"one event many times, by {key}",
            done=f"{posted + AT_ONCE} calls, {AT_ONCE} at once; restarts and kills -9 between",
            held=len(ids) == 1 and len(calls) == len(VENDORS),
            obligations=len(VENDORS),
            lost=len(VENDORS) - len({call["vendor"] for call in calls}),
            duplicates=len(calls) - len(VENDORS),
            target="one id, one call at each destination",
        )
        assert ids == {calls[0]["trackgate_event_id"]}
        assert sorted(call["vendor"] for call in calls) == sorted(VENDORS)


@pytest.mark.parametrize("key", CALLS)
def test_killed_while_they_come_in_the_repeats_still_find_the_one_that_was_promised(tmp_path, key, long, verdict):
    """What an upstream may get twice then is that one event, under its one id."""
    rounds = 20 if long else 2
    with rig(tmp_path, "once") as its:
        ids: set[str] = set()
        for number in range(rounds):
            its.start()
            killer = threading.Thread(target=lambda after=number / 200: (time.sleep(after), its.kill()))
            killer.start()
            ids |= {one for one in post_at_once(its.running.url, *CALLS[key]) if one}
            killer.join()
        its.start()
        ids |= set(post_at_once(its.running.url, *CALLS[key]))
        settled(its)
        came = its.stage.received()
        duplicates = len(came) - len(VENDORS)
        verdict(
            test=f"one event many times, by {key}, killed meanwhile",
            done=f"{rounds} kills while {AT_ONCE} calls came in",
            held=len(ids) == 1 and {call["trackgate_event_id"] for call in came} == ids,
            obligations=len(VENDORS),
            lost=len(set(VENDORS) - {call["vendor"] for call in came}),
            duplicates=duplicates,
            target=f"one id; duplicates <= {rounds * len(VENDORS)} (in flight at the kills)",
        )
        assert len(ids) == 1
        assert {call["trackgate_event_id"] for call in came} == ids
        assert {call["vendor"] for call in came} == set(VENDORS)
        assert duplicates <= rounds * len(VENDORS)
