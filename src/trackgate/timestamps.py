"""Timestamps as the dialects write them: read without guessing, written without losing the instant."""

from __future__ import annotations

from datetime import datetime

import msgspec


def read(text: str) -> datetime | None:
    """An RFC 3339 timestamp with its offset (naive where it states none), or ``None`` where it is anything else.

    Digits beyond the microsecond are rounded. ``20-11-23T22:28:55.111Z`` is ``None``: a two-digit year could mean
    two dates.
    """
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None


def spell(moment: datetime) -> str:
    """RFC 3339 with the moment's own offset, ``Z`` for UTC, and no more sub-second digits than it needs."""
    if not moment.microsecond:
        timespec = "seconds"
    else:
        timespec = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.isoformat(timespec=timespec)
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
