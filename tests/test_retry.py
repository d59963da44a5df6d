"""The decisions about failures, as a table over values."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.made import NOON, delivery
from trackgate.model import Delivered, Park, Refuse, Retry
from trackgate.outbox import Dead, Done, Held, Standing
from trackgate.retry import (
    DOWN_AFTER,
    REFUSALS_ELSE,
    Health,
    Moment,
    RetryPolicy,
    Verdict,
    aged,
    at_start,
    delay,
    hurried,
    judge,
)
from trackgate.units import Duration

POLICY = RetryPolicy()


def health(**known):
    return Health(**{"standing": Standing(), "limit": 8, "slots": 8, "as_of": 0.0, **known})


def moment(seconds=0.0, dice=1.0):
    return Moment(NOON, seconds, dice)


def after(outcomes, state=None, at=1.0, **known):
    """The last verdict of a run of outcomes of different events, one a second."""
    verdict = Verdict(Done(), state or health())
    for index, outcome in enumerate(outcomes):
        verdict = judge(outcome, delivery(index, **known), verdict.health, POLICY, moment(at + index))
    return verdict


def test_a_delivery_is_done_and_forgives_what_was():
    verdict = after([Retry("status_500"), Retry("status_500"), Delivered()])
    assert verdict.fate == Done()
    assert (verdict.health.failures, verdict.health.refusals, verdict.health.up) == (0, 0, True)


def test_waits_double_up_to_the_cap_and_are_half_jitter():
    assert [delay(n, POLICY, 1.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert [delay(n, POLICY, 0.0) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert delay(10_000, POLICY, 1.0) == POLICY.max_delay


def test_a_retry_is_held_with_its_attempt_counted():
    fate = after([Retry("timeout")]).fate
    assert isinstance(fate, Held)
    assert (fate.attempts, fate.reason, fate.aside) == (1, "timeout", False)
    assert fate.due == NOON + timedelta(seconds=2)


def test_retry_after_is_a_floor_because_it_pauses_the_whole_destination():
    """The event itself is due as after any failure: once the pause is ended, by time or by an operator, it goes."""
    verdict = after([Retry("status_429", after=90.0)])
    assert verdict.health.paused_until == 91.0
    assert verdict.fate.due == NOON + timedelta(seconds=2)


@pytest.mark.parametrize("outcome", [Delivered(), Retry("timeout"), Park("status_401"), Refuse("status_400")])
@pytest.mark.parametrize(("at", "remembered"), [(90.9, True), (91.0, False)])
def test_a_pause_that_is_over_is_forgotten_with_the_next_outcome(outcome, at, remembered):
    paused = after([Retry("status_429", after=90.0)]).health
    standing = judge(outcome, delivery(2), paused, POLICY, moment(at)).health.standing
    assert (standing.paused_at is not None, standing.paused_until is not None) == (remembered, remembered)


@pytest.mark.parametrize("state", ["up", "down", "parked"])
def test_what_an_operator_hurries_waits_for_nothing_and_stands_as_it_stood(state):
    paused = after([Retry("status_429", after=90.0)], health(standing=Standing(state=state))).health
    hurrying = hurried(paused, moment(5))
    assert (hurrying.paused_until, hurrying.probe_at) == (0.0, 5)
    assert hurrying.standing == replace(paused.standing, paused_at=None, paused_until=None)


YEAR = 366 * 86_400


@pytest.mark.parametrize(
    ("began", "end", "left"),
    [(None, None, 0), (-65, -5, 0), (-30, 30, 30), (0, 86_400, 86_400), (3_600, 3_660, 60), (YEAR, YEAR + 60, 60)],
    ids=["none", "over", "half over", "begun just now", "clock set back an hour", "clock set back a year"],
)
@pytest.mark.parametrize("state", ["up", "down", "parked"])
def test_a_pause_goes_on_after_a_start_and_never_for_longer_than_was_asked_for(state, began, end, left):
    at, ends = (None if seconds is None else NOON + timedelta(seconds=100 + seconds) for seconds in (began, end))
    started = at_start(Standing(state=state, paused_at=at, paused_until=ends), 8, moment(100))
    assert max(started.paused_until - 100, 0) == left
    assert max(started.probe_at - 100, 0) == left
    assert started.slots == (8 if state == "up" else 1)


def test_a_pause_stands_in_what_is_remembered_and_moves_by_whole_seconds():
    once = after([Retry("status_429", after=90.0)]).health
    assert once.standing.paused_until == NOON + timedelta(seconds=92)
    again = judge(Retry("status_429", after=90.5), delivery(2), once, POLICY, moment(1.2)).health
    assert (again.standing, again.paused_until) == (replace(once.standing, up_seconds=again.standing.up_seconds), 91.7)
    down = after([Retry("status_503")] * DOWN_AFTER, once).health
    assert (down.standing.state, down.standing.paused_until) == ("down", once.standing.paused_until)


@pytest.mark.parametrize("reason", ["status_429", "timeout"])
def test_congestion_halves_the_calls_in_flight(reason):
    assert after([Retry(reason)]).health.slots == 4


def test_a_run_of_retries_takes_the_destination_down_until_one_gets_through():
    verdict = after([Retry("status_500")] * DOWN_AFTER)
    assert verdict.health.standing.state == "down"
    assert verdict.health.slots == 1
    assert after([Delivered()], verdict.health, at=99.0).health.standing.state == "up"


def test_what_keeps_failing_while_others_pass_takes_no_destination_down():
    """A few poisonous events, between whose retries the others pass, are no outage."""
    passing = health(standing=Standing(up_seconds=100.0), passed_at=90.0)
    assert _after_a_run(passing, since=50.0) == "up"
    assert _after_a_run(passing, since=95.0) == "down", "nothing passed since it failed first"
    assert _after_a_run(passing, since=None) == "down", "it never failed before"
    assert _after_a_run(replace(passing, passed_at=60.0), since=50.0) == "down", "nothing passed for long"


def _after_a_run(state, since):
    return after([Retry("status_500")] * DOWN_AFTER, state, at=0.0, since=since).health.standing.state


def test_what_was_in_flight_when_it_went_down_moves_no_probe():
    down = after([Retry("status_500")] * DOWN_AFTER).health
    late = judge(Retry("status_500"), delivery(99), down, POLICY, moment(down.probe_at - 0.5)).health
    assert late.probe_at == down.probe_at
    assert late.probes == down.probes


def test_probes_of_a_destination_that_is_down_back_off_to_the_interval():
    state = after([Retry("status_500")] * DOWN_AFTER).health
    gaps = []
    for _ in range(9):
        now = state.probe_at
        state = judge(Retry("status_500"), delivery(1), state, POLICY, moment(now)).health
        gaps.append(state.probe_at - now)
    assert gaps == [2, 4, 8, 16, 30, 30, 30, 30, 30]


@pytest.mark.parametrize("reason", ["status_401", "status_402", "status_403", "status_302"])
def test_a_park_parks_the_destination_and_holds_the_event(reason):
    verdict = after([Park(reason)])
    assert isinstance(verdict.fate, Held)
    assert (verdict.health.standing.state, verdict.health.standing.reason) == ("parked", reason)
    assert verdict.health.probe_at == 1.0 + POLICY.probe


def test_one_refusal_is_dead_with_its_reason():
    verdict = after([Refuse("status_400")])
    assert verdict.fate == Dead("status_400")
    assert verdict.health.up


@pytest.mark.parametrize(("reason", "run"), [("status_404", 5), ("status_410", 5), ("status_400", REFUSALS_ELSE)])
def test_a_run_of_refusals_parks_instead_of_killing(reason, run):
    before = after([Refuse(reason)] * (run - 1))
    assert isinstance(before.fate, Dead)
    last = after([Refuse(reason)], before.health)
    assert isinstance(last.fate, Held)
    assert last.health.standing.reason == f"refusals_{reason}"
    more = after([Refuse(reason)], last.health)
    assert isinstance(more.fate, Held)


def test_a_success_between_ends_a_run_of_refusals():
    verdict = after([*[Refuse("status_404")] * 4, Delivered(), *[Refuse("status_404")] * 4])
    assert isinstance(verdict.fate, Dead)
    assert verdict.health.up


def test_the_event_that_keeps_being_turned_away_while_others_pass_is_dead():
    verdict = judge(Park("status_403"), delivery(1, parks=2), health(), POLICY, moment(1))
    assert isinstance(verdict.fate, Dead)
    assert verdict.fate.reason == "status_403"
    assert verdict.health.up


def test_nobody_is_singled_out_while_nothing_passes():
    parked = after([Park("status_403")]).health
    verdict = judge(Park("status_403"), delivery(1, parks=9), parked, POLICY, moment(99))
    assert isinstance(verdict.fate, Held)


def test_an_event_expires_by_the_time_that_its_destination_was_up():
    old = health(standing=Standing(up_seconds=POLICY.max_age + 10.0))
    verdict = judge(Retry("status_500"), delivery(1, since=5.0), old, POLICY, moment())
    assert isinstance(verdict.fate, Dead)
    assert verdict.fate.reason == "expired"


@pytest.mark.parametrize("state", ["down", "parked"])
def test_nothing_expires_at_a_destination_that_is_stopped(state):
    old = health(standing=Standing(state=state, up_seconds=POLICY.max_age + 10.0))
    verdict = judge(Retry("status_500"), delivery(1, since=5.0), old, POLICY, moment())
    assert isinstance(verdict.fate, Held)


@pytest.mark.parametrize("state", ["down", "parked"])
@pytest.mark.parametrize("outcome", [Retry("status_500"), Park("status_401")])
def test_a_probe_that_fails_costs_its_event_neither_an_attempt_nor_a_wait(state, outcome):
    stopped = health(standing=Standing(state=state))
    fate = judge(outcome, delivery(1, attempts=7, since=3.0), stopped, POLICY, moment(50)).fate
    assert isinstance(fate, Held)
    assert (fate.attempts, fate.since, fate.due) == (7, 3.0, NOON + timedelta(seconds=50))


def test_up_time_stands_still_while_the_destination_is_stopped():
    assert aged(health(), moment(60)).standing.up_seconds == 60
    assert aged(health(standing=Standing(state="down")), moment(60)).standing.up_seconds == 0
    assert aged(health(as_of=100.0), moment(60)).standing.up_seconds == 0


def test_an_event_that_fails_while_others_pass_is_set_aside_after_the_patience():
    passing = health(standing=Standing(up_seconds=700.0), passed_at=690.0)
    alone = replace(passing, passed_at=40.0)
    assert _aside(passing, since=50.0)
    assert not _aside(passing, since=650.0)
    assert not _aside(alone, since=50.0)


def _aside(state, since):
    fate = judge(Retry("timeout"), delivery(1, since=since), state, POLICY, moment()).fate
    assert isinstance(fate, Held)
    return fate.aside


OUTCOMES = st.sampled_from(
    [Delivered(), Retry("timeout"), Retry("status_429", 3.0), Park("status_401"), Refuse("status_404")]
)


@given(st.lists(st.tuples(OUTCOMES, st.floats(0, 1e6)), max_size=60))
def test_whatever_happens_some_call_may_be_made_later(steps):
    """No run of outcomes leaves a destination with no slot, or with a probe further away than the longest wait."""
    state, now = health(), 0.0
    policy = RetryPolicy(probe=Duration(30))
    for outcome, passed in steps:
        now += passed
        state = judge(outcome, delivery(1), state, policy, moment(now)).health
        assert 1 <= state.slots <= state.limit
        assert state.probe_at <= now + 30 + 3
        assert state.paused_until <= now + 3


@pytest.mark.parametrize("reason", ["status_401", "status_402", "status_302"])
def test_only_a_403_can_be_an_events_own_fault(reason):
    """A rotated key that some of the upstream's machines know already must not kill what waits."""
    verdict = judge(Park(reason), delivery(1, parks=9), health(), POLICY, moment(1))
    assert isinstance(verdict.fate, Held)
    assert verdict.health.standing.state == "parked"


