"""Calls that are turned away before they are one: every one counts, and a flood of them is no flood of lines."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from tests.outboxes.kinds import HandClock
from trackgate.ingest.refusals import EVERY, Refusals
from trackgate.metrics import Metrics
from trackgate.outbox import Ledger


def test_each_is_counted_and_many_share_a_line():
    clock = HandClock()
    metrics = Metrics(lambda: Ledger(sources={}, destinations={}), dict, clock)
    with capture_logs() as lines:
        refusals = Refusals(clock, structlog.get_logger(), metrics)
        refusals(503)
        for status in (503, 408, 503):
            refusals(status)
        clock.seconds += EVERY
        refusals(431)
    told = [{key: line[key] for key in line if key not in {"event", "log_level"}} for line in lines]
    assert told == [{"too_many_connections": 1}, {"too_many_connections": 2, "slow_headers": 1, "long_headers": 1}]
    text = metrics.render().decode()
    assert 'trackgate_refused_total{reason="too_many_connections"} 3.0' in text
    assert 'trackgate_refused_total{reason="slow_headers"} 1.0' in text
