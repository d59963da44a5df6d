"""What every outbox promises. One that is new joins ``KINDS`` and brings no test of its own for these."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.made import NOON
from tests.outboxes.kinds import HOUR, KINDS, Sqlite, entry, ids, settled
from trackgate.outbox import (
    Appended,
    Attempt,
    Dead,
    Done,
    Entry,
    Held,
    Outbox,
    OutboxFull,
    OutboxUnavailable,
    Selection,
    Settlement,
    Standing,
)
from trackgate.outboxes.sqlite.reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Sqlite:
    made: Sqlite = request.param(tmp_path)
    return made


def holds(kind: Sqlite, law: Callable[[Outbox], Awaitable[None]], **limits: Any) -> None:
    """Run a law on an open outbox."""

    async def run() -> None:
        box = await kind.open(**limits)
        try:
            await law(box)
        finally:
            await box.close()

    asyncio.run(run())


# --- append -----------------------------------------------------------------------------------------------------


def test_events_come_out_in_the_order_they_went_in_and_unchanged(kind):
    plus_two = datetime(2026, 3, 1, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    entries = [
        entry(1, "a", properties={"quote": '"', "null": None, "nul": "\0", "deep": [{"π": 1.5}], "big": 2**70}),
        entry(2, "a", timestamp=plus_two, name="ünï\u2028code", extras={"x": "'; drop table event; --"}),
        Entry(entry(3).event, lane=-(2**63), owed=frozenset({"a"}), hops=3),
    ]

    async def law(box):
        await box.append(entries)
        out = await box.take("a", 10)
        assert [one.event for one in out] == [one.event for one in entries]
        assert out[1].event.timestamp.utcoffset() == timedelta(hours=2)
        assert [(one.lane, one.hops) for one in out] == [(1, 0), (2, 0), (-(2**63), 3)]

    holds(kind, law)


def test_a_batch_is_stored_whole_or_not_at_all(kind):
    """The last entry of the second batch cannot be stored, so its first is not either; nor is anybody else hurt."""

    async def law(box):
        bad = Entry(entry(3).event, lane=2**63, owed=frozenset({"a"}))
        batches = [entry(1, "a")], [entry(2, "a"), bad], [entry(4, "a")]
        answers = await asyncio.gather(*map(box.append, batches), return_exceptions=True)
        assert isinstance(answers[1], ValueError)
        assert (answers[0], answers[2]) == ([Appended("event-1")], [Appended("event-4")])
        assert ids(await box.take("a", 10)) == ["1", "4"]

    holds(kind, law)


def test_appending_again_what_was_appended_stores_nothing(kind):
    async def law(box):
        batch = [entry(1, "a"), entry(2, "a", key="k")]
        await box.append(batch)
        again = await box.append([*batch, entry(3, "a"), entry(3, "a")])
        assert again == [
            Appended("event-1", duplicate=True),
            Appended("event-2", duplicate=True),
            Appended("event-3"),
            Appended("event-3", duplicate=True),
        ]
        assert ids(await box.take("a", 10)) == ["1", "2", "3"]

    holds(kind, law)


def test_the_same_key_with_the_same_content_is_a_repeat_with_the_first_id(kind):
    """Across calls, within one batch, and between calls that share a commit."""

    async def law(box):
        assert await box.append([entry(1, "a", key="k"), entry(2, "a", key="k")]) == [
            Appended("event-1"),
            Appended("event-1", duplicate=True),
        ]
        answers = await asyncio.gather(*(box.append([entry(n, "a", key="other")]) for n in range(3, 9)))
        assert [(one.id, one.duplicate) for (one,) in answers] == [("event-3", n > 3) for n in range(3, 9)]
        assert await box.append([entry(9, "a", key="k")]) == [Appended("event-1", duplicate=True)]
        assert ids(await box.take("a", 10)) == ["1", "3"]
        tally = box.ledger().sources["web"]
        assert (tally.accepted, tally.duplicate, tally.conflict, tally.received) == (2, 7, 0, 9)

    holds(kind, law)


def test_the_same_key_with_other_content_is_an_event_of_its_own(kind):
    async def law(box):
        await box.append([entry(1, "a", key="k")])
        other = entry(2, "a", key="k", name="other")
        assert await box.append([other]) == [Appended("event-2", conflict=True)]
        repeat = entry(3, "a", key="k", name="other")
        assert await box.append([repeat]) == [Appended("event-2", duplicate=True)]
        assert ids(await box.take("a", 10)) == ["1", "2"]
        assert box.ledger().sources["web"].conflict == 1

    holds(kind, law)


def test_a_key_means_nothing_at_another_source(kind):
    async def law(box):
        await box.append([entry(1, "a", key="k")])
        assert await box.append([entry(2, "a", key="k", source="app")]) == [Appended("event-2")]

    holds(kind, law)


def test_a_key_is_forgotten_after_its_window(kind):
    async def law(box):
        await box.append([entry(1, "a", key="k")])
        kind.clock.seconds = 2 * HOUR + 1
        assert await box.append([entry(2, "a", key="k")]) == [Appended("event-2")]
        assert await box.append([entry(3, "a", key="k")]) == [Appended("event-2", duplicate=True)]

    holds(kind, law)


def test_nothing_is_taken_beyond_the_backlog_and_everything_can_be_settled(kind):
    async def law(box):
        await box.append([entry(n, "a", "b") for n in range(5)])
        with pytest.raises(OutboxFull) as refused:
            await box.append([entry(9, "a")])
        assert refused.value.limit == "backlog"
        assert "backlog" in box.healthy()
        await box.settle(settled(await box.take("a", 10)))
        with pytest.raises(OutboxFull):  # b still waits for the same events
            await box.append([entry(9, "a")])
        await box.settle(settled(await box.take("b", 10)))
        assert box.ledger().backlog_bytes == 0
        assert box.healthy() is None
        await box.append([entry(9, "a")])

    holds(kind, law, max_backlog=300)


def test_those_who_share_a_commit_are_refused_one_by_one(kind):
    async def law(box):
        answers = await asyncio.gather(*(box.append([entry(n, "a")]) for n in range(50)), return_exceptions=True)
        stored = [answer for answer in answers if not isinstance(answer, OutboxFull)]
        assert 0 < len(stored) < 50
        assert len(await box.take("a", 50)) == len(stored)

    holds(kind, law, max_backlog=1000)


# --- the way out ------------------------------------------------------------------------------------------------


def test_what_was_taken_is_not_handed_out_twice(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(10)])
        both = await asyncio.gather(box.take("a", 4), box.take("a", 4))
        assert sorted(ids([*both[0], *both[1]])) == [str(n) for n in range(8)]
        assert ids(await box.take("a", 4)) == ["8", "9"]
        assert not box.has_news("a")
        assert await box.take("a", 4) == []

    holds(kind, law)


def test_one_backlog_never_moves_or_delays_another_destination(kind):
    async def law(box):
        await box.append([entry(n, *(("a", "b") if n % 3 else ("a",))) for n in range(12)])
        assert ids(await box.take("b", 3)) == ["1", "2", "4"]
        assert ids(await box.take("a", 5)) == ["0", "1", "2", "3", "4"]
        await box.append([entry(12, "b"), entry(13, "c")])
        assert ids(await box.take("b", 99)) == ["5", "7", "8", "10", "11", "12"]
        assert ids(await box.take("c", 99)) == ["13"]
        assert box.ledger().destinations["a"].waiting == 12

    holds(kind, law)


def test_a_destination_that_nobody_owes_anything_has_nothing(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        assert not box.has_news("b")
        assert await box.take("b", 9) == []
        assert await box.take_held("b", NOON, 9, undue=True) == []
        assert await box.next_due("b") is None

    holds(kind, law)


def test_followers_of_a_held_lane_wait_behind_it_in_order(kind):
    """Those in memory that are settled with it, those in the log, and those yet to come."""
    due = NOON + timedelta(seconds=30)

    async def law(box):
        await box.append([entry(n, "a", lane=n % 2) for n in range(6)])
        one, two, three, four = await box.take("a", 4)
        await box.settle(
            [
                Settlement(delivery=four, fate=Held(due=None)),
                Settlement(delivery=two, fate=Held(due=due, attempts=1)),
                *settled([one, three]),
            ]
        )
        assert ids(await box.take("a", 9)) == ["4"]
        await box.append([entry(7, "a", lane=1)])
        assert await box.take("a", 9) == []
        assert box.ledger().destinations["a"].held == 4
        assert await box.next_due("a") == due
        assert await box.take_held("a", due - timedelta(microseconds=1), 9) == []
        for expected in ("1", "3", "5", "7"):
            (first,) = await box.take_held("a", due, 9)
            assert ids([first]) == [expected]
            assert await box.take_held("a", due, 9) == []
            await box.settle(settled([first]))
        assert box.ledger().destinations["a"].waiting == 1  # the one of the other lane, in hand

    holds(kind, law)


def test_one_set_aside_holds_nobody_up(kind):
    async def law(box):
        await box.append([entry(n, "a", lane=5) for n in range(4)])
        first, second = await box.take("a", 2)
        later = NOON + timedelta(hours=1)
        await box.settle(
            [
                Settlement(delivery=first, fate=Held(due=later, attempts=1, aside=True)),
                Settlement(delivery=second, fate=Held(due=None)),
            ]
        )
        (led,) = await box.take_held("a", NOON, 9)
        assert ids([led]) == ["1"]
        await box.settle(settled([led]))
        assert ids(await box.take("a", 9)) == ["2", "3"]
        assert await box.next_due("a") == later
        (aside,) = await box.take_held("a", later, 9)
        assert (ids([aside]), aside.aside, aside.attempts) == (["0"], True, 1)

    holds(kind, law)


def test_what_is_held_comes_back_as_it_was_left(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        (fresh,) = await box.take("a", 1)
        assert (fresh.held, fresh.attempts, fresh.parks, fresh.since, fresh.step) == (False, 0, 0, None, None)
        fate = Held(due=NOON, attempts=4, parks=2, since=1.25, step="track", reason="status_500")
        await box.settle(settled([fresh], fate))
        (back,) = await box.take_held("a", NOON, 1)
        assert (back.held, back.attempts, back.parks, back.since, back.step) == (True, 4, 2, 1.25, "track")
        assert back.event == fresh.event

    holds(kind, law)


def test_held_ones_come_the_oldest_first_and_at_most_as_many_as_asked(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(4)])
        taken = await box.take("a", 9)
        dues = [NOON + timedelta(seconds=s) for s in (3, 1, 2, 60)]
        pairs = zip(taken, dues, strict=True)
        await box.settle([Settlement(delivery=one, fate=Held(due=due, attempts=1)) for one, due in pairs])
        now = NOON + timedelta(seconds=10)
        assert ids(await box.take_held("a", now, 2)) == ["0", "1"]
        assert ids(await box.take_held("a", now, 2)) == ["2"]
        assert await box.next_due("a") == dues[3]
        assert ids(await box.take_held("a", now, 2, undue=True)) == ["3"]
        assert await box.next_due("a") is None

    holds(kind, law)


def test_for_probes_those_held_take_turns(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(3)])
        taken = await box.take("a", 9)
        await box.settle([Settlement(delivery=one, fate=Held(due=NOON, attempts=1)) for one in taken])
        probed = []
        for tries in range(6):
            [one] = await box.take_held("a", NOON, 1, undue=True)
            probed += ids([one])
            due = NOON + timedelta(seconds=tries + 1)
            await box.settle([Settlement(delivery=one, fate=Held(due=due, attempts=one.attempts + 1))])
        assert probed == ["0", "1", "2", "0", "1", "2"]

    holds(kind, law)


def test_what_is_given_back_comes_again_without_a_count(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(4)])
        taken = await box.take("a", 3)
        await box.settle(settled(taken[:1], Held(due=NOON, attempts=1)))
        await box.give_back(taken[1:])
        assert box.has_news("a")
        again = await box.take("a", 9)
        assert [(one.event.id, one.attempts, one.held) for one in again] == [
            ("event-1", 0, False),
            ("event-2", 0, False),
            ("event-3", 0, False),
        ]
        (held,) = await box.take_held("a", NOON, 9)
        await box.give_back([held])
        (held,) = await box.take_held("a", NOON, 9)
        assert held.attempts == 1

    holds(kind, law)


def test_one_given_back_leads_its_lane_if_a_later_one_is_held(kind):
    async def law(box):
        await box.append([entry(n, "a", lane=5) for n in range(2)])
        first, second = await box.take("a", 2)
        await box.settle(settled([second], Held(due=NOON + timedelta(hours=1))))
        await box.give_back([first])
        assert await box.take("a", 9) == []
        for expected in ("0", "1"):
            (led,) = await box.take_held("a", NOON, 9)
            assert ids([led]) == [expected]
            await box.settle(settled([led]))

    holds(kind, law)


def test_a_caller_that_gave_up_waiting_keeps_nothing(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        taking = asyncio.ensure_future(box.take("a", 1))
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        for _ in range(2):
            await box.stand("a", Standing())  # what was asked before is done by now
        (again,) = await box.take("a", 1)
        assert again.attempts == 0

    holds(kind, law)


def test_an_event_that_comes_again_beside_others_is_recognised_and_they_are_stored(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        three = await asyncio.gather(*(box.append([entry(n, "a")]) for n in (2, 1, 3)))
        assert three == [[Appended("event-2")], [Appended("event-1", duplicate=True)], [Appended("event-3")]]
        assert ids(await box.take("a", 9)) == ["1", "2", "3"]
        assert box.ledger().sources["web"].duplicate == 1

    holds(kind, law)


# --- settling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [Done(), Dead("bad"), Held(due=NOON, attempts=1), Held(due=None)],
    ids=["done", "dead", "held", "follower"],
)
@pytest.mark.parametrize("second", [Done(), Dead("late"), Held(due=NOON)], ids=["done", "dead", "held"])
def test_a_stale_settle_changes_nothing(kind, first, second):
    """Whether it comes in a later call, in the same one, or after the delivery went into another hand."""
    tried = Attempt(at=NOON, duration=0.5, step="track", outcome="retry", reason="timeout")

    async def law(box):
        await box.append([entry(1, "a")])
        (taken,) = await box.take("a", 1)
        real = Settlement(delivery=taken, fate=first, attempts=(tried,))
        stale = Settlement(delivery=taken, fate=second, attempts=(tried, tried))
        await box.settle([real, stale])
        ledger, found = box.ledger(), kind.find("event-1")
        await box.settle([stale])
        await box.settle([real])
        await box.give_back([taken])
        assert (box.ledger(), kind.find("event-1")) == (ledger, found)
        again = await box.take_held("a", NOON, 9)
        assert len(again) == isinstance(first, Held)
        await box.settle([stale])
        assert box.ledger() == ledger
        await box.settle(settled(again))
        assert box.ledger().destinations["a"].waiting == 0

    holds(kind, law)


def test_a_held_delivery_is_settled_once_for_each_time_that_it_is_handed_out(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        await box.settle(settled(await box.take("a", 1), Held(due=NOON, attempts=1)))
        held = await box.take_held("a", NOON, 1)
        await box.settle(settled(held, Held(due=NOON, attempts=2)))
        await box.settle(settled(held))
        assert box.ledger().destinations["a"].waiting == 1

    holds(kind, law)


def test_what_was_handed_out_before_a_crash_is_not_settled_after_it(kind):
    """It is in another hand by then."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "a")])
        before = await box.take("a", 1)
        kind.crash()
        await box.close()
        box = await kind.open()
        again = await box.take("a", 1)
        await box.settle(settled(before))
        assert box.ledger().destinations["a"].waiting == 1
        await box.settle(settled(again))
        assert box.ledger().destinations["a"].waiting == 0
        await box.close()

    asyncio.run(run())


