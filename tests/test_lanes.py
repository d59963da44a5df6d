"""One call in flight per lane, the oldest first."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.made import NOON, delivery, event
from trackgate.lanes import Lanes
from trackgate.outbox import Delivery

LATER = NOON + timedelta(hours=1)


def lanes_of(*deliveries):
    lanes = Lanes()
    lanes.add(deliveries)
    return lanes


def test_a_lane_hands_out_one_delivery_at_a_time():
    first, second = delivery(1, lane=7), delivery(2, lane=7)
    lanes = lanes_of(first, second)
    assert lanes.start() is first
    assert lanes.start() is None
    lanes.release(first)
    assert lanes.start() is second


def test_the_oldest_free_lane_goes_first():
    lanes = lanes_of(delivery(1, lane=1), delivery(2, lane=1), delivery(3, lane=2), delivery(4, lane=3))
    first = lanes.start()
    assert lanes.start().seq == 3
    lanes.release(first)
    assert lanes.start().seq == 2


def test_followers_leave_memory_and_the_lane_stays_busy():
    first, second, third = delivery(1, lane=1), delivery(2, lane=1), delivery(3, lane=1)
    lanes = lanes_of(first, second, third)
    lanes.start()
    assert lanes.followers(first) == [second, third]
    assert len(lanes) == 0
    lanes.add([delivery(4, lane=1)])
    assert lanes.start() is None
    lanes.release(first)
    assert lanes.start().seq == 4


def test_what_was_held_already_is_no_follower():
    first, again = delivery(1, lane=1), delivery(1, lane=1, held=True)
    lanes = lanes_of(first)
    lanes.start()
    lanes.add([again])
    assert lanes.followers(first) == []
    lanes.release(first)
    assert lanes.start() is again


def test_the_bytes_that_wait_are_counted():
    lanes = lanes_of(delivery(1, lane=1, size=5), delivery(2, lane=1, size=7), delivery(3, lane=2, size=11))
    first = lanes.start()
    assert lanes.size == 18
    lanes.followers(first)
    assert lanes.size == 11
    lanes.drain()
    assert lanes.size == 0


def test_a_delivery_set_aside_holds_nobody_up():
    aside, follower = delivery(1, lane=1, aside=True), delivery(2, lane=1)
    lanes = lanes_of(aside, follower)
    assert [lanes.start(), lanes.start()] == [aside, follower]


def test_drain_takes_out_what_waits_and_leaves_what_flies():
    lanes = lanes_of(delivery(1, lane=1), delivery(2, lane=1), delivery(3, lane=2))
    flying = lanes.start()
    assert {each.seq for each in lanes.drain()} == {2, 3}
    assert len(lanes) == 0
    assert lanes.busy == 1
    lanes.release(flying)
    assert lanes.start() is None


def test_every_fifth_start_is_a_live_ones_while_both_wait():
    old = [delivery(seq, lane=seq) for seq in range(20)]
    live = [delivery(100 + seq, lane=100 + seq, live=True) for seq in range(3)]
    lanes = lanes_of(*old, *live)
    assert lanes.live == 3
    started = [lanes.start().seq for _ in range(23)]
    assert [place for place, seq in enumerate(started) if seq >= 100] == [4, 9, 14]
    assert [seq for seq in started if seq < 100] == list(range(20))
    assert [seq for seq in started if seq >= 100] == [100, 101, 102]
    assert (lanes.live, len(lanes)) == (0, 0)


def test_what_either_leaves_unused_is_the_others():
    lanes = lanes_of(*(delivery(seq, lane=seq, live=True) for seq in range(3)))
    assert [lanes.start().seq for _ in range(3)] == [0, 1, 2]
    lanes = lanes_of(*(delivery(seq, lane=seq) for seq in range(9)))
    assert [lanes.start().seq for _ in range(9)] == list(range(9))


def test_a_live_one_waits_for_its_own_user():
    first, second = delivery(1, lane=1), delivery(9, lane=1, live=True)
    lanes = lanes_of(first, second)
    assert lanes.start() is first
    assert lanes.start() is None
    lanes.release(first)
    assert lanes.start() is second


@given(st.lists(st.integers(0, 3), max_size=40), st.randoms())
def test_every_delivery_goes_once_and_each_lane_in_order(users, rng):
    """Whatever the order in which calls end."""
    lanes = lanes_of(*(delivery(seq, lane=user, live=seq % 3 == 2) for seq, user in enumerate(users)))
    flying: list[Delivery] = []
    order: list[Delivery] = []
    while len(lanes) or flying:
        while (started := lanes.start()) is not None:
            flying.append(started)
        assert len({each.lane for each in flying}) == len(flying) == lanes.busy
        ended = flying.pop(rng.randrange(len(flying)))
        order.append(ended)
        lanes.release(ended)
    assert sorted(each.seq for each in order) == list(range(len(users)))
    for user in set(users):
        seqs = [each.seq for each in order if each.lane == user]
        assert seqs == sorted(seqs)


def test_a_fresh_one_is_the_oldest_that_was_never_held():
    lanes = Lanes()
    lanes.add(
        [delivery(1, lane=1, held=True), delivery(2, lane=2), delivery(3, lane=3), delivery(4, lane=4, held=True)]
    )
    started = [lanes.start(fresh=fresh) for fresh in (True, False, True, True, True)]
    assert [one and one.seq for one in started] == [2, 1, 3, 4, None]


def test_what_was_received_a_moment_ago_has_the_turns_of_the_live_for_as_long_as_that_is_true():
    old = [delivery(seq, lane=seq) for seq in range(8)]
    recent = [replace(delivery(seq, lane=seq), event=event(seq, received_at=LATER)) for seq in (8, 9)]
    lanes = Lanes()
    lanes.live_since = LATER
    lanes.add([*old, *recent])
    assert [one and one.seq for one in (lanes.start() for _ in range(5))] == [0, 1, 2, 3, 8]
    lanes.live_since = LATER + timedelta(seconds=1)
    assert [one and one.seq for one in (lanes.start() for _ in range(5))] == [4, 5, 6, 7, 9]
