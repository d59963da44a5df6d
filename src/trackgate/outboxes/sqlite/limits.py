"""What bounds the embedded outbox."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trackgate.backlog import BacklogPolicy


class Limits(Struct, frozen=True, kw_only=True):
    """Bytes and seconds.

    Args:
        max_backlog: bytes of events still waited for; from there on new ones are refused. It bounds the log as a
            whole, too: beyond it the oldest settled events go before their time.
        min_free: bytes of free disk space; below it new events are refused.
        retention: seconds that settled events are kept.
        dead_retention: seconds that the dead are kept, to be looked at and tried again; then they are dropped.
        dedupe_window: seconds that a caller's key is remembered.
        backlogs: how much may wait for a destination, by name; one that is not there has no limit of its own.

    """

    max_backlog: int
    min_free: int
    retention: float
    dead_retention: float
    dedupe_window: float
    backlogs: Mapping[str, BacklogPolicy] = {}
