"""Medians, paired ratios and growth exponents against numbers that are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import geometric_mean, growth, paired_ratio, spread

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20)


@given(times)
def test_spread_is_that_of_the_standard_definitions(samples):
    found = spread(samples)
    ordered = sorted(samples)
    middle = len(ordered) // 2
    expected = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    assert found.median == pytest.approx(expected)
    assert ordered[0] <= found.low <= found.median * (1 + 1e-12)
    assert found.median <= found.high * (1 + 1e-12) <= ordered[-1] * (1 + 1e-9)


def test_one_slow_sample_moves_nothing():
    assert spread([1.0] * 9 + [1000.0]).median == 1.0
    assert spread([2.0]).relative == 0.0


@given(times, st.floats(0.01, 100))
def test_a_factor_in_every_round_is_found_whatever_the_noise(samples, factor):
    found = paired_ratio([factor * sample for sample in samples], samples)
    assert found.value == pytest.approx(factor)


def test_a_difference_within_the_spread_is_marked():
    noisy = paired_ratio([1.0, 1.2, 0.9, 1.1, 1.0], [1.1, 1.0, 1.0, 1.0, 1.05])
    assert not noisy.clear
    assert str(noisy).endswith("~")
    clear = paired_ratio([2.0, 2.2, 1.9], [1.0, 1.0, 1.0])
    assert clear.clear
    assert str(clear) == "2.00"


@given(st.floats(-1, 4), st.floats(1e-6, 1e3), st.integers(3, 10))
def test_growth_finds_the_exponent(exponent, factor, count):
    sizes = [2**i for i in range(count)]
    fit = growth(sizes, [factor * size**exponent for size in sizes])
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.straight_from == 1
    assert fit.at(3.0) == pytest.approx(factor * 3.0**exponent, rel=1e-5)


def test_fixed_costs_end_where_the_line_begins():
    sizes = [2**i for i in range(12)]
    fit = growth(sizes, [3.0 + size**2 for size in sizes])
    assert fit is not None
    assert fit.exponent == pytest.approx(2, abs=1e-3)
    assert fit.straight_from == 4  # 3 is 19 % of 16


def test_two_points_are_no_line():
    assert growth([1, 2], [1.0, 2.0]) is None


def test_geometric_mean_of_reciprocals_is_reciprocal():
    values = [0.5, 3.0, 7.0]
    product = geometric_mean(values) * geometric_mean([1 / value for value in values])
    assert product == pytest.approx(1)
    assert geometric_mean(values) == pytest.approx(math.prod(values) ** (1 / 3))


@pytest.mark.parametrize("call", [lambda: spread([]), lambda: paired_ratio([], [1.0])])
def test_nothing_has_no_statistics(call):
    with pytest.raises(ValueError, match="needs at least one"):
        call()


def test_spread_takes_arrays():
    assert spread(np.array([1.0, 3.0])).median == 2.0
