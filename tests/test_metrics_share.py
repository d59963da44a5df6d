"""What several processes have counted, as one exposition."""

from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from trackgate.clock import SystemClock
from trackgate.metrics import Metrics
from trackgate.metrics_share import Share
from trackgate.outbox import Ledger


def counting(**flying):
    metrics = Metrics(lambda: Ledger(sources={}, destinations={}), SystemClock())
    metrics.show_in_flight(lambda: flying)
    return metrics


def told(metrics):
    """As it comes from another process."""
    return msgspec.json.decode(msgspec.json.encode(metrics.share()), type=Share)


def read(text):
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families), "each is said once"
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def count(metrics, times):
    for _ in range(times):
        metrics.answered("web", 202, 0.002)
        metrics.attempted("there", "delivered", 7.0)
        metrics.refused("no_http")


def test_the_sum_over_processes_is_what_one_would_have_counted():
    alone, owner, one, two = counting(here=2, there=3), counting(), counting(here=2), counting(there=3)
    count(alone, 5)
    count(one, 2)
    count(two, 3)
    two.answered("late", 400, 0.1)
    alone.answered("late", 400, 0.1)
    for each in (alone, owner):
        each.committed(0.003)

    def timeless(samples):
        return {key: value for key, value in samples.items() if not key[0].endswith("_created")}

    assert timeless(read(owner.render([told(one), told(two)]))) == timeless(read(alone.render()))


def test_of_several_beginnings_the_first_is_shown():
    owner, one, two = counting(), counting(), counting()
    count(one, 1)
    count(two, 1)
    began = [
        next(sample.value for sample in told(each)["trackgate_refused"] if sample.name.endswith("_created"))
        for each in (two, one)
    ]
    seen = read(owner.render([told(two), told(one)]))
    assert seen["trackgate_refused_created", ("reason", "no_http")] == min(began)
