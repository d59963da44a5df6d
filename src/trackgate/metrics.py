"""What Prometheus sees: the outbox's ledger, as it is at the scrape, and what only this process knows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from trackgate.metrics_share import Share, share_of, summed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from trackgate.model import Clock
    from trackgate.outbox import DestinationTally, Ledger
    from trackgate.workers import Workers

STATES = ("up", "down", "parked")

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_COUNTS = {
    "owed": "Deliveries owed, ever.",
    "delivered": "Deliveries that the upstream took.",
    "retried": "Tries that have to be made again.",
    "dropped": "Deliveries given up by an operator, or after server.dead_retention, and those lost to damage.",
    "shed": "Deliveries that were dead at once because the destination's backlog was full.",
    "filtered": "Events that a route from their source names this destination for, and none matched.",
}


def _parked(tally: DestinationTally) -> bool:
    return tally.standing.state == "parked"


_GAUGES: tuple[tuple[str, str, Callable[[DestinationTally], float]], ...] = (
    ("due", "Deliveries that wait to be made.", lambda tally: 0 if _parked(tally) else tally.waiting),
    ("parked", "Deliveries that wait at a parked destination.", lambda tally: tally.waiting if _parked(tally) else 0),
    ("dead", "Deliveries that will not be made unless an operator says so.", lambda tally: tally.dead),
    ("destination_backlog_bytes", "Bytes that wait for this destination.", lambda tally: tally.backlog_bytes),
)


class Metrics:
    """The registry of one process.

    Args:
        ledger: the outbox's counts, now.
        clock: for ages.
        workers: which of them serve, where this process knows that.

    """

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        clock: Clock,
        workers: Workers | None = None,
    ) -> None:
        self._ledger = ledger
        self._in_flight: Callable[[], Mapping[str, int]] = dict
        self._clock = clock
        self._workers = workers
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._answered = Histogram(
            "trackgate_request_duration_seconds",
            "From a call's headers to our reply.",
            ["source", "status"],
            buckets=_FAST,
            registry=self._registry,
        )
        self._attempted = Histogram(
            "trackgate_attempt_duration_seconds",
            "One call to an upstream, all told.",
            ["destination", "outcome"],
            buckets=_SLOW,
            registry=self._registry,
        )
        # Each call is counted: its labels are looked up once.
        self._answered_as = cache(self._answered.labels)
        self._attempted_as = cache(self._attempted.labels)
        self._committed = Histogram(
            "trackgate_commit_duration_seconds",
            "One commit of the outbox, fsync included.",
            buckets=_FAST,
            registry=self._registry,
        )

        self._refused = Counter(
            "trackgate_refused",
            "Calls turned away before they were read: no HTTP, headers too slow or too long, too many connections.",
            ["reason"],
            registry=self._registry,
        )

    def show_in_flight(self, in_flight: Callable[[], Mapping[str, int]]) -> None:
        """Show the calls under way, by destination; without this, none are."""
        self._in_flight = in_flight

    def may_refuse(self, reasons: Iterable[str]) -> None:
        """Show these from zero: who watches for the first one must see it."""
        for reason in reasons:
            self._refused.labels(reason)

    def refused(self, reason: str) -> None:
        """A call was turned away before it was read; since the start of this process."""
        self._refused.labels(reason).inc()

    def answered(self, source: str, status: int, seconds: float) -> None:
        """A call was answered."""
        self._answered_as(source, status).observe(seconds)

    def attempted(self, destination: str, outcome: str, seconds: float) -> None:
        """An upstream was called."""
        self._attempted_as(destination, outcome).observe(seconds)

    def committed(self, seconds: float) -> None:
        """The outbox committed."""
        self._committed.observe(seconds)

    def render(self, shares: Sequence[Share] = ()) -> bytes:
        """The text format, version 0.0.4; ``shares`` are what other processes of the gateway have counted."""
        return generate_latest(_Families(summed(self._registry.collect(), shares)) if shares else self._registry)

    def share(self) -> Share:
        """What only this process knows, for the one that renders."""
        counted = (self._answered, self._attempted, self._refused)
        return share_of([*(family for each in counted for family in each.collect()), self._flying()])

    def collect(self) -> Iterator[Metric]:
        """The ledger as metrics (prometheus_client's collector protocol)."""
        ledger = self._ledger()
        yield from _sources(ledger)
        yield from _destinations(ledger)
        yield from self._moments(ledger)
        yield _gauge(
            "trackgate_backlog_bytes", "Bytes of events that some destination waits for.", ledger.backlog_bytes
        )
        yield _gauge("trackgate_backlog_limit_bytes", "At this many bytes new events get a 503.", ledger.backlog_limit)
        if self._workers is not None:
            yield from _of_workers(self._workers)

    def _moments(self, ledger: Ledger) -> Iterator[Metric]:
        yield self._flying()
        oldest = GaugeMetricFamily(
            "trackgate_oldest_waiting_seconds", "Age of the oldest event that waits.", labels=["destination"]
        )
        now = self._clock.now()
        for name, tally in ledger.destinations.items():
            age = 0.0 if tally.oldest is None else max((now - tally.oldest).total_seconds(), 0.0)
            oldest.add_metric([name], age)
        yield oldest
        paused = GaugeMetricFamily(
            "trackgate_destination_paused_until_timestamp_seconds",
            "Unix time before which nothing is sent, because the upstream asked us to wait (Retry-After); 0: no pause.",
            labels=["destination"],
        )
        for name, tally in ledger.destinations.items():
            end = tally.standing.pause_end(now)
            paused.add_metric([name], 0.0 if end is None else end.timestamp())
        yield paused

    def _flying(self) -> Metric:
        flying = GaugeMetricFamily("trackgate_in_flight", "Calls under way.", labels=["destination"])
        for name, count in self._in_flight().items():
            flying.add_metric([name], count)
        return flying


class _Families(Struct):
    """Metrics that were collected already (prometheus_client's collector protocol)."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


def _sources(ledger: Ledger) -> Iterator[Metric]:
    rejected = CounterMetricFamily("trackgate_rejected", "Calls turned away, by reason.", labels=["source", "reason"])
    for name, tally in ledger.sources.items():
        for reason, count in tally.rejected.items():
            rejected.add_metric([name, reason], count)
    yield rejected
    for field, words in {
        "received": "Events (and calls turned away) that came in.",
        "accepted": "Events stored.",
        "duplicate": "Repeats that were answered and not stored again.",
        "conflict": "Repeats of an id with other content, stored as events of their own.",
        "unrouted": "Events stored that no route sends anywhere.",
    }.items():
        metric = CounterMetricFamily(f"trackgate_{field}", words, labels=["source"])
        for name, tally in ledger.sources.items():
            metric.add_metric([name], getattr(tally, field))
        yield metric


def _destinations(ledger: Ledger) -> Iterator[Metric]:
    for field, words in _COUNTS.items():
        counter = CounterMetricFamily(f"trackgate_{field}", words, labels=["destination"])
        for name, tally in ledger.destinations.items():
            counter.add_metric([name], getattr(tally, field))
        yield counter
    for field, words, value in _GAUGES:
        gauge = GaugeMetricFamily(f"trackgate_{field}", words, labels=["destination"])
        for name, tally in ledger.destinations.items():
            gauge.add_metric([name], value(tally))
        yield gauge
    limit = GaugeMetricFamily(
        "trackgate_destination_backlog_limit_bytes",
        "At this many bytes new events for this destination are refused or shed.",
        labels=["destination"],
    )
    for name, tally in ledger.destinations.items():
        if tally.backlog_limit is not None:
            limit.add_metric([name], tally.backlog_limit)
    yield limit
    state = GaugeMetricFamily(
        "trackgate_destination_state", "1 for how the destination stands.", labels=["destination", "state"]
    )
    for name, tally in ledger.destinations.items():
        for each in STATES:
            state.add_metric([name, each], tally.standing.state == each)
    yield state


def _of_workers(workers: Workers) -> Iterator[Metric]:
    yield _gauge("trackgate_workers", "Processes that are to take calls and deliver.", workers.configured)
    yield _gauge("trackgate_workers_serving", "Those of them that do.", len(workers.serving))
    ended = CounterMetricFamily("trackgate_workers_ended", "Those that ended, since the start.")
    ended.add_metric([], workers.ended)
    yield ended


def _gauge(name: str, words: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, words)
    gauge.add_metric([], value)
    return gauge