def test_find_tells_what_became_of_an_event_at_each_destination(kind):
    failed = Attempt(at=NOON, duration=0.5, step="identify", outcome="retry", reason="timeout")
    refused = Attempt(at=NOON, duration=0.25, step="track", outcome="refuse", status=400, reply="no")

    async def law(box):
        one = Entry(entry(1).event, lane=1, owed=frozenset("abcd"), filtered=frozenset("f"))
        await box.append([one])
        for name, fate, attempts in (
            ("a", Done(), ()),
            ("b", Dead("status_400", "it said no"), (failed, refused)),
            ("c", Held(due=NOON, attempts=1), (failed,)),
        ):
            (taken,) = await box.take(name, 1)
            await box.settle([Settlement(delivery=taken, fate=fate, attempts=attempts)])
        (again,) = await box.take_held("c", NOON, 1)
        await box.settle([Settlement(delivery=again, fate=Held(due=NOON, attempts=2), attempts=(failed,))])
        found = kind.find("event-1")
        assert found.event == one.event
        assert (found.owed, found.filtered) == (one.owed, one.filtered)
        assert found.fates == {"a": "delivered", "b": "dead", "c": "held", "d": "due"}
        assert found.attempts == {"b": (failed, refused), "c": (failed, failed)}
        assert found.reasons == {"b": "status_400"}
        assert kind.find("event-2") is None
        tallies = box.ledger().destinations
        assert [tallies[name].retried for name in "abcd"] == [0, 1, 2, 0]

    holds(kind, law)


