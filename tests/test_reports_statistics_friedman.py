"""Friedman's test and Nemenyi's critical difference."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import score_table
from scipy import stats

from reports.statistics import critical_difference, critical_distance


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
        (score_table(np.arange(20).reshape(10, 2)), 10, "fewer than 3 methods"),
        (score_table(np.arange(12).reshape(4, 3)), 4, "fewer than 5 cases with a value for every method"),
        (score_table([[1, 2, np.nan]] * 3 + [[1, 2, 3]] * 4), 4, "fewer than 5 cases with a value for every method"),
        (score_table(np.ones((6, 3))), 6, "the methods are tied in every case"),
    ],
)
def test_critical_difference_gives_a_reason_and_no_warning(per_case, n, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = critical_difference(per_case)
    assert (result.n, result.reason) == (n, reason)
    assert np.isnan([result.p, result.distance]).all() and result.pairwise.empty


@pytest.mark.parametrize("methods, q", [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_distance_has_the_quantiles_of_table_5_of_demsar_2006(methods, q):
    assert critical_distance(methods, 14) == pytest.approx(q * np.sqrt(methods * (methods + 1) / (6 * 14)), rel=5e-4)
