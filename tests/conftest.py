"""What every test stands on."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no bug of the program: examples are counted, never timed.
settings.register_profile("trackgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trackgate")

# Started in the background by a shell, a process ignores Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """Trackgate runs on asyncio alone."""
    return "asyncio"