# --- what operators do ------------------------------------------------------------------------------------------


def balanced(box: Outbox) -> bool:
    """Whether each destination's ledger adds up; what waits has bytes, and nothing else has."""
    return all(
        min(tally.owed, tally.waiting, tally.dead, tally.dropped) >= 0
        and (tally.backlog_bytes > 0) == (tally.waiting > 0)
        for tally in box.ledger().destinations.values()
    )


def fates(kind: Sqlite, *numbers: int) -> list[dict[str, str]]:
    """What became of these events."""
    found = [kind.find(f"event-{number}") for number in numbers]
    return [dict(one.fates) for one in found if one is not None]


async def all_dead(box: Outbox, name: str = "a", reason: str = "bad") -> None:
    """Let everything that a destination is owed die."""
    await box.settle(settled(await box.take(name, 99), Dead(reason)))


def test_a_dead_one_that_is_retried_goes_as_if_never_tried_and_before_what_is_held_behind_it(kind):
    async def law(box):
        await box.append([entry(n, "a", lane=5) for n in range(3)])
        first, second, _ = await box.take("a", 3)
        later = NOON + timedelta(hours=1)
        await box.settle([Settlement(delivery=first, fate=Dead("expired"), attempts=())])
        await box.settle(settled([second], Held(due=later, attempts=7, parks=2, since=1.5, step="track")))
        assert await box.next_due("a") == later
        assert await box.retry_dead(Selection(destination="a"), 99) == 1
        assert await box.retry_dead(Selection(destination="a"), 99) == 0
        assert balanced(box)
        assert await box.next_due("a") == NOON
        (again,) = await box.take_held("a", later, 9)
        assert ids([again]) == ["0"]
        assert (again.attempts, again.parks, again.since, again.step, again.aside) == (0, 0, None, None, False)
        await box.settle(settled([again]))
        assert ids(await box.take_held("a", later, 9)) == ["1"]
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.delivered, tally.dead, tally.waiting) == (3, 1, 0, 2)

    holds(kind, law)


