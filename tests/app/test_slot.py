"""When a worker's place is taken again."""

from __future__ import annotations

import pytest

from trackgate.app.slot import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Slot


def pauses(lives):
    """What each of these lives (seconds) is followed by."""
    slot = Slot(0)
    now = 1000.0
    seen = []
    for life in lives:
        slot.since = now
        now += life
        slot.fall_vacant(now)
        seen.append(slot.again_at - now)
        now = slot.again_at
    return seen


def test_a_worker_that_lived_is_replaced_at_once():
    assert pauses([STEADY, 3 * STEADY, STEADY]) == [0, 0, 0]


def test_one_that_ends_at_once_again_and_again_leaves_longer_and_longer_pauses():
    seen = pauses([0.0] * 10)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == pytest.approx((FIRST_PAUSE, LONGEST_PAUSE))


def test_after_one_that_lived_the_pauses_begin_anew():
    assert pauses([0.0, 0.0, STEADY, 0.0])[2:] == pytest.approx([0, FIRST_PAUSE])
