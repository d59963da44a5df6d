"""A destination that is parked fills its own backlog: its callers hear of it or its events are shed, and it is told."""

from __future__ import annotations

import httpx
import pytest

from tests.program.running import appizer, metrics, stage, until

BEARER = {"authorization": "Bearer in-appizer"}
LIMIT = 4_000


def send(gateway, number):
    return httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number))


@pytest.mark.parametrize("full", ["refuse", "shed"])
def test_a_parked_destination_that_fills_its_backlog_is_told_and_met_by_its_policy(tmp_path, full):
    policy = f'backlog = {{ max = "{LIMIT}B", full = "{full}" }}'
    with stage(tmp_path, flywheel=policy) as its:
        its.fail(vendor="flywheel", status=401)
        gateway = its.gateway
        replies = []
        while len(replies) < 200:
            replies.append(send(gateway, len(replies)))
            if replies[-1].status_code == 503 or metrics(gateway).get('trackgate_shed_total{destination="flywheel"}'):
                break
        its.check_full(gateway, replies, full)
