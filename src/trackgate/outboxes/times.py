"""Times as the file has them: whole microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trackgate.model import EPOCH


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970."""
    passed = moment - EPOCH  # taken apart by hand: divided by a microsecond it takes three times as long
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def moment(at: int) -> datetime:
    """The other way round, in UTC."""
    return EPOCH.astimezone(UTC) + timedelta(microseconds=at)