SELECTIONS = {
    "everything": (Selection(), "012345"),
    "a destination": (Selection(destination="b"), "5"),
    "a reason": (Selection(reason="worse"), "235"),
    "a name": (Selection(name="sign_up"), "014"),
    "some names": (Selection(name="sign_*"), "0134"),
    "no name in another case": (Selection(name="Sign_*"), ""),
    "an event": (Selection(event_id="event-3"), "3"),
    "since a moment": (Selection(since=NOON + timedelta(seconds=10)), "2345"),
    "until a moment": (Selection(until=NOON + timedelta(seconds=10)), "01"),
    "all of it": (
        Selection(destination="a", reason="worse", name="*_*", since=NOON, until=NOON + timedelta(seconds=11)),
        "23",
    ),
    "a destination that nobody knows": (Selection(destination="z"), ""),
}


async def various_dead(kind: Sqlite, box: Any) -> None:
    """Dead ones for ``SELECTIONS`` to choose from."""
    names = ["sign_up", "sign_up", "log_in", "sign_out", "sign_up", "log_in"]
    await box.append([entry(n, "b" if n == 5 else "a", name=name) for n, name in enumerate(names)])
    await box.settle(settled(await box.take("a", 2), Dead("bad", "the first")))
    kind.clock.seconds += 10
    await box.settle(settled(await box.take("a", 2), Dead("worse")))
    kind.clock.seconds += 10
    await box.settle(settled(await box.take("a", 1), Dead("bad", "the last")))
    await box.settle(settled(await box.take("b", 1), Dead("worse")))


