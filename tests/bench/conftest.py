"""Fixtures of the benchmark's own tests."""

from __future__ import annotations

import pytest

from bench.stage import Options, Stage

OPTIONS = Options(rounds=1, seconds=0.5, rest=0.1, users=200, waiting=8000, fans=(1, 2), sizes=(0.3, 30.0))
"""Windows too short to measure anything: they hold that it runs."""


@pytest.fixture(scope="module", name="stage")
def one_stage(tmp_path_factory):
    with Stage(OPTIONS, tmp_path_factory.mktemp("bench")) as stage:
        yield stage
