"""Tests between two methods scored on the same cases."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests


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


def paired_t_test(first: pd.Series, second: pd.Series) -> PairedTest:
    """Compare two methods by one value a case each, averaged over seeds (index: case).

    A case that only one of them has a value for is left out.

    The cases are the only source of variation this test knows: it asks whether the trained checkpoints behind the two
    columns differ on further cases, not whether the methods would differ if trained again.
    """
    pairs = pd.concat([first, second], axis=1, join="inner").dropna().to_numpy(dtype=float)
    if len(pairs) == 0:
        return PairedTest(0, np.nan, reason="no case in common")
    differences = pairs[:, 0] - pairs[:, 1]
    if len(pairs) < 2:
        return PairedTest(len(pairs), differences.mean(), reason="fewer than two cases")
    # equal up to rounding: the t statistic would be a ratio of rounding errors
    if np.ptp(differences) <= 1e-12 * max(1.0, np.abs(pairs).max()):
        return PairedTest(len(pairs), differences.mean(), reason="the difference is the same in every case")
    result = stats.ttest_rel(pairs[:, 0], pairs[:, 1])
    interval = result.confidence_interval(0.95)
    return PairedTest(
        n=len(pairs),
        difference=float(differences.mean()),
        low=float(interval.low),
        high=float(interval.high),
        dz=float(differences.mean() / differences.std(ddof=1)),
        p=float(result.pvalue),
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-adjusted p values; NaN stays NaN and is not counted as a comparison."""
    adjusted = np.asarray(p_values, dtype=float).copy()
    tested = np.isfinite(adjusted)
    if tested.any():
        adjusted[tested] = multipletests(adjusted[tested], method="holm")[1]
    return adjusted