@pytest.mark.parametrize("what", ["retry_dead", "drop_dead"])
@pytest.mark.parametrize(("selection", "chosen"), SELECTIONS.values(), ids=SELECTIONS)
def test_a_selection_takes_the_dead_that_it_describes_and_no_others(kind, what, selection, chosen):
    async def law(box):
        await various_dead(kind, box)
        assert await getattr(box, what)(selection, 99) == len(chosen)
        for number in range(6):
            (fate,) = kind.find(f"event-{number}").fates.values()
            assert fate == ("dead" if str(number) not in chosen else {"retry_dead": "held"}.get(what, "dropped"))
        assert await getattr(box, what)(selection, 99) == 0
        assert balanced(box)

    holds(kind, law)


def test_no_more_are_done_at_once_than_was_asked_and_the_oldest_go_first(kind):
    async def law(box):
        await box.append([entry(n, "a") for n in range(5)])
        await all_dead(box)
        assert await box.retry_dead(Selection(), 2) == 2
        assert ids(await box.take_held("a", NOON, 9)) == ["0", "1"]
        assert await box.drop_dead(Selection(), 2) == 2
        assert fates(kind, 2, 3, 4) == [{"a": "dropped"}, {"a": "dropped"}, {"a": "dead"}]
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.waiting, tally.dead, tally.dropped) == (5, 2, 1, 2)

    holds(kind, law)


