"""Durations, sizes and rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackgate.units import Duration, Rate, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5 h", 5400), ("10m", 600), ("10min", 600), ("7d", 604_800), ("0s", 0)],
)
def test_durations_are_read(text, seconds):
    assert Duration.read(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("512B", 512), ("1KiB", 1024), ("1.5MiB", 1_572_864), ("2GB", 2 * 10**9), ("1TiB", 2**40)]
)
def test_sizes_are_read(text, count):
    assert Size.read(text) == count


@pytest.mark.parametrize(
    ("text", "per_second"), [("10/s", 10), ("600/min", 10), ("90 / m", 1.5), ("7200/h", 2), ("0.5/s", 0.5), ("0/s", 0)]
)
def test_rates_are_read(text, per_second):
    assert Rate.read(text) == per_second


@pytest.mark.parametrize("text", ["600", "600/", "/min", "600/week", "-1/s", "600 per min", "1e3/s", "600/min/min"])
def test_a_rate_that_is_none_says_how_it_is_written(text):
    with pytest.raises(ValueError, match='must be a rate such as "10/s", "600/min"'):
        Rate.read(text)


@pytest.mark.parametrize("unit", [Duration, Size, Rate])
@given(text=st.text(max_size=30) | st.from_regex(r"[0-9]{1,400}/?[a-zA-Z]{1,3}", fullmatch=True))
def test_anything_else_says_how_it_is_written(unit, text):
    """Whatever the text, it is read or it is a ``ValueError``."""
    try:
        assert unit.read(text) >= 0
    except ValueError as error:
        assert str(error).startswith("must be ")  # noqa: PT017 - either is right


def test_a_size_that_no_disk_has_is_turned_away():
    assert Size.read("1024TiB") == 2**50
    with pytest.raises(ValueError, match="at most 1024TiB"):
        Size.read("1025TiB")


@given(st.integers(0, 10**12))
def test_a_spelled_size_is_read_as_itself(count):
    assert Size.read(Size(count).spell()) == count


@given(st.integers(0, 10**9))
def test_a_spelled_duration_is_read_as_itself(milliseconds):
    assert Duration.read(Duration(milliseconds / 1000).spell()) == pytest.approx(milliseconds / 1000)


def test_the_largest_whole_unit_is_spelled():
    assert [Duration(604_800).spell(), Duration(5400).spell(), Duration(0.5).spell()] == ["7d", "90m", "500ms"]
    assert [Size(2**20).spell(), Size(1500).spell(), Size(0).spell()] == ["1MiB", "1500B", "0B"]
