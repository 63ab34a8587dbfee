import doctest
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from reports.statistics import (
    Spread,
    critical_difference,
    detectable_difference,
    effect_interval,
    ranking,
    seed_aware_test,
    spread,
)
from reports.statistics.null_simulation import CASES, Setting, experiments, seed_aware_rate
from reports.statistics.resampling import resampled_differences, resampling_weights


def frame(rows):
    rows = np.asarray(rows, dtype=float)
    return pd.DataFrame(rows, columns=[f"c{n}" for n in range(rows.shape[1])])


def random_frames(*means, runs=3, cases=20, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 5, cases)
    return [
        frame(mean + shared + rng.normal(0, 1, cases) + rng.normal(0, 0.4, (runs, 1)) + rng.normal(0, 1, (runs, cases)))
        for mean in means
    ]


# the bootstrap interval


def test_interval_of_two_runs_and_two_cases_is_that_of_all_resamples():
    first, second = frame([[1, 2], [4, 8]]), frame([[0, 1], [0, 3]])
    # one run of each and one case are drawn: 1, 4 or 2, 8 minus 0, 0 or 1, 3
    assert effect_interval(first, second) == pytest.approx((-1, 7))


def test_resampled_means_vary_as_the_unbiased_estimates_say():
    first, second = np.array([0.1, 0.9, 0.4]), np.array([-1.0, 0.3, 0.2, -2])
    rng = np.random.default_rng(0)
    weights = resampling_weights(rng, 40_000, 5, 3, 4)
    resampled = resampled_differences(np.tile(first[:, None], 5), np.tile(second[:, None], 5), weights)
    assert resampled.var() == pytest.approx(first.var(ddof=1) / 3 + second.var(ddof=1) / 4, rel=0.03)
    cases = np.array([[0.0, 1, 5, 2, 7, 1]])
    resampled = resampled_differences(cases, np.zeros((1, 6)), resampling_weights(rng, 40_000, 6, 1, 1))
    assert resampled.var() == pytest.approx(cases.var(ddof=1) / 6, rel=0.03)


def test_what_both_methods_share_in_a_case_does_not_widen_the_interval():
    first, second = random_frames(1, 0)
    shared = np.linspace(0, 100, 20)
    assert effect_interval(first + shared, second + shared) == pytest.approx(effect_interval(first, second))


def test_interval_is_like_the_seed_aware_tests_and_the_same_each_time():
    first, second = random_frames(1, 0, runs=10)
    test, interval = seed_aware_test(first, second), effect_interval(first, second, draws=20_000)
    assert interval == pytest.approx((test.low, test.high), abs=0.15)
    assert effect_interval(first, second) == effect_interval(first, second)
    assert effect_interval(first, second, seed=1) != effect_interval(first, second)


@pytest.mark.parametrize("first, second", [(frame([[1, 2]]), frame([[1, 2], [3, 4]])), (frame([[1], [2]]),) * 2])
def test_interval_needs_two_runs_and_two_cases(first, second):
    assert np.isnan(effect_interval(first, second)).all()


# ranks


def test_methods_far_apart_keep_their_ranks():
    scores = dict(zip(["B", "A", "C"], random_frames(50, 80, 20), strict=True))
    table = ranking(scores)
    assert table.index.tolist() == ["A", "B", "C"] and table.index.name == "method"
    assert table[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    assert table["first"].tolist() == [1, 0, 0]
    assert table["mean"].tolist() == pytest.approx([scores[method].to_numpy().mean() for method in "ABC"])
    assert table["runs"].eq(3).all() and table["cases"].eq(20).all()
    assert ranking(scores, larger_is_better=False).index.tolist() == ["C", "B", "A"]


def test_methods_close_together_change_places_and_the_shares_sum_to_one():
    scores = dict(zip("ABC", random_frames(80, 80.2, 79.8), strict=True))
    table = ranking(scores)
    assert table["first"].sum() == pytest.approx(1) and table["first"].between(0.05, 0.95).any()
    assert (table["rank_low"] <= table["rank"]).all() and (table["rank"] <= table["rank_high"]).all()
    assert (table["rank_low"] < table["rank_high"]).any()


def test_ranking_is_the_same_each_time_and_in_any_order():
    scores = dict(zip("ABC", random_frames(80, 80.2, 79.8), strict=True))
    table = ranking(scores)
    pd.testing.assert_frame_equal(table, ranking(scores))
    pd.testing.assert_frame_equal(table, ranking(dict(reversed(scores.items()))))


def test_the_same_run_twice_shares_its_rank():
    table = ranking({"A": frame([[1, 2, 3]]), "B": frame([[1, 2, 3]])})
    assert table[["rank", "rank_low", "rank_high", "first"]].to_numpy().tolist() == [[1.5, 1.5, 1.5, 0.5]] * 2


def test_ranking_uses_the_cases_that_all_have_and_says_how_many():
    first, second, third = random_frames(80, 81, 82)
    first.iloc[0, 3] = np.nan
    table = ranking({"A": first, "B": second, "C": third.drop(columns="c7")})
    assert table["cases"].eq(18).all()
    empty = ranking({"A": frame([[np.nan, 1]]), "B": frame([[1, np.nan]])})
    assert empty["cases"].eq(0).all() and empty["rank"].isna().all() and empty["first"].isna().all()
    assert ranking({}).empty


# ranks within cases


def test_critical_difference_of_methods_in_one_order_in_every_case():
    base = np.linspace(70, 90, 5)
    per_case = pd.DataFrame({"B": base, "C": base - 1, "A": base + 1}, index=list("vwxyz"))
    result = critical_difference(per_case)
    assert (result.n, result.reason) == (5, "")
    assert result.mean_ranks.to_dict() == {"A": 1.0, "B": 2.0, "C": 3.0}
    assert result.mean_ranks.index.tolist() == list(result.pairwise) == list(result.pairwise.index) == ["A", "B", "C"]
    assert result.p == pytest.approx(np.exp(-5))  # chi2 = 12 * 5 / (3 * 4) * (1 + 0 + 1) = 10 with 2 degrees of freedom
    assert result.distance == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 5)), rel=1e-3)  # Demšar 2006, table 5
    assert result.pairwise.loc["A", "C"] < 0.05 < result.pairwise.loc["A", "B"]  # 2 and 1 apart, 1.48 is critical
    at_distance = stats.studentized_range.sf(result.distance * np.sqrt(12 * 5 / (3 * 4)), 3, np.inf)
    assert at_distance == pytest.approx(0.05)
    assert critical_difference(-per_case, larger_is_better=False).mean_ranks.equals(result.mean_ranks)


