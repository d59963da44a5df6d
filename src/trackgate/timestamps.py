"""Timestamps as the dialects write them: read without guessing, written without losing the instant."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

FINER = re.compile(r"(\.[0-9]{6})([0-9]*[1-9])0*")
"""A fraction of a second with digits beyond the microsecond."""

TO_THE_MICROSECOND = len("2024-01-15T10:30:00.123456")


def read(text: str) -> tuple[datetime | None, str]:
    """An RFC 3339 timestamp with its offset (naive where it states none), and its digits beyond the microsecond.

    ``None`` where it is anything else: in ``20-11-23T22:28:55.111Z`` the two-digit year could mean two dates.
    """
    finer = ""
    found = FINER.search(text) if len(text) > TO_THE_MICROSECOND else None
    if found:
        finer = found[2]
        text = text[: found.end(1)] + text[found.end() :]
    try:
        return msgspec.convert(text, datetime), finer
    except msgspec.ValidationError:
        return None, ""


def spell(moment: datetime, finer: str = "") -> str:
    """RFC 3339 with the moment's own offset, ``Z`` for UTC, and no more sub-second digits than it needs."""
    if finer:
        text = moment.isoformat(timespec="microseconds")
        text = text[:TO_THE_MICROSECOND] + finer + text[TO_THE_MICROSECOND:]
    elif not moment.microsecond:
        text = moment.isoformat(timespec="seconds")
    else:
        text = moment.isoformat(timespec="microseconds" if moment.microsecond % 1000 else "milliseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def exact(moment: datetime, finer: str) -> datetime | str:
    """The moment, or its text where it has digits for which a ``datetime`` has no room."""
    return spell(moment, finer) if finer else moment
