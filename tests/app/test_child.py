"""A process that cannot be forked."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from trackgate.app.child import Child


def opened():
    """Our files' numbers, this look's own among them."""
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def test_a_fork_that_fails_leaves_nothing_behind(monkeypatch):
    def fork():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    mask, files = signal.pthread_sigmask(signal.SIG_BLOCK, ()), opened()
    with pytest.raises(BlockingIOError):
        Child("worker-0", lambda _: 0, [])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert opened() == files
