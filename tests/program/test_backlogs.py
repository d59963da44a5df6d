"""A destination that is parked fills its own backlog: its callers hear of it, or its events are shed; both are told."""

from __future__ import annotations

import httpx
import pytest

from tests.program.running import appizer, metrics, stage, until

BEARER = {"authorization": "Bearer in-appizer"}
LIMIT = 4_000
OTHERS = ("appizer", "thrivestack", "userpilot")


def send(gateway, number):
    return httpx.post(f"{gateway.url}/v1/events", headers=BEARER, json=appizer(number))


def told_of(gateway):
    return [line for line in gateway.log() if line["event"].startswith("backlog.")]


def of(gateway, counter, destination):
    return metrics(gateway).get(f'trackgate_{counter}{{destination="{destination}"}}', 0)


@pytest.mark.parametrize("full", ["refuse", "shed"])
def test_a_parked_destination_that_fills_its_backlog_is_told_and_met_by_its_policy(tmp_path, full):
    policy = f'backlog = {{ max = "{LIMIT}B", full = "{full}" }}'
    with stage(tmp_path, flywheel=policy) as its:
        its.fail(vendor="flywheel", status=401, times=-1)
        gateway = its.start()
        accepted = 0
        while of(gateway, "destination_backlog_bytes", "flywheel") < LIMIT:
            assert send(gateway, accepted).is_success
            accepted += 1
        reply = send(gateway, accepted)
        shown = httpx.get(f"{gateway.url}/readyz").json()
        assert (shown["status"], shown["destinations"]["flywheel"]["state"]) == ("ready", "parked")
        assert shown["destinations"]["flywheel"]["backlog_limit_bytes"] == LIMIT
        assert shown["destinations"]["flywheel"]["backlog_full"] == full
        assert of(gateway, "destination_backlog_limit_bytes", "flywheel") == LIMIT
        if full == "refuse":
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "30")
            assert 'reason="destination_backlog_full"' in httpx.get(f"{gateway.url}/metrics").text
        else:
            assert reply.is_success
            accepted += 1
        shed = full == "shed"
        assert (of(gateway, "shed_total", "flywheel"), of(gateway, "dead", "flywheel")) == (shed, shed)
        until(lambda: all(of(gateway, "delivered_total", name) == accepted for name in OTHERS))
        until(lambda: len(told_of(gateway)) >= 2 + shed)  # they are looked for now and then, not at each event
        told = told_of(gateway)
        fillings = [line for line in told if line["event"] == "backlog.filling"]
        assert [line["share"] >= mark for line, mark in zip(fillings, (0.5, 0.8), strict=True)] == [True, True]
        assert {(line["destination"], line["limit_bytes"], line["policy"]) for line in fillings} == {
            ("flywheel", LIMIT, full)
        }
        assert [line["event"] for line in told[2:]] == ["backlog.shedding_began"] * shed
