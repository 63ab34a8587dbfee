"""The middle, the tails, and the probability of improvement, against scipy and written-out computations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table
from scipy import stats

from reports.statistics import interquartile_mean, probability_of_improvement, sd_interval
from reports.statistics.interval_simulation import SHAPES, sd_missed

DOCS = Path(__file__).parents[1] / "docs" / "calibration.md"


def test_the_interquartile_mean_is_of_the_middle_half():
    values = np.random.default_rng(0).normal(80, 10, (3, 12))
    middle = np.sort(values.ravel())[9:27]
    assert interquartile_mean(values) == pytest.approx(middle.mean())
    assert interquartile_mean(np.append(values, np.nan)) == pytest.approx(middle.mean())
    assert np.isnan(interquartile_mean(np.array([np.nan])))


@pytest.mark.parametrize("larger_is_better", [True, False])
def test_the_probability_of_improvement_is_the_mean_of_the_cases_mann_whitney_statistics(larger_is_better):
    rng = np.random.default_rng(0)
    first, second = (score_table(rng.integers(0, 6, (runs, 9))) for runs in (3, 4))
    u = [stats.mannwhitneyu(first[case], second[case]).statistic / 12 for case in first]
    expected = np.mean(u) if larger_is_better else 1 - np.mean(u)
    assert probability_of_improvement(first, second, larger_is_better) == pytest.approx(expected)


def test_every_run_counts_whatever_its_draw_and_cases_that_lack_a_value_do_not():
    first = score_table([[2, 2], [0, 0]], pd.MultiIndex.from_product([["first"], [1, 2]], names=["draw", "trial"]))
    second = score_table([[1, np.nan], [1, 1]], pd.MultiIndex.from_product([[0, 1], [1]], names=["draw", "trial"]))
    assert probability_of_improvement(first, second) == 0.5
    assert np.isnan(probability_of_improvement(first[["c0"]], second[["c1"]]))


def test_the_interval_of_a_standard_deviation_is_bonetts():
    values = np.array([15.83, 16.01, 16.24, 16.42, 15.33, 15.44, 16.88, 16.31])
    n, z = len(values), stats.norm.ppf(0.975)
    c = n / (n - z)
    m = stats.trim_mean(values, 1 / (2 * (n - 4) ** 0.5))
    kurtosis = n * sum((values - m) ** 4) / sum((values - values.mean()) ** 2) ** 2
    error = c * ((kurtosis - (n - 3) / n) / (n - 1)) ** 0.5
    variances = [np.exp(np.log(c * values.var(ddof=1)) + sign * z * error) for sign in (-1, 1)]
    assert sd_interval(values) == pytest.approx(tuple(np.sqrt(variances)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_docs_say_how_often_the_interval_of_a_standard_deviation_is_wrong(shape):
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith(f"| {shape} |")]
    assert [int(cells[1]) for cells in rows] == [12, 20, 40]
    for _, cases, bonett, textbook in rows:
        rates = sd_missed(shape, int(cases), 800, np.random.default_rng(1))
        assert rates == pytest.approx((float(bonett) / 100, float(textbook) / 100), abs=0.04)
        assert float(bonett) < 13


@pytest.mark.parametrize("values", [[1.0, 2, 3, 4], [5.0] * 9, [0.1 + 0.2, 0.3, 0.3, 0.3, 0.3]])
def test_few_values_and_copies_of_one_have_no_interval(values):
    assert np.isnan(sd_interval(np.array(values))).all()
