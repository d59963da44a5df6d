"""The same event a hundred times at once, and again after a restart and after ``kill -9``: delivered once."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.faults.driver import Line
from tests.faults.rig import rig
from tests.program.running import VENDORS, until

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 100

FLYWHEEL = {"event": {"event": "bought", "event_id": "order-1", "user_id": "u", "properties": {"n": 1}}}
APPIZER = {"event_name": "bought", "user_id": "u", "properties": {"n": 1}}
CALLS: dict[str, tuple[str, Any]] = {
    "event id": ("authorization: in-flywheel\r\nauth-type: api", FLYWHEEL),
    "Idempotency-Key": ("authorization: Bearer in-appizer\r\nidempotency-key: order-1", APPIZER),
}
"""Two ways to say that it is the same: headers and body."""

EACH = len(CALLS) * len(VENDORS)


def post_at_once(
    its, key: str, *, then: Callable[[], None] | None = None, after: int = AT_ONCE
) -> tuple[set[str], int]:
    """Post one event on a hundred connections; the ids and the number of the 2xx that came.

    ``then`` is called as soon as the ``after``-th answer came.
    """
    headers, body = CALLS[key]
    content = json.dumps(body)
    call = f"POST /v1/events HTTP/1.1\r\nhost: x\r\n{headers}\r\ncontent-length: {len(content)}\r\n\r\n{content}"
    at = urlsplit(its.running.url)
    answers = itertools.count(1)

    async def one(line: Line) -> str | None:
        reply = await line.exchange(call.encode())
        if reply is not None and next(answers) == after and then is not None:
            then()
        await line.close()
        assert reply is None or 200 <= reply.status < 300, reply
        return reply.event_id if reply else None

    async def go() -> list[str | None]:
        lines = [Line() for _ in range(AT_ONCE)]
        for line in lines:
            assert await line.connect((at.hostname or "", at.port or 0))
        return await asyncio.gather(*map(one, lines))

    ids = [event_id for event_id in asyncio.run(go()) if event_id is not None]
    return set(ids), len(ids)


def settled(its):
    until(lambda: not sum(one["waiting"] for one in its.ready()["destinations"].values()))


def test_an_event_that_is_sent_a_hundred_times_is_delivered_once(tmp_path, long, verdict):
    ends = ("stop", "kill") * (10 if long else 1)
    with rig(tmp_path, "once") as its:
        ids: dict[str, set[str]] = {key: set() for key in CALLS}
        answered = 0
        for end in (*ends, ""):
            its.start()
            for key in CALLS:
                found, count = post_at_once(its, key)
                ids[key] |= found
                answered += count
            settled(its)
            if end:
                getattr(its, end)()
        calls = its.stage.received()
        verdict(
            test="one event many times",
            done=f"{answered} calls, {AT_ONCE} at once, by {' and by '.join(CALLS)}; {len(ends)} restarts and kills -9",
            held=len(calls) == EACH and all(len(each) == 1 for each in ids.values()),
            obligations=EACH,
            lost=EACH - len({(call["vendor"], call["trackgate_event_id"]) for call in calls}),
            duplicates=len(calls) - EACH,
            target="one id and one call at each destination",
        )
        assert answered == (len(ends) + 1) * len(CALLS) * AT_ONCE
        assert {key: len(each) for key, each in ids.items()} == dict.fromkeys(CALLS, 1)
        assert sorted((call["trackgate_event_id"], call["vendor"]) for call in calls) == sorted(
            itertools.product(set().union(*ids.values()), VENDORS)
        )


def test_killed_while_they_come_in_the_repeats_find_the_one_that_was_promised(tmp_path, long, verdict):
    """What an upstream may get twice then is that one event, under its one id."""
    rounds = 20 if long else 2
    key_of_round = list(itertools.islice(itertools.cycle(CALLS), rounds))
    with rig(tmp_path, "once") as its:
        ids: dict[str, set[str]] = {key: set() for key in CALLS}
        cut_off = 0
        for number, key in enumerate(key_of_round):
            its.start()
            found, count = post_at_once(its, key, then=its.kill, after=1 + 3 * number)
            ids[key] |= found
            cut_off += AT_ONCE - count
        its.start()
        for key in CALLS:
            ids[key] |= post_at_once(its, key)[0]
        settled(its)
        came = its.stage.received()
        promised = set().union(*ids.values())
        duplicates = len(came) - EACH
        verdict(
            test="one event many times, killed meanwhile",
            done=f"{rounds} kills -9 while {AT_ONCE} calls came in, {cut_off} of them cut off",
            held=len(promised) == len(CALLS) and {call["trackgate_event_id"] for call in came} == promised,
            obligations=EACH,
            lost=EACH - len({(call["vendor"], call["trackgate_event_id"]) for call in came}),
            duplicates=duplicates,
            target=f"one id each; duplicates <= {rounds * len(VENDORS)} (in flight at the kills)",
        )
        assert {key: len(each) for key, each in ids.items()} == dict.fromkeys(CALLS, 1)
        assert {(call["trackgate_event_id"], call["vendor"]) for call in came} == set(
            itertools.product(promised, VENDORS)
        )
        assert duplicates <= rounds * len(VENDORS)
