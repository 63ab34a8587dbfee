"""The probability of a false order against scipy's paired t-test, the polynomial against a least-squares fit."""

import numpy as np
import pytest
from scipy import optimize, stats

from reports.statistics import false_order_probability, sd_factor, sd_of_mean


def scores(cases, means, sds, correlation, rng):
    """Scores by case of two methods with exactly these means, standard deviations and correlation."""
    drawn = rng.normal(size=(cases, 2))
    drawn -= drawn.mean(0)
    drawn = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn.T))).T
    covariance = np.outer(sds, sds) * [[1, correlation], [correlation, 1]]
    return drawn @ np.linalg.cholesky(covariance).T + means


@pytest.mark.parametrize(
    "cases, gap, sds, r",
    [(20, 0.5, (3.5, 3.5), 0.7), (18, 2.1, (4.4, 4.9), 0.34), (60, -0.3, (9, 2), -0.2), (2, 1, (1, 3), 0)],
)
def test_it_is_the_p_of_a_one_sided_paired_t_test(cases, gap, sds, r):
    if cases == 2:  # two cases have a correlation of 1 or -1, so the formula itself is written out
        expected = stats.t(1).sf(2**0.5 * gap / np.hypot(*sds))
    else:
        first, second = scores(cases, (90 + gap, 90), sds, r, np.random.default_rng(0)).T
        expected = stats.ttest_rel(first, second, alternative="greater").pvalue
    assert false_order_probability(gap, cases, *sds, r) == pytest.approx(expected, rel=1e-9)


def test_a_gap_of_half_a_point_on_the_left_atrium_is_false_with_21_percent():
    assert round(false_order_probability(0.5, 20, 3.5, 3.5, 0.7), 2) == 0.21


def test_it_takes_arrays_and_has_no_answer_where_every_difference_is_the_same():
    found = false_order_probability(np.array([0.0, 1.0, -1.0]), 20, 3.0, 3.0, 0.5)
    assert found[0] == 0.5 and found[1] < 0.5 and found[1] + found[2] == pytest.approx(1)
    assert np.isnan(false_order_probability(1.0, 20, 3.0, 3.0, 1.0))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: false_order_probability(1, 1, 3, 3, 0.5), "cases is 1: give at least 2"),
        (lambda: false_order_probability(1, 20, -3, 3, 0.5), "must not be negative"),
        (lambda: false_order_probability(1, 20, 3, np.array([3, -3]), 0.5), "must not be negative"),
        (lambda: false_order_probability(1, 20, 3, 3, 1.5), "between -1 and 1"),
        (lambda: sd_of_mean(101.0, 0.3), "between 0 and 100 percent"),
        (lambda: sd_factor(np.array([0.0, 100.0]), np.array([1.0, 1.0])), "no run has a mean"),
    ],
)
def test_what_would_give_a_wrong_number_raises(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_polynomial_is_a_least_squares_fit_and_0_at_both_ends():
    rng = np.random.default_rng(0)
    means, sds = rng.uniform(40, 95, 30), rng.uniform(2, 20, 30)
    (expected,), _ = optimize.curve_fit(lambda mean, k: k * mean * (1 - mean / 100), means, sds)
    factor = sd_factor(means, sds)
    assert factor == pytest.approx(expected, rel=1e-6)
    assert sd_of_mean(np.array([0, 100, 90]), factor) == pytest.approx([0, 0, 9 * factor])
