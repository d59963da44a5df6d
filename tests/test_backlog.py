"""The warning comes at each mark, once, and names who fills it."""

from __future__ import annotations

import pytest

from trackgate.backlog import BacklogWatch
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
    told = [filling for level in levels if (filling := watch.look(ledger(level))) is not None]
    assert [filling.share for filling in told] == warned
    assert {filling.destination for filling in told} <= {"slow"}


def test_no_limit_is_never_reached():
    assert BacklogWatch().look(ledger(10, limit=0)) is None
