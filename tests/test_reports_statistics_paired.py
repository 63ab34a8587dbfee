"""The paired t-test and Wilcoxon's test over cases."""

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.statistics import WilcoxonTest, paired_t_test, wilcoxon


def series(*values):
    return pd.Series(values, index=[f"c{n}" for n in range(len(values))])


def test_agrees_with_the_one_sample_test_of_the_differences():
    rng = np.random.default_rng(0)
    first, second = series(*rng.normal(1, 1, 20)), series(*rng.normal(0, 1, 20))
    test = paired_t_test(first, second)
    differences = (first - second).to_numpy()
    standard_error = differences.std(ddof=1) / np.sqrt(20)
    reach = stats.t.ppf(0.975, 19) * standard_error
    assert test.n == 20 and test.reason == ""
    assert test.p == pytest.approx(2 * stats.t.sf(abs(differences.mean()) / standard_error, 19))
    assert (test.low, test.high) == pytest.approx((differences.mean() - reach, differences.mean() + reach))
    assert test.dz == pytest.approx(differences.mean() / differences.std(ddof=1))


def test_pairs_by_case_not_by_position():
    first, second = series(1.0, 2.0, 4.0), series(0.5, 1.0, 2.0)
    assert paired_t_test(first, second[::-1]) == paired_t_test(first, second)


def test_cases_without_both_values_are_left_out():
    test = paired_t_test(series(1.0, 2.0, 4.0, 9.0), series(0.5, 1.0, 2.0, np.nan))
    assert test == paired_t_test(series(1.0, 2.0, 4.0), series(0.5, 1.0, 2.0))


@pytest.mark.parametrize(
    "first, second, n, difference, reason",
    [
        (series(), series(), 0, np.nan, "no case in common"),
        (series(0.9), series(0.7), 1, 0.2, "fewer than two cases"),
        (series(0.9, 0.8, 0.7), series(0.7, 0.6, 0.5), 3, 0.2, "the difference is the same in every case"),
        (series(0.9, 0.8), series(0.9, 0.8), 2, 0.0, "the difference is the same in every case"),
    ],
)
def test_degenerate_input_gives_a_reason_and_no_warning(first, second, n, difference, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = paired_t_test(first, second)
    assert (test.n, test.reason) == (n, reason)
    assert test.difference == pytest.approx(difference, nan_ok=True)
    assert np.isnan([test.low, test.high, test.dz, test.p]).all()


def test_wilcoxon_agrees_with_counting_sign_patterns():
    differences = np.array([1.0, -2.0, 3.0, 4.0, 5.0, 6.0])  # ranks 1 to 6, the negative ones sum to 2
    sums = [
        sum(rank for rank, sign in zip(range(1, 7), signs, strict=True) if sign) for signs in product((0, 1), repeat=6)
    ]
    expected = 2 * np.mean(np.array(sums) <= 2)
    assert wilcoxon(series(*differences), series(*np.zeros(6))) == WilcoxonTest(6, pytest.approx(expected))


def test_wilcoxon_pairs_by_case_and_leaves_out_cases_without_both_values():
    first, second = series(1.0, 2.0, 4.0, 9.0, np.inf), series(0.5, 1.0, 2.5, np.nan, 3.0)
    test = wilcoxon(first, second[::-1])
    assert test == wilcoxon(first[:3], second[:3]) and test.n == 3 and test.reason == ""


@pytest.mark.parametrize(
    "first, second, n, reason",
    [
        (series(), series(), 0, "no case in common"),
        (series(0.9), series(0.7), 1, "fewer than two cases"),
        (series(0.9, 0.8, 0.7), series(0.9, 0.8, 0.7), 3, "no case differs"),
    ],
)
def test_wilcoxon_gives_a_reason_and_no_warning(first, second, n, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = wilcoxon(first, second)
    assert (test.n, test.reason) == (n, reason) and np.isnan(test.p)


def test_wilcoxon_with_ties_and_zeros_has_a_p_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < wilcoxon(series(3, 2, 2, 0, 1, 2, 2), series(1, 1, 1, 0, 2, 0, 1)).p < 1
