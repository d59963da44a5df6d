"""Whether the ledger adds up."""

from __future__ import annotations

import pytest

from tests.operate.bench import ROUTES
from trackgate.config import load
from trackgate.operate.tally import complete, faults
from trackgate.outbox import DestinationTally, Ledger, SourceTally


def ledger(source=None, **counts):
    good = {"owed": 10, "delivered": 4, "dead": 2, "dropped": 1, "held": 3, "backlog_bytes": 300}
    tally = DestinationTally(**{**good, **counts})
    return Ledger(sources={"web": source or SourceTally(accepted=9, unrouted=1)}, destinations={"there": tally})


def test_a_ledger_is_completed_in_the_order_of_the_file_with_its_limits_and_what_has_left_comes_last(tmp_path):
    limited = '[destinations.early]\nvendor = "appizer"\nkey = "k"\nbacklog = { max = "1KiB", full = "shed" }\n'
    (tmp_path / "routes.toml").write_text(ROUTES + limited)
    config, _ = load(tmp_path / "routes.toml", {}, {})
    kept = DestinationTally(owed=1, backlog_bytes=300)
    known = Ledger(sources={"": SourceTally(rejected={"x": 2})}, destinations={"before": kept, "early": kept})
    assert config is not None
    done = complete(known, config.sources, config.destinations)
    assert list(done.destinations) == ["here", "there", "early", "before"]
    assert done.destinations["here"] == DestinationTally()
    assert (done.destinations["early"].owed, done.destinations["before"]) == (1, kept)
    assert (done.destinations["early"].backlog_limit, done.destinations["early"].backlog_full) == (1024, "shed")
    assert done.sources == {"web": SourceTally(), "": SourceTally(rejected={"x": 2})}


def test_a_ledger_that_adds_up_has_no_faults():
    assert faults(ledger()) == ()
    assert faults(ledger(delivered=7, held=0, backlog_bytes=0)) == ()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"delivered": 9}, "destination there: 12 settled of 10 owed"),
        ({"dead": -1}, "settled of 10 owed"),
        ({"held": 4}, "4 held of 3 that wait"),
        ({"backlog_bytes": 0}, "3 wait, with 0 bytes"),
        ({"delivered": 7, "held": 0}, "0 wait, with 300 bytes"),
        ({"source": SourceTally(accepted=1, unrouted=2)}, "source web: 2 unrouted of 1 accepted"),
    ],
)
def test_counts_that_contradict_each_other_are_named(counts, words):
    assert any(words in fault for fault in faults(ledger(**counts)))
