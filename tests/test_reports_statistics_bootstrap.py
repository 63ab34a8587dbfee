"""The bootstrap over runs and cases: the interval of a difference, and how stable ranks are."""

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table

from reports.statistics import bootstrap_weights, effect_interval, ranking, seed_aware_test
from reports.statistics.bootstrap import resampled_differences


def random_tables(*means, runs=3, cases=20, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 5, cases)
    return [
        score_table(
            mean + shared + rng.normal(0, 1, cases) + rng.normal(0, 0.4, (runs, 1)) + rng.normal(0, 1, (runs, cases))
        )
        for mean in means
    ]


def test_interval_of_two_runs_and_two_cases_is_that_of_all_resamples():
    first, second = score_table([[1, 2], [4, 8]]), score_table([[0, 1], [0, 3]])
    # a resample has one run of each and one case: 1, 4 or 2, 8 minus 0, 0 or 1, 3
    assert effect_interval(first, second) == pytest.approx((-1, 7))


def test_resampled_means_vary_as_the_unbiased_estimates_say():
    first, second = np.array([0.1, 0.9, 0.4]), np.array([-1.0, 0.3, 0.2, -2])
    rng = np.random.default_rng(0)
    weights = bootstrap_weights(rng, 40_000, 5, 3, 4)
    resampled = resampled_differences(np.tile(first[:, None], 5), np.tile(second[:, None], 5), weights)
    assert resampled.var() == pytest.approx(first.var(ddof=1) / 3 + second.var(ddof=1) / 4, rel=0.03)
    cases = np.array([[0.0, 1, 5, 2, 7, 1]])
    resampled = resampled_differences(cases, np.zeros((1, 6)), bootstrap_weights(rng, 40_000, 6, 1, 1))
    assert resampled.var() == pytest.approx(cases.var(ddof=1) / 6, rel=0.03)


def test_what_both_methods_share_in_a_case_does_not_widen_the_interval():
    first, second = random_tables(1, 0)
    shared = np.linspace(0, 100, 20)
    assert effect_interval(first + shared, second + shared) == pytest.approx(effect_interval(first, second))


def test_interval_is_like_the_seed_aware_tests_and_the_same_each_time():
    first, second = random_tables(1, 0, runs=10)
    test, interval = seed_aware_test(first, second), effect_interval(first, second, resamples=20_000)
    assert interval == pytest.approx((test.low, test.high), abs=0.15)
    assert effect_interval(first, second) == effect_interval(first, second)
    assert effect_interval(first, second, seed=1) != effect_interval(first, second)


@pytest.mark.parametrize(
    "first, second", [(score_table([[1, 2]]), score_table([[1, 2], [3, 4]])), (score_table([[1], [2]]),) * 2]
)
def test_interval_needs_two_runs_and_two_cases(first, second):
    assert np.isnan(effect_interval(first, second)).all()


def test_methods_far_apart_keep_their_ranks():
    scores = dict(zip(["B", "A", "C"], random_tables(50, 80, 20), strict=True))
    table = ranking(scores)
    assert table.index.tolist() == ["A", "B", "C"] and table.index.name == "method"
    assert table[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    assert table["first"].tolist() == [1, 0, 0]
    assert table["mean"].tolist() == pytest.approx([scores[method].to_numpy().mean() for method in "ABC"])
    assert table["runs"].eq(3).all() and table["cases"].eq(20).all()
    assert ranking(scores, larger_is_better=False).index.tolist() == ["C", "B", "A"]


def test_methods_close_together_change_places_and_the_shares_sum_to_one():
    scores = dict(zip("ABC", random_tables(80, 80.2, 79.8), strict=True))
    table = ranking(scores)
    assert table["first"].sum() == pytest.approx(1) and table["first"].between(0.05, 0.95).any()
    assert (table["rank_low"] <= table["rank"]).all() and (table["rank"] <= table["rank_high"]).all()
    assert (table["rank_low"] < table["rank_high"]).any()


def test_ranking_is_the_same_each_time_and_in_any_order():
    scores = dict(zip("ABC", random_tables(80, 80.2, 79.8), strict=True))
    table = ranking(scores)
    pd.testing.assert_frame_equal(table, ranking(scores))
    pd.testing.assert_frame_equal(table, ranking(dict(reversed(scores.items()))))


def test_the_same_run_twice_shares_its_rank():
    table = ranking({"A": score_table([[1, 2, 3]]), "B": score_table([[1, 2, 3]])})
    assert table[["rank", "rank_low", "rank_high", "first"]].to_numpy().tolist() == [[1.5, 1.5, 1.5, 0.5]] * 2


def test_ranking_uses_the_cases_that_all_have_and_says_how_many():
    first, second, third = random_tables(80, 81, 82)
    first.iloc[0, 3] = np.nan
    table = ranking({"A": first, "B": second, "C": third.drop(columns="c7")})
    assert table["cases"].eq(18).all()
    empty = ranking({"A": score_table([[np.nan, 1]]), "B": score_table([[1, np.nan]])})
    assert empty["cases"].eq(0).all() and empty["rank"].isna().all() and empty["first"].isna().all()
    assert ranking({}).empty
