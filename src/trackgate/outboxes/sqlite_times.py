"""Times as the file has them: whole microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trackgate.model import EPOCH


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(at: int) -> datetime:
    """The other way round, in UTC."""
    return EPOCH.astimezone(UTC) + timedelta(microseconds=at)
