"""Tests between two trained checkpoints, which know no source of variation but the cases; and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats


@dataclass(frozen=True)
class PairedTest:
    """A paired t-test over cases.

    n: cases; difference: mean of first minus second; low, high: its 95 % confidence interval; dz: mean difference over
    the standard deviation of the differences; p: two-sided. What cannot be computed is NaN and `reason` says why.
    """

    n: int
    difference: float
    low: float = np.nan
    high: float = np.nan
    dz: float = np.nan
    p: float = np.nan
    reason: str = ""


@dataclass(frozen=True)
class WilcoxonTest:
    """A signed-rank test over cases. n: cases; p: two-sided, NaN where `reason` says why it cannot be computed."""

    n: int
    p: float = np.nan
    reason: str = ""


def paired_t_test(first: pd.Series, second: pd.Series) -> PairedTest:
    """Compare two methods by one value a case each, averaged over seeds (index: case).

    A case that only one of them has a value for is left out.

    The cases are the only source of variation this test knows: it asks whether the trained checkpoints behind the two
    columns differ on further cases, not whether the methods would differ if trained again.
    """
    pairs = _pairs(first, second)
    if len(pairs) == 0:
        return PairedTest(0, np.nan, reason="no case in common")
    differences = pairs[:, 0] - pairs[:, 1]
    if len(pairs) < 2:
        return PairedTest(len(pairs), differences.mean(), reason="fewer than two cases")
    # equal up to rounding: the t statistic would be a ratio of rounding errors
    if np.ptp(differences) <= 1e-12 * max(1.0, np.abs(pairs).max()):
        return PairedTest(len(pairs), differences.mean(), reason="the difference is the same in every case")
    # written out, because scipy's takes twenty times as long, and a figure of all pairs asks for thousands
    n, difference, sd = len(pairs), float(differences.mean()), float(differences.std(ddof=1))
    error, df = sd / np.sqrt(n), n - 1
    reach = special.stdtrit(df, 0.975) * error
    return PairedTest(
        n=n,
        difference=difference,
        low=float(difference - reach),
        high=float(difference + reach),
        dz=difference / sd,
        p=float(2 * special.stdtr(df, -abs(difference / error))),
    )


def wilcoxon(first: pd.Series, second: pd.Series) -> WilcoxonTest:
    """Wilcoxon's signed-rank test of the same values as `paired_t_test` takes, for differences that are not normal.

    As scipy computes it: cases without any difference are left out of the ranking, p is exact up to 50 cases unless
    differences are tied or zero. It asks the same as the paired t-test does, about checkpoints, not methods. With five
    cases or fewer p cannot fall below 0.05.
    """
    pairs = _pairs(first, second)
    if len(pairs) == 0:
        return WilcoxonTest(0, reason="no case in common")
    if len(pairs) < 2:
        return WilcoxonTest(len(pairs), reason="fewer than two cases")
    differences = pairs[:, 0] - pairs[:, 1]
    if not differences.any():
        return WilcoxonTest(len(pairs), reason="no case differs")
    return WilcoxonTest(len(pairs), float(stats.wilcoxon(differences).pvalue))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-adjusted p values; NaN stays NaN and is not counted as a comparison."""
    # written out, because statsmodels' collects garbage at every call, which takes longer than all else here
    adjusted = np.asarray(p_values, dtype=float).copy()
    order = np.argsort(adjusted)[: np.isfinite(adjusted).sum()]  # NaN sorts last
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def _pairs(first: pd.Series, second: pd.Series) -> np.ndarray:
    """(cases, 2): the cases that both have a value for."""
    if not first.index.equals(second.index):
        first, second = first.align(second, join="inner")
    pairs = np.column_stack([first.to_numpy(dtype=float), second.to_numpy(dtype=float)])
    return pairs[np.isfinite(pairs).all(axis=1)]
