"""What only this process counts: calls answered, attempts made, commits, and calls turned away unread."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx

from tests.program.running import GUARD, appizer, arrived, metrics, stage, until

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


def test_a_call_that_is_no_http_is_counted(tmp_path: Path):
    with stage(tmp_path) as place:
        gateway = place.start()
        url = httpx.URL(gateway.url)
        with socket.create_connection((url.host, url.port or 80), GUARD) as connection:
            connection.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        assert metrics(gateway)['trackgate_refused_total{reason="no_http"}'] == 1
