"""Which workers serve, and what that leaves unserved."""

from __future__ import annotations

from trackgate.workers import Workers

DESTINATIONS = ["a", "b", "c", "d", "e"]


def test_every_destination_is_served_once_each_worker_serves_again():
    workers = Workers(3)
    assert list(workers.unserved(DESTINATIONS)) == DESTINATIONS
    for number in (2, 0, 1):
        workers.begin(number)
    assert list(workers.unserved(DESTINATIONS)) == []
    workers.end(1)
    assert list(workers.unserved(DESTINATIONS)) == ["b", "e"]
    workers.begin(1)
    assert (list(workers.unserved(DESTINATIONS)), workers.ended) == ([], 1)


def test_a_worker_that_ends_again_and_again_before_it_serves_is_counted_each_time():
    workers = Workers(2, {0})
    for _ in range(3):
        workers.end(1)
    assert (workers.serving, workers.ended) == ({0}, 3)


def test_workers_without_a_destination_leave_nothing_unserved():
    assert list(Workers(9, {0, 1}).unserved(["a", "b"])) == []
