"""The seed-aware test where methods share their draws of the labelled cases."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from reports.statistics import detectable_difference, expected_pool, run_pool, seed_aware_test, spread
from reports.statistics.family_simulation import FamilyDesign, pair_p_values, simulate_family, star_power
from reports.statistics.seed_aware import crossed_statistics, seed_aware_statistics

DRAWS = list("01234")
CASES = [f"c{number}" for number in range(12)]


def table(rng, draws, seeds=(1,), shared=None):
    """A score table of runs by cases, and what each draw adds to it in common with other methods."""
    index = pd.MultiIndex.from_product([draws, seeds], names=["draw", "seed"])
    scores = rng.normal(80, 1, (len(index), len(CASES))) + rng.normal(0, 2, len(CASES))
    if shared is not None:
        scores += np.repeat(shared, len(seeds))[:, None]
    return pd.DataFrame(scores, index=index, columns=CASES)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, 5)
    return table(rng, DRAWS, (1, 2), shared), table(rng, DRAWS, (1, 2, 3), shared)


def test_it_is_the_two_way_analysis_of_variance_of_the_differences(pair):
    first, second = (scores.groupby("draw").mean() for scores in pair)
    long = (first - second).stack().rename("d").rename_axis(["draw", "case"]).reset_index()
    squares = anova_lm(smf.ols("d ~ C(draw) + C(case)", long).fit())["mean_sq"]
    draws, cases = first.shape
    by_case, by_draw, residual = squares["C(case)"] / draws, squares["C(draw)"] / cases, squares["Residual"]
    shares = by_case / cases, by_draw / draws, residual / (draws * cases)
    variance = max(shares[0], shares[1], shares[0] + shares[1] - shares[2])
    df = min(variance**2 / (shares[1] ** 2 / (draws - 1)), cases - 1)
    test = seed_aware_test(*pair)
    assert test.crossed and test.seeds == (5, 5)
    assert (test.error, test.df) == pytest.approx((np.sqrt(variance), df))
    assert test.p == pytest.approx(2 * stats.t.sf(abs(test.difference) / test.error, df))
    assert test.high - test.difference == pytest.approx(stats.t.ppf(0.975, df) * test.error)


def test_draws_are_paired_by_name_whatever_their_order(pair):
    first, second = pair
    found, expected = (astuple(seed_aware_test(first, of)) for of in (second.iloc[::-1], second))
    assert found[:2] == expected[:2] and found[2:-2] == pytest.approx(expected[2:-2]) and found[-1]


def test_fewer_or_other_draws_and_seeds_alone_are_not_paired(pair):
    first, second = pair
    lost = second.copy()
    lost.loc["4"] = np.nan
    renamed = second.rename(index={"4": "9"}, level="draw")
    for a, b in ((first, lost), (first, renamed), (first.loc[["0", "1", "2"]], second.loc[["0", "1", "2"]])):
        assert not seed_aware_test(a, b).crossed
    assert not seed_aware_test(first.loc["0"], second.loc["0"]).crossed


def test_a_family_pairs_draws_only_if_all_of_it_shares_them(pair):
    first, second = pair
    third = table(np.random.default_rng(1), DRAWS)
    pool = run_pool([first, second, third])
    assert seed_aware_test(first, second, pool).crossed and spread(first, second, pool).crossed
    other = run_pool([first, second, third.rename(index={"4": "9"}, level="draw")])
    assert other.differences is None and not seed_aware_test(first, second, other).crossed
    masks = pd.DataFrame(np.ones((1, len(CASES))), columns=CASES)  # one run of another tool has no draws
    assert run_pool([first, second, third, masks]) == pool


def test_the_pool_is_that_of_the_simulated_families():
    design = FamilyDesign((5,) * 4, len(CASES), (0.8,) * 4, interaction_sd=1.0, residual_sd=1.0)
    scores = simulate_family(design, 3, np.random.default_rng(0))
    p = pair_p_values(scores, np.array([0, 0]), np.array([1, 3]), pooled=True, crossed=True)
    for family in range(3):
        index = pd.MultiIndex.from_product([DRAWS, [1]], names=["draw", "seed"])
        tables = [pd.DataFrame(of_method[family].astype(float), index, CASES) for of_method in scores]
        tests = [seed_aware_test(tables[0], tables[other], run_pool(tables)) for other in (1, 3)]
        assert [test.p for test in tests] == pytest.approx(p[family].tolist(), rel=1e-4)


def test_what_a_draw_does_to_both_methods_no_longer_hides_a_difference():
    rng = np.random.default_rng(1)
    replications, draws, cases = 2000, 5, 20
    shared = rng.normal(0, 3, (replications, draws, 1))
    first, second = (
        shared + rng.normal(0, 1, (replications, draws, 1)) + rng.normal(0, 1, (replications, draws, cases))
        for _ in range(2)
    )
    for gap, nested, crossed in ((0, (0, 0.03), (0.03, 0.06)), (2, (0.03, 0.1), (0.6, 0.75))):
        assert nested[0] <= (seed_aware_statistics(first + gap, second)[3] < 0.05).mean() <= nested[1]
        assert crossed[0] <= (crossed_statistics(first + gap, second)[3] < 0.05).mean() <= crossed[1]


@pytest.mark.parametrize("draws, methods, draw_sd", [(5, 8, 0.8), (10, 4, 3.0)])
def test_a_family_finds_its_detectable_difference_in_80_percent(draws, methods, draw_sd):
    design = FamilyDesign((draws,) * methods, 20, (draw_sd,) * methods, 1.0, 1.0)
    pool = expected_pool(methods, 20, draws, draw_sd, residual_sd=1)
    gap = detectable_difference(
        20, np.sqrt(2 * (1 + 1 / draws)), draws, draw_sd, residual_sd=1, crossed=True, pool=pool,
        comparisons=methods - 1,
    )  # fmt: skip
    scores = simulate_family(design, 4000, np.random.default_rng(4), gap)
    assert 0.76 < star_power(scores, crossed=True) < 0.86