def test_a_403_counts_against_an_event_only_while_others_pass():
    first = after([Park("status_403")])
    probe = judge(Park("status_403"), delivery(1), first.health, POLICY, moment(99))
    assert isinstance(first.fate, Held)
    assert isinstance(probe.fate, Held)
    assert (first.fate.parks, probe.fate.parks) == (1, 0)


@pytest.mark.parametrize(
    ("parks", "state", "others_pass", "fate", "stands"),
    [
        (0, "up", False, (Held, 1, 0), "parked"),
        (0, "up", True, (Held, 1, 0), "parked"),
        (1, "up", False, (Held, 2, 0), "parked"),
        (1, "up", True, (Held, 2, 30), "up"),
        (2, "up", False, (Dead, None, None), "up"),
        (2, "up", True, (Dead, None, None), "up"),
        (1, "parked", False, (Held, 1, 0), "parked"),
        (2, "parked", True, (Held, 2, 0), "parked"),
        (2, "down", True, (Held, 2, 0), "parked"),
    ],
)
def test_of_a_403_the_destination_is_suspected_first_and_then_the_event(parks, state, others_pass, fate, stands):
    stood = health(standing=Standing(state=state), others_pass=others_pass)
    verdict = judge(Park("status_403"), delivery(1, parks=parks), stood, POLICY, moment(50))
    kind, counted, wait = fate
    assert type(verdict.fate) is kind
    if isinstance(verdict.fate, Held):
        assert (verdict.fate.parks, verdict.fate.due) == (counted, NOON + timedelta(seconds=50 + wait))
    assert verdict.health.standing.state == stands
    assert not verdict.health.others_pass, "what passed before speaks against no other event"


def test_what_was_in_flight_when_a_403_parked_speaks_against_no_event():
    """It may have been taken before the key was withdrawn."""
    parked = after([Park("status_403")]).health
    late = judge(Delivered(), delivery(2), parked, POLICY, moment(1.5)).health
    assert (late.up, late.others_pass) == (True, False)
    probe = judge(Delivered(), delivery(2), parked, POLICY, moment(parked.probe_at)).health
    assert (probe.up, probe.others_pass) == (True, True)


def test_many_that_were_forbidden_once_do_not_die_of_one_pass():
    """A key that was withdrawn for good, and nothing waits but events that it had turned away before."""
    state = health(others_pass=True)
    fates = []
    for number in range(5):
        verdict = judge(Park("status_403"), delivery(number, parks=1), state, POLICY, moment(number))
        state = verdict.health
        fates.append(type(verdict.fate))
    assert (fates, state.standing.state) == ([Held] * 5, "parked")
