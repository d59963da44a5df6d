"""Deliveries a second."""

from __future__ import annotations

import pytest

from tests.outboxes.kinds import HandClock
from trackgate.operate.meter import Meter
from trackgate.outbox import DestinationTally, Ledger


def ledger(delivered):
    return Ledger(sources={}, destinations={"there": DestinationTally(owed=delivered, delivered=delivered)})


class Metered:
    def __init__(self, start=0):
        self.clock = HandClock()
        self.meter = Meter(ledger(start), self.clock)

    def at(self, seconds, delivered):
        self.clock.seconds = seconds
        self.meter.note(ledger(delivered))

    def rate(self, seconds):
        self.clock.seconds = seconds
        return self.meter.rate("there")


def test_a_rate_is_what_was_delivered_in_the_last_minute():
    metered = Metered(start=1000)
    for second in range(1, 121):
        metered.at(second, 1000 + 5 * second)
    assert metered.rate(120) == pytest.approx(5)
    assert metered.rate(150) == pytest.approx(2.5)
    assert metered.rate(181) == 0


def test_what_was_delivered_in_one_burst_is_forgotten_after_a_minute():
    metered = Metered()
    for commit in range(100):
        metered.at(10 + commit / 200, 10 * (commit + 1))
    assert metered.rate(40) == pytest.approx(1000 / 40)
    assert metered.rate(71) == 0


def test_before_a_minute_is_over_the_rate_is_since_the_start():
    metered = Metered()
    metered.at(0.1, 3)
    assert metered.rate(0.1) == pytest.approx(3)
    assert metered.rate(6) == pytest.approx(0.5)


def test_however_many_commits_there_are_a_minute_of_samples_is_kept():
    metered = Metered()
    for commit in range(20_000):
        metered.at(commit / 100, commit)
    assert len(metered.meter._samples) <= 63
    assert metered.rate(200) == pytest.approx(100, rel=0.02)
    assert metered.meter.rate("nowhere") == 0