def test_what_was_dropped_is_not_among_the_dead_any_more(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        await all_dead(box)
        assert await box.drop_dead(Selection(), 9) == 1
        assert await box.retry_dead(Selection(), 9) == 0
        assert await box.drop_dead(Selection(), 9) == 0
        assert await box.move("a", "b", 9) == 0
        assert kind.find("event-1").reasons == {"a": "bad"}

    holds(kind, law)


def test_those_whose_dead_are_retried_are_woken_after_the_commit(kind):
    async def law(box):
        woken: list[frozenset[str]] = []
        box.on_retry(woken.append)
        await box.append([entry(1, "a", "b"), entry(2, "c")])
        await all_dead(box, "a")
        await all_dead(box, "b")
        assert await box.retry_dead(Selection(destination="c"), 9) == 0
        assert woken == []
        await box.retry_dead(Selection(), 9)
        assert woken == [frozenset({"a", "b"})]

    holds(kind, law)


def test_what_is_moved_goes_to_the_other_destination_in_order_and_before_what_came_later(kind):
    """Whether it was held, aside, given back or never handed out; to a destination that nobody knew."""

    async def law(box):
        await box.append([entry(n, "a", lane=n % 2) for n in range(6)])
        zero, one, two, _ = await box.take("a", 4)
        await box.settle(
            [
                Settlement(delivery=zero, fate=Held(due=NOON + timedelta(hours=1), attempts=3)),
                Settlement(delivery=one, fate=Held(due=NOON + timedelta(hours=1), attempts=3, aside=True)),
            ]
        )
        await box.give_back([two])
        woken: list[frozenset[str]] = []
        box.on_append(woken.append)
        assert [await box.move("a", "b", 2) for _ in range(4)] == [2, 2, 1, 0]  # one is in somebody's hand
        assert woken == [frozenset({"b"})] * 3
        assert not box.has_news("a")
        assert balanced(box)
        await box.append([entry(9, "b", lane=0)])
        assert [(one.event.id, one.attempts, one.held) for one in await box.take("b", 9)] == [
            (f"event-{n}", 0, False) for n in (0, 1, 2, 4, 5, 9)
        ]
        a, b = (box.ledger().destinations[name] for name in "ab")
        assert (a.owed, a.waiting, a.held, b.owed, b.waiting) == (1, 1, 0, 6, 6)
        assert fates(kind, 0, 3) == [{"b": "due"}, {"a": "due"}]

    holds(kind, law)


def test_what_is_moved_to_a_destination_with_a_backlog_comes_in_its_turn_and_once(kind):
    async def law(box):
        await box.append([entry(n, "b" if n % 2 else "a") for n in range(6)])
        assert ids(await box.take("b", 1)) == ["1"]
        assert await box.move("a", "b", 99) == 3
        assert balanced(box)
        assert ids(await box.take("b", 2)) == ["0", "2"]
        assert ids(await box.take("b", 9)) == ["3", "4", "5"]
        assert not box.has_news("a")
        assert not box.has_news("b")

    holds(kind, law)


def test_the_dead_are_moved_with_their_reasons_and_are_not_sent(kind):
    """Also to a destination that has yet to come to them in the log."""

    async def law(box):
        await box.append([entry(1, "b"), entry(2, "a"), entry(3, "b"), entry(4, "a")])
        await all_dead(box)
        assert await box.move("a", "b", 99) == 2
        assert balanced(box)
        found = kind.find("event-2")
        assert (found.fates, found.reasons) == ({"b": "dead"}, {"b": "bad"})
        kind.crash()
        await box.close()
        again = await kind.open()
        assert ids(await again.take("b", 9)) == ["1", "3"]
        assert not again.has_news("b")
        assert await again.retry_dead(Selection(destination="b"), 9) == 2
        assert ids(await again.take_held("b", NOON, 9)) == ["2", "4"]
        assert box.ledger().destinations["a"].owed == 0
        await again.close()

    holds(kind, law)


def test_what_is_owed_to_both_already_is_dropped_where_it_leaves(kind):
    async def law(box):
        await box.append([entry(n, "a", "b") for n in range(4)])
        zero, one, *_ = await box.take("a", 2)
        await box.settle([*settled([zero], Dead("bad")), *settled([one], Held(due=NOON))])
        await box.settle(settled(await box.take("b", 1)))
        assert await box.move("a", "b", 99) == 4
        assert fates(kind, 0, 1, 2) == [
            {"a": "dropped", "b": "delivered"},
            {"a": "dropped", "b": "due"},
            {"a": "dropped", "b": "due"},
        ]
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.waiting, tally.dead, tally.dropped, tally.held) == (4, 0, 0, 4, 0)
        assert kind.find("event-1").reasons == {"a": "dropped"}
        assert ids(await box.take("b", 9)) == ["1", "2", "3"]

    holds(kind, law)