@pytest.mark.parametrize(
    "per_case, n, reason",
    [
        (frame(np.arange(20).reshape(10, 2)), 10, "fewer than 3 methods"),
        (frame(np.arange(12).reshape(4, 3)), 4, "fewer than 5 cases with a value for every method"),
        (frame([[1, 2, np.nan]] * 3 + [[1, 2, 3]] * 4), 4, "fewer than 5 cases with a value for every method"),
        (frame(np.ones((6, 3))), 6, "the methods are tied in every case"),
    ],
)
def test_critical_difference_gives_a_reason_and_no_warning(per_case, n, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = critical_difference(per_case)
    assert (result.n, result.reason) == (n, reason)
    assert np.isnan([result.p, result.distance]).all() and result.pairwise.empty


# power


@pytest.mark.parametrize("cases, comparisons, printed", [(20, 1, 0.66), (20, 6, 0.86), (54, 1, None), (5, 3, None)])
def test_detectable_difference_over_cases_agrees_with_statsmodels(cases, comparisons, printed):
    expected = TTestPower().solve_power(nobs=cases, alpha=0.05 / comparisons, power=0.8)
    assert detectable_difference(cases, 1.0, comparisons=comparisons) == pytest.approx(expected, rel=1e-4)
    assert detectable_difference(cases, 2.5, comparisons=comparisons) == pytest.approx(2.5 * expected, rel=1e-4)
    assert printed is None or expected == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("residual_sd", [0.5, 3.0])
def test_the_seed_aware_test_finds_the_detectable_difference_in_80_percent(seeds, seed_sd, residual_sd):
    rng = np.random.default_rng(1)
    setting = Setting((seeds, seeds), (seed_sd, seed_sd), 1.0, residual_sd)
    case_sd = np.sqrt(2 * (1.0 + residual_sd**2 / seeds))
    gap = detectable_difference(CASES, case_sd, seeds, seed_sd, residual_sd=residual_sd)
    assert 0.77 < seed_aware_rate(*experiments(setting, 4000, rng, gap)) < 0.83


def test_seeds_that_do_not_vary_leave_the_cases():
    by_cases = detectable_difference(20, 1.5)
    assert detectable_difference(20, 1.5, seeds=3, seed_sd=0.0) == pytest.approx(by_cases, rel=0.01)
    assert detectable_difference(20, 1.5, 5, 0.4) < detectable_difference(20, 1.5, 3, 0.4)
    assert detectable_difference(20, 0.0, 3, 0.0) == 0


@pytest.mark.parametrize("cases, seeds, seed_sd", [(1, None, 0.0), (20, 1, 0.4), (20, 3, np.nan)])
def test_detectable_difference_is_nan_where_it_is_not_known(cases, seeds, seed_sd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(detectable_difference(cases, 1.0, seeds, seed_sd))


def test_spread_of_an_example_by_hand_and_of_many_runs():
    # as in the seed-aware test: case differences 1 and 5; runs' variances 4.5 and 0.5, residuals 1 and 1
    assert spread(frame([[1, 3], [3, 7]]), frame([[0, 0], [2, 0]])) == Spread(
        pytest.approx(np.sqrt(8)), pytest.approx(np.sqrt((4.5 - 0.5 + 0.5 - 0.5) / 2)), 1.0
    )
    setting = Setting((400, 400), (0.8, 0.8), 1.0)
    first, second = (frame(scores[0]) for scores in experiments(setting, 1, np.random.default_rng(0)))
    estimated = spread(first, second)
    assert (estimated.seed_sd, estimated.residual_sd) == pytest.approx((0.8, 1.0), rel=0.06)


def test_spread_says_what_is_not_known():
    one, two = frame([[1, 3, 2]]), frame([[0, 0, 1], [2, 0, 1]])
    alone = spread(one, two)
    assert alone.case_sd == pytest.approx(np.std([0, 3, 1], ddof=1))
    assert np.isnan([alone.seed_sd, alone.residual_sd]).all()
    assert np.isnan(spread(one[["c0"]], two).case_sd)
    assert spread(frame([[1, 2], [1, 2]]), frame([[0, 0], [0, 0]])).seed_sd == 0


def test_the_figures_in_the_docs_are_what_the_functions_give():
    result = doctest.testfile(
        str(Path(__file__).parents[1] / "docs" / "statistics.md"), module_relative=False, encoding="utf-8"
    )
    assert result.attempted >= 5 and result.failed == 0
