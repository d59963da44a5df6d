"""The measurements, each a function from the stage to rows of the table, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.cases import accept, backlog, latency, properties, rest, sick, steady, workers
from bench.stage import Stage
from bench.table import Row

Case = Callable[[Stage], list[Row]]

CASES: Mapping[str, Case] = {
    "accept": accept.singly,
    "batch": accept.in_batches,
    "steady": steady.destinations,
    "forwarder": steady.forwarder,
    "acknowledge": latency.accepts,
    "half-load": latency.half_load,
    "idle": latency.idle,
    "rest": rest.rest,
    "workers": workers.workers,
    "start": backlog.start,
    "backlog": backlog.cost,
    "drain": backlog.drain,
    "sick": sick.sick,
    "properties": properties.properties,
}
