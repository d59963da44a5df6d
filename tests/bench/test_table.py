"""The arithmetic of the benchmark's table."""

from __future__ import annotations

import pytest

from bench.table import HEAD, Limit, Missing, Row, Series, Target, percentile, table


def test_a_figure_is_the_median_with_its_spread():
    assert Series.of([30, 10, 20]).shown() == "20 (10 to 30)"
    assert Series.of([1.25, 1.75]).median == 1.5


def test_a_figure_of_one_round_shows_no_spread():
    assert Series.of([1234.5]).shown(1) == "1,234.5"


def test_a_figure_takes_a_round():
    with pytest.raises(ValueError, match="one round at least"):
        Series.of([])


def test_a_ratio_is_that_of_the_rounds_not_of_the_medians():
    ours, limit = Series.of([10, 90, 40]), Series.of([20, 100, 500])
    assert ours.over(limit).values == (0.5, 0.9, 0.08)
    assert ours.over(limit).median == 0.5 != ours.median / limit.median


def test_a_ratio_takes_as_many_rounds_of_both():
    with pytest.raises(ValueError, match="shorter"):
        Series.of([1, 2]).over(Series.of([1]))


@pytest.mark.parametrize(
    ("target", "figure", "ratio", "verdict"),
    [
        (Target(least=100), 100, None, "yes"),
        (Target(least=100), 75, None, "**no**: 25% under"),
        (Target(most=100), 100, None, "yes"),
        (Target(most=100), 150, None, "**no**: 50% over"),
        (Target(ratio=0.5), 1, 0.5, "yes"),
        (Target(ratio=0.5), 1, 0.25, "**no**: 0.25 of 0.5"),
        (Target(ratio=0.5), 1, None, "**no**: nothing to compare with"),
        (Target(least=100, ratio=0.5), 50, 0.25, "**no**: 50% under, 0.25 of 0.5"),
        (Target(most=0), 0, None, "yes"),
        (Target(most=0), 4096, None, "**no**: 4,096 over"),
    ],
)
def test_a_target_is_reached_or_missed_by_so_much(target, figure, ratio, verdict):
    assert target.verdict(figure, ratio) == verdict


def test_the_table_shows_what_was_measured_and_what_was_not():
    row = Row(
        what="accepts",
        series=Series.of([4000, 5000, 6000]),
        unit="events/s",
        limit=Limit("bare", Series.of([8000, 10_000, 10_000])),
        target=Target(least=5000, ratio=0.5),
        note="10 users",
    )
    lines = table({"accept": [row], "drain": [Missing("drain", "it | broke")]}).splitlines()
    assert lines[0] == f"| {' | '.join(HEAD)} |"
    assert lines[2] == (
        "| accept | accepts; 10 users | 5,000 (4,000 to 6,000) events/s | 10,000 (8,000 to 10,000) (bare) "
        "| 0.50 (0.50 to 0.60) | at least 5,000 events/s, ratio 0.5 | yes |"
    )
    assert lines[3] == "| drain | drain | not measured: it / broke |  |  |  | **no** |"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (0.0, 1)])
def test_a_percentile_is_the_nearest_rank(share, expected):
    assert percentile(range(100, 0, -1), share) == expected


def test_a_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing was sampled"):
        percentile([], 0.5)
