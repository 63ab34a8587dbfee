"""The seed-aware test against hand calculations and against the tests that it becomes in special cases."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table
from scipy import stats

from reports.statistics import paired_t_test, seed_aware_test
from reports.statistics.seed_aware import ONE_SEED, seed_aware_statistics


def random_tables(runs=(3, 4), cases=20, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(85, 5, cases)
    return [
        score_table(
            shared + rng.normal(0, 1, cases) + rng.normal(0, 0.8, (count, 1)) + rng.normal(0, 1, (count, cases))
        )
        for count in runs
    ]


def test_agrees_with_a_calculation_by_hand():
    first, second = score_table([[1, 3], [3, 7]]), score_table([[0, 0], [2, 0]])
    # case differences 1, 5: variance 8; run means 2, 5 and 0, 1: variances 4.5, 0.5; residuals +-0.5: mean squares 1
    test = seed_aware_test(first, second)
    variance = 8 / 2 + (4.5 + 0.5) / 2 - (1 + 1) / (2 * 2)
    df = 1  # 36 / (2.25^2 + 0.25^2) is more than the cases allow
    assert (test.seeds, test.cases, test.difference, test.reason) == ((2, 2), 2, 3.0, "")
    assert test.df == df
    assert test.p == pytest.approx(2 * stats.t.sf(3 / np.sqrt(variance), df))
    reach = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert (test.low, test.high) == pytest.approx((3 - reach, 3 + reach))
    # method by case 8 - 1/2 - 1/2; runs 4.5 - 1/2 and 0.5 - 1/2; residuals 1 and 1
    assert test.dz == pytest.approx(3 / np.sqrt(7 + 4 + 0 + 2))


def test_with_seeds_that_change_nothing_it_is_the_paired_t_test():
    first, second = (scores.iloc[[0, 0, 0]] for scores in random_tables())
    test, paired = seed_aware_test(first, second), paired_t_test(first.iloc[0], second.iloc[0])
    assert test.df == pytest.approx(19)
    expected = (paired.difference, paired.low, paired.high, paired.p, paired.dz)
    assert (test.difference, test.low, test.high, test.p, test.dz) == pytest.approx(expected)


def test_degrees_of_freedom_of_an_example_by_hand():
    cases = np.array(
        [-3.0, -1, 0, 1, 3, 0, 0, 0, 0]
    )  # as the case differences of the first method, mean 0, variance 2.5
    first, second = cases + np.array([[0.0], [2], [4]]), np.array([[0.0], [1]]) + np.zeros(9)
    test = seed_aware_test(score_table(first), score_table(second))
    variance = 2.5 / 9 + 4 / 3 + 0.5 / 2  # no residuals
    assert test.df == pytest.approx(variance**2 / ((4 / 3) ** 2 / 2 + (0.5 / 2) ** 2 / 1))
    assert test.difference == pytest.approx(1.5)
    assert test.p == pytest.approx(2 * stats.t.sf(1.5 / np.sqrt(variance), test.df))


def test_with_cases_that_all_differ_alike_it_is_welchs_t_test_over_runs():
    case, first, second = np.linspace(80, 93, 9), np.array([0.1, 0.9, 0.4]), np.array([-1.0, 0.3, 0.2, -2, 0.1])
    test = seed_aware_test(score_table(case + first[:, None]), score_table(case + second[:, None]))
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert (test.p, test.df) == pytest.approx((welch.pvalue, welch.df))
    assert (test.low, test.high) == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_p_is_never_below_that_of_the_paired_t_test_nor_the_error_below_that_over_runs():
    rng = np.random.default_rng(0)  # residuals alone: the estimate without the floor is often smaller
    first, second = rng.normal(size=(500, 3, 20)), rng.normal(size=(500, 3, 20))
    _, error, df, p = seed_aware_statistics(first, second)
    paired = stats.ttest_rel(first.mean(1), second.mean(1), axis=1).pvalue
    by_run = np.sqrt(first.mean(2).var(1, ddof=1) / 3 + second.mean(2).var(1, ddof=1) / 3)
    assert (p > paired - 1e-12).all() and (error >= 0.999999 * by_run).all() and (df <= 19).all()
    assert 0.05 < np.isclose(p, paired).mean() < 0.5


def test_frames_and_stacked_arrays_give_the_same():
    first, second = random_tables()
    stacked = seed_aware_statistics(np.stack([first, first + 1]), np.stack([second, second]))
    test = seed_aware_test(first, second)
    assert (test.df, test.p) == pytest.approx((stacked[2][0], stacked[3][0]))
    test = seed_aware_test(first + 1, second)
    assert (test.df, test.p) == pytest.approx((stacked[2][1], stacked[3][1]))


def test_swapping_the_methods_changes_the_sign_and_the_order_of_runs_and_cases_nothing():
    first, second = random_tables()
    test, swapped = seed_aware_test(first, second), seed_aware_test(second, first)
    assert swapped.seeds == test.seeds[::-1] == (4, 3)
    assert (swapped.difference, swapped.low, swapped.high) == pytest.approx((-test.difference, -test.high, -test.low))
    assert (swapped.p, swapped.dz) == pytest.approx((test.p, -test.dz))
    shuffled = seed_aware_test(first.iloc[::-1, ::-1], second)
    assert (shuffled.p, shuffled.df) == pytest.approx((test.p, test.df))


def test_a_case_with_a_gap_is_left_out_and_so_is_a_run_without_values():
    first, second = random_tables()
    gaps = first.copy()
    gaps.iloc[1, 4] = np.nan
    gaps.loc["failed"] = np.nan
    test = seed_aware_test(gaps, second)
    assert test.seeds == (3, 4) and test.cases == 19
    assert test == seed_aware_test(first.drop(columns="c4"), second.drop(columns="c4"))


def test_runs_that_share_a_draw_of_the_labelled_cases_count_as_one():
    first, second = random_tables((6, 6))
    index = pd.MultiIndex.from_product([[1, 2, 3], ["first", "0"]], names=["seed", "draw"])
    first.index, second.index = index, index
    test = seed_aware_test(first, second)
    assert test.seeds == (2, 2)
    by_draw = seed_aware_test(*(score_table([scores[0::2].mean(), scores[1::2].mean()]) for scores in (first, second)))
    assert (test.p, test.df, test.low, test.dz) == pytest.approx((by_draw.p, by_draw.df, by_draw.low, by_draw.dz))
    one_draw = seed_aware_test(first.xs("0", level="draw", drop_level=False), second.xs("0", level="draw"))
    assert one_draw.seeds == (3, 3)


@pytest.mark.parametrize(
    "first, second, seeds, cases, difference, reason",
    [
        (score_table([[0.9, 0.8]]), score_table([[0.7, 0.6], [0.5, 0.4]]), (1, 2), 2, 0.3, ONE_SEED),
        (score_table([[0.9], [0.8]]), score_table([[0.7], [0.6]]), (2, 2), 1, 0.2, "fewer than two cases"),
        (score_table([[0.9, 0.8]] * 3), score_table([[0.7, 0.6]] * 3), (3, 3), 2, 0.2,
         "the difference is the same in every case and every run"),
        (score_table([[0.9, 0.8]] * 3), score_table([[0.9, 0.8]] * 3), (3, 3), 2, 0.0,
         "the difference is the same in every case and every run"),
        (score_table([[0.9, np.nan]] * 2), score_table([[np.nan, 0.8]] * 2), (2, 2), 0, np.nan,
         "no case with a value in every run"),
        (score_table([[np.nan, np.nan]]), score_table([[0.9, 0.8]] * 2), (0, 2), 2, np.nan, "no run with a value"),
    ],
)  # fmt: skip
def test_degenerate_input_gives_a_reason_and_no_warning(first, second, seeds, cases, difference, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = seed_aware_test(first, second)
    assert (test.seeds, test.cases, test.reason) == (seeds, cases, reason)
    assert test.difference == pytest.approx(difference, nan_ok=True)
    assert np.isnan([test.low, test.high, test.df, test.p, test.dz]).all()


def test_the_same_scores_twice_differ_by_nothing():
    first, _ = random_tables()
    test = seed_aware_test(first, first)
    assert (test.difference, test.p, test.dz, test.reason) == (0, 1, 0, "")
