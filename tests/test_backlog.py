"""The warning comes at each mark, once, and names who fills it."""

from __future__ import annotations

import pytest

from trackgate.backlog import BacklogWatch, Filling, SheddingBegan, SheddingEnded
from trackgate.outbox import DestinationTally, Ledger

THERE = {"slow": DestinationTally(owed=9, backlog_bytes=70), "fast": DestinationTally(owed=9, backlog_bytes=5)}


def ledger(backlog, limit=100):
    return Ledger(sources={}, destinations=THERE, backlog_bytes=backlog, backlog_limit=limit)


@pytest.mark.parametrize(
    ("levels", "warned"),
    [
        ([10, 49], []),
        ([50], [0.5]),
        ([55, 60, 79], [0.55]),
        ([55, 85, 99], [0.55, 0.85]),
        ([95], [0.95]),
        ([85, 60, 85], [0.85, 0.85]),
        ([55, 10, 55], [0.55, 0.55]),
    ],
)
def test_each_mark_is_told_once_on_the_way_up(levels, warned):
    watch = BacklogWatch()
    told = [filling for level in levels for filling in watch.look(ledger(level)) if isinstance(filling, Filling)]
    assert [filling.share for filling in told] == warned
    assert {filling.destination for filling in told} <= {"slow"}


def test_no_limit_is_never_reached():
    assert BacklogWatch().look(ledger(10, limit=0)) == []


def own(filled, *, shed=0, full="shed"):
    tally = DestinationTally(owed=9, backlog_bytes=filled, backlog_limit=100, backlog_full=full, shed=shed)
    return Ledger(sources={}, destinations={"own": tally, "free": DestinationTally(backlog_bytes=10**6)})


def test_a_destinations_own_limit_has_marks_of_its_own():
    watch = BacklogWatch()
    told = [watch.look(own(filled, full="refuse")) for filled in (49, 50, 79, 81, 100, 10, 50)]
    assert [each for looks in told for each in looks] == [
        Filling(0.5, "own", 100, "refuse"),
        Filling(0.81, "own", 100, "refuse"),
        Filling(0.5, "own", 100, "refuse"),
    ]


def test_shedding_is_told_when_it_begins_and_when_it_ends():
    """What was shed before the start is no news; a moment with room for some is the end, with their number."""
    watch = BacklogWatch()
    steps = [(10, 7), (10, 7), (40, 8), (100, 90), (100, 90), (40, 90), (40, 90), (45, 91), (45, 91)]
    told = [
        each for filled, shed in steps for each in watch.look(own(filled, shed=shed)) if not isinstance(each, Filling)
    ]
    assert told == [
        SheddingBegan("own", 100),
        SheddingEnded("own", 100, 83),
        SheddingBegan("own", 100),
        SheddingEnded("own", 100, 1),
    ]
