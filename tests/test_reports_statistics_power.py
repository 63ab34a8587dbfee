"""Detectable differences and the standard deviations that they are computed from."""

import warnings

import numpy as np
import pytest
from helpers.score_tables import score_table
from statsmodels.stats.power import TTestPower

from reports.statistics import SimulatedDesign, Spread, detectable_difference, simulate_scores, spread
from reports.statistics.simulation import CASES, seed_aware_rate


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
    design = SimulatedDesign((seeds, seeds), (seed_sd, seed_sd), 1.0, residual_sd)
    case_sd = np.sqrt(2 * (1.0 + residual_sd**2 / seeds))
    gap = detectable_difference(CASES, case_sd, seeds, seed_sd, residual_sd=residual_sd)
    assert 0.77 < seed_aware_rate(*simulate_scores(design, 4000, rng, gap)) < 0.83


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
    assert spread(score_table([[1, 3], [3, 7]]), score_table([[0, 0], [2, 0]])) == Spread(
        pytest.approx(np.sqrt(8)), pytest.approx(np.sqrt((4.5 - 0.5 + 0.5 - 0.5) / 2)), 1.0
    )
    design = SimulatedDesign((400, 400), (0.8, 0.8), 1.0)
    first, second = (score_table(scores[0]) for scores in simulate_scores(design, 1, np.random.default_rng(0)))
    estimated = spread(first, second)
    assert (estimated.seed_sd, estimated.residual_sd) == pytest.approx((0.8, 1.0), rel=0.06)


def test_spread_says_what_is_not_known():
    one, two = score_table([[1, 3, 2]]), score_table([[0, 0, 1], [2, 0, 1]])
    alone = spread(one, two)
    assert alone.case_sd == pytest.approx(np.std([0, 3, 1], ddof=1))
    assert np.isnan([alone.seed_sd, alone.residual_sd]).all()
    assert np.isnan(spread(one[["c0"]], two).case_sd)
    assert spread(score_table([[1, 2], [1, 2]]), score_table([[0, 0], [0, 0]])).seed_sd == 0
