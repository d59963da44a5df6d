"""What only this process counts: calls answered, attempts made, commits, and calls turned away unread."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from tests.program.running import GUARD, VENDORS, appizer, arrived, metrics, stage, until
from trackgate.clock import SystemClock
from trackgate.metrics import Metrics
from trackgate.outbox import Ledger

BEARER = {"authorization": "Bearer in-appizer"}


def test_every_call_attempt_and_commit_is_in_its_histogram_once(tmp_path: Path):
    with stage(tmp_path) as place:
        gateway = place.start()
        taken = httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(1))
        httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json={})
        arrived(place.sandbox.url, taken.headers["trackgate-event-id"], 4)
        until(lambda: metrics(gateway).get('trackgate_delivered_total{destination="flywheel"}') == 1)
        seen = metrics(gateway)
    assert seen['trackgate_request_duration_seconds_count{source="appizer",status="200"}'] == 1
    assert seen['trackgate_request_duration_seconds_count{source="appizer",status="400"}'] == 1
    assert seen['trackgate_attempt_duration_seconds_count{destination="flywheel",outcome="delivered"}'] == 1
    assert seen["trackgate_commit_duration_seconds_count"] >= 3  # stored, handed out, settled


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_configured_is_there_from_zero_before_the_first_event(tmp_path: Path, workers: int):
    """An alert on a series that is not there never fires, and a rate misses what a series began with."""
    with stage(tmp_path, f"workers = {workers}\n") as place:
        gateway = place.start()
        seen = metrics(gateway)
        for name in VENDORS:
            for counter in ("owed", "delivered", "retried", "dropped", "shed", "filtered"):
                assert seen[f'trackgate_{counter}_total{{destination="{name}"}}'] == 0
            for gauge in ("due", "parked", "dead", "destination_backlog_bytes", "oldest_waiting_seconds", "in_flight"):
                assert seen[f'trackgate_{gauge}{{destination="{name}"}}'] == 0
            assert seen[f'trackgate_destination_state{{destination="{name}",state="up"}}'] == 1
            for counter in ("received", "accepted", "duplicate", "conflict", "unrouted"):
                assert seen[f'trackgate_{counter}_total{{source="{name}"}}'] == 0


def test_what_counts_as_dropped_is_told():
    text = Metrics(lambda: Ledger(sources={}, destinations={}), SystemClock()).render().decode()
    [told] = [line for line in text.splitlines() if line.startswith("# HELP trackgate_dropped_total ")]
    assert all(each in told for each in ("by an operator", "server.dead_retention", "damage"))


def test_a_call_that_is_no_http_is_counted(tmp_path: Path):
    with stage(tmp_path) as place:
        gateway = place.start()
        url = httpx.URL(gateway.url)
        with socket.create_connection((url.host, url.port or 80), GUARD) as connection:
            connection.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert metrics(gateway)['trackgate_refused_total{reason="no_http"}'] == 1