def test_moving_there_and_back_loses_nothing(kind):
    """What was dropped at one because the other had it is owed to it again when that one's are moved."""

    async def law(box):
        await box.append([entry(1, "a", "b"), entry(2, "b"), entry(3, "a")])
        assert await box.move("a", "b", 99) == 2
        assert await box.move("b", "a", 99) == 3
        assert balanced(box)
        assert ids(await box.take("a", 9)) == ["1", "2", "3"]
        assert await box.take("b", 9) == []
        a, b = (box.ledger().destinations[name] for name in "ab")
        assert (a.owed, a.waiting, a.dropped, b.owed, b.dropped) == (3, 3, 0, 0, 0)

    holds(kind, law)


def test_a_destination_is_not_moved_to_itself_nor_from_nowhere(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        assert await box.move("a", "a", 9) == 0
        assert await box.move("z", "a", 9) == 0
        assert await box.drop_waiting("z", 9) == 0
        assert ids(await box.take("a", 9)) == ["1"]

    holds(kind, law)


def test_what_waits_is_given_up_but_not_what_is_in_somebodys_hand(kind):
    async def law(box):
        await box.append([entry(n, "a", "b", lane=5) for n in range(6)])
        zero, one, two, _ = await box.take("a", 4)
        await box.settle([*settled([zero], Held(due=NOON, attempts=1)), *settled([one], Held(due=None))])
        await box.give_back([two])
        assert await box.drop_waiting("a", 1) == 1
        assert await box.next_due("a") == NOON  # the next of the lane leads it
        assert [await box.drop_waiting("a", 3) for _ in range(3)] == [3, 1, 0]
        assert balanced(box)
        assert fates(kind, 0, 2, 3, 5) == [
            {"a": "dropped", "b": "due"},
            {"a": "dropped", "b": "due"},
            {"a": "due", "b": "due"},
            {"a": "dropped", "b": "due"},
        ]
        assert not box.has_news("a")
        tally = box.ledger().destinations["a"]
        assert (tally.owed, tally.waiting, tally.held, tally.dropped) == (6, 1, 0, 5)
        assert len(await box.take("b", 9)) == 6

    holds(kind, law)


def test_find_tells_when_what_is_held_is_tried_again_and_why(kind):
    due = NOON + timedelta(seconds=30)

    async def law(box):
        await box.append([entry(n, "a", lane=1) for n in range(2)])
        first, second = await box.take("a", 2)
        await box.settle(
            [
                Settlement(delivery=first, fate=Held(due=due, attempts=1, reason="status_500")),
                Settlement(delivery=second, fate=Held(due=None)),
            ]
        )
        leader, follower = kind.find("event-0"), kind.find("event-1")
        assert (leader.fates, leader.next_due, leader.reasons) == ({"a": "held"}, {"a": due}, {"a": "status_500"})
        assert (follower.fates, follower.next_due, follower.reasons) == ({"a": "held"}, {}, {})

    holds(kind, law)


# --- the ledger -------------------------------------------------------------------------------------------------


def test_the_ledger_counts_everything_once(kind):
    async def law(box):
        kept_from = Entry(entry(1).event, lane=1, owed=frozenset({"a"}), filtered=frozenset({"b"}))
        await box.append([kept_from, entry(2), entry(3, "a", source="app"), entry(4, "a", "b")])
        box.count_rejected("web", "invalid")
        box.count_rejected("web", "invalid", 2)
        box.count_rejected("new", "too_large")
        await box.settle(settled(await box.take("a", 1)))
        ledger = box.ledger()
        web = ledger.sources["web"]
        assert (web.accepted, web.unrouted, dict(web.rejected), web.received) == (3, 1, {"invalid": 3}, 6)
        assert ledger.sources["new"].received == 1
        assert ledger.sources["app"].accepted == 1
        a, b = ledger.destinations["a"], ledger.destinations["b"]
        assert (a.owed, a.delivered, a.waiting, a.filtered) == (3, 1, 2, 0)
        assert (b.owed, b.delivered, b.waiting, b.filtered) == (1, 0, 1, 1)

    holds(kind, law)


def test_the_ledger_tells_how_long_the_oldest_waits(kind):
    async def law(box):
        moments = [NOON + timedelta(seconds=n) for n in range(3)]
        await box.append([entry(n, "a", received_at=at) for n, at in enumerate(moments)])
        taken = await box.take("a", 3)
        assert box.ledger().destinations["a"].oldest == moments[0]
        await box.settle(settled(taken[:2]))
        kind.clock.seconds += 2
        await box.stand("a", Standing())
        assert box.ledger().destinations["a"].oldest == moments[2]
        await box.settle(settled(taken[2:]))
        assert box.ledger().destinations["a"].oldest is None

    holds(kind, law)


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_counts_standings_and_places_survive_a_restart(kind, kill):
    standing = Standing(
        state="parked", reason="status_401", since=NOON, up_seconds=12.5, paused_at=NOON, paused_until=NOON
    )

    async def run():
        box = await kind.open()
        await box.append([entry(n, "a", "b", key=f"k{n}") for n in range(4)])
        await box.append([entry(9, "a", key="k1")])
        taken = await box.take("a", 3)
        await box.settle([*settled(taken[:1]), *settled(taken[1:2], Held(due=NOON, attempts=1))])
        await box.give_back(taken[2:])
        box.count_rejected("web", "invalid")
        await box.stand("a", standing)
        if kill:
            while not written(kind):
                await asyncio.sleep(0.05)
            kind.crash()
        before = box.ledger()
        await box.close()
        box = await kind.open()
        assert box.ledger() == before
        assert box.ledger().destinations["a"].standing == standing
        assert await box.append([entry(8, "a", key="k1")]) == [Appended("event-1", duplicate=True)]
        assert [(one.event.id, one.attempts) for one in await box.take("a", 9)] == [("event-2", 0), ("event-3", 0)]
        assert [(one.event.id, one.attempts) for one in await box.take_held("a", NOON, 9)] == [("event-1", 1)]
        assert ids(await box.take("b", 9)) == ["0", "1", "2", "3"]
        await box.close()

    asyncio.run(run())


def written(kind: Sqlite) -> bool:
    """Whether the call turned away has been written down, which may take a second."""
    with SqliteReader(kind.directory) as reader:
        return "invalid" in reader.ledger().sources["web"].rejected


def test_an_attempt_in_mid_air_at_a_crash_is_counted(kind):
    """So that a crash loop ends, whether the delivery came from the log or was held."""

    async def run():
        box = await kind.open()
        await box.append([entry(1, "a"), entry(2, "a")])
        taken = await box.take("a", 2)
        await box.settle(settled(taken[1:], Held(due=NOON, attempts=1)))
        await box.take_held("a", NOON, 1)
        for crashes in range(1, 4):
            kind.crash()
            await box.close()
            box = await kind.open()
            assert [(one.event.id, one.attempts) for one in await box.take("a", 9)] == [("event-1", crashes)]
            assert [one.attempts for one in await box.take_held("a", NOON, 9)] == [1 + crashes]
        await box.close()

    asyncio.run(run())


def test_after_close_nothing_is_promised(kind):
    async def run():
        box = await kind.open()
        await box.close()
        await box.close()
        with pytest.raises(OutboxUnavailable):
            await box.append([entry(1, "a")])

    asyncio.run(run())


def test_those_owed_are_woken_after_the_commit(kind):
    async def law(box):
        woken: list[frozenset[str]] = []

        def wake(names: frozenset[str]) -> None:
            assert all(box.has_news(name) for name in names)
            woken.append(names)

        box.on_append(wake)
        await box.append([entry(1, "a", "b", key="k"), entry(2)])
        await box.append([entry(3, "a", key="k"), entry(4)])
        assert woken == [frozenset({"a", "b"})]

    holds(kind, law)


def test_large_events_are_handed_out_a_few_at_a_time(kind):
    async def law(box):
        large = "x" * 3_000_000
        await box.append([entry(n, "a", properties={"text": large}) for n in range(3)])
        assert ids(await box.take("a", 9)) == ["0", "1"]
        assert ids(await box.take("a", 9)) == ["2"]

    holds(kind, law)


def test_ledger_is_plain_data(kind):
    async def law(box):
        await box.append([entry(1, "a")])
        assert msgspec.json.encode(box.ledger())

    holds(kind, law)
