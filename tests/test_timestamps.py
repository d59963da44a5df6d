"""Timestamps are read without guessing, and no digit of a second is lost."""

from __future__ import annotations

import pytest

from trackgate import timestamps


@pytest.mark.parametrize(
    ("text", "moment", "finer"),
    [
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00+00:00", ""),
        ("2024-01-15T10:30:00.123456+05:30", "2024-01-15T10:30:00.123456+05:30", ""),
        ("2024-01-15T10:30:00.1234567", "2024-01-15T10:30:00.123456", "7"),
        ("2024-01-15T10:30:00.1234567Z", "2024-01-15T10:30:00.123456+00:00", "7"),
        ("2024-01-15T10:30:00.123456789+05:30", "2024-01-15T10:30:00.123456+05:30", "789"),
        ("2024-01-15t10:30:00.000000001+0530", "2024-01-15T10:30:00+05:30", "001"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999+00:00", "999"),
        # digits that say nothing
        ("2024-01-15T10:30:00.1234560000Z", "2024-01-15T10:30:00.123456+00:00", ""),
        ("2024-01-15T10:30:00.12345670000Z", "2024-01-15T10:30:00.123456+00:00", "7"),
    ],
)
def test_what_is_read_is_the_moment_and_its_digits_beyond_the_microsecond(text: str, moment: str, finer: str):
    read, rest = timestamps.read(text)
    assert read is not None
    assert (read.isoformat(), rest) == (moment, finer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-01-15",
        "20-11-23T22:28:55.111Z",
        "20-11-23T22:28:55.123456789Z",
        "2024-01-15T10:30:00.123456789Z.123456789",
        "2024-01-15T10:30:00.1234567.1234567Z",
        "2024-01-15T10:30:00.123456\u0667Z",
        "2024-01-15T10:30:00." + "1" * 9 + "x",
    ],
)
def test_anything_else_is_not_read_at_all(text: str):
    assert timestamps.read(text) == (None, "")


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15T10:30:00Z",
        "2024-01-15T10:30:00.250Z",
        "2024-01-15T10:30:00.123456-08:00",
        "2024-01-15T10:30:00.123456789Z",
        "2024-01-15T10:30:00.0000001+05:30",
    ],
)
def test_what_was_read_is_spelled_as_it_was(text: str):
    moment, finer = timestamps.read(text)
    assert moment is not None
    assert timestamps.spell(moment, finer) == text
