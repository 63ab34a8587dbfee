"""Paired tests over cases: they compare two trained checkpoints, not two methods."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired t-test over cases.

    Attributes:
        n: number of cases.
        difference: mean of first minus second.
        low: lower end of its 95 % confidence interval.
        high: upper end of its 95 % confidence interval.
        dz: mean difference divided by the standard deviation of the differences.
        p: two-sided p value.
        reason: why some of these are NaN; empty if none is.
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
    """Result of Wilcoxon's signed-rank test over cases.

    Attributes:
        n: number of cases.
        p: two-sided p value.
        reason: why p is NaN; empty if it is not.
    """

    n: int
    p: float = np.nan
    reason: str = ""


def paired_t_test(first: pd.Series, second: pd.Series) -> PairedTest:
    """Paired t-test over cases of the difference between two methods.

    The cases are the only source of variation that this test knows. It says whether two trained checkpoints differ on
    further cases. It does not say whether the methods would differ if they were trained again.

    Args:
        first: scores of the first method by case (index: case), averaged over runs.
        second: scores of the second method by case. Cases are paired by their names, not by position.
            A case without a finite value in both is left out.

    Returns:
        Difference, interval and effect size in the scores' unit, and the two-sided p value.
        They are NaN for fewer than two cases, and if the difference is the same in every case.

    Raises:
        ValueError: an argument is not a Series, or it names a case twice.

    Source:
        Student (1908), The probable error of a mean, Biometrika 6. dz: Cohen (1988), Statistical power analysis for
        the behavioral sciences, 2nd edition, section 2.3.5.

    Example:
        >>> test = paired_t_test(pd.Series({"c1": 90.0, "c2": 85.0, "c3": 80.0}),
        ...                      pd.Series({"c1": 88.0, "c2": 84.0, "c3": 77.0}))
        >>> print(f"{test.difference:.1f} [{test.low:.2f}, {test.high:.2f}], dz = {test.dz:.1f}, p = {test.p:.3f}")
        2.0 [-0.48, 4.48], dz = 2.0, p = 0.074
    """
    pairs = _pairs(first, second)
    if len(pairs) == 0:
        return PairedTest(0, np.nan, reason="no case in common")
    differences = pairs[:, 0] - pairs[:, 1]
    difference = float(differences.mean())
    if len(pairs) < 2:
        return PairedTest(len(pairs), difference, reason="fewer than two cases")
    # equal up to rounding: the t statistic would be a ratio of rounding errors
    if np.ptp(differences) <= 1e-12 * max(1.0, np.abs(pairs).max()):
        return PairedTest(len(pairs), difference, reason="the difference is the same in every case")
    test = stats.ttest_rel(pairs[:, 0], pairs[:, 1])
    low, high = test.confidence_interval(0.95)
    return PairedTest(
        n=len(pairs),
        difference=difference,
        low=float(low),
        high=float(high),
        dz=difference / float(differences.std(ddof=1)),
        p=float(test.pvalue),
    )


def wilcoxon(first: pd.Series, second: pd.Series) -> WilcoxonTest:
    """Wilcoxon's signed-rank test over cases of the difference between two methods.

    It asks the same question as `paired_t_test`, for differences that are not normal. Like that test, it compares
    trained checkpoints and not methods. With five cases or fewer, p cannot fall below 0.05.

    Args:
        first: scores of the first method by case (index: case), averaged over runs.
        second: scores of the second method by case. Cases are paired by their names, not by position.
            A case without a finite value in both is left out.

    Returns:
        The two-sided p value as scipy computes it. Cases without a difference are not ranked. p is exact for up to 50
        cases without ties and zeros. It is NaN for fewer than two cases, and if no case differs.

    Raises:
        ValueError: an argument is not a Series, or it names a case twice.

    Source:
        Wilcoxon (1945), Individual comparisons by ranking methods, Biometrics Bulletin 1.

    Example:
        >>> worse = pd.Series([88.0, 84.0, 77.0, 90.0, 81.0, 79.0])
        >>> wilcoxon(worse + [1, 2, 3, 4, 5, 6], worse)
        WilcoxonTest(n=6, p=0.03125, reason='')
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


def _pairs(first: pd.Series, second: pd.Series) -> np.ndarray:
    """Finite values of both methods, of shape (cases, 2)."""
    for scores in (first, second):
        if not isinstance(scores, pd.Series):
            raise ValueError(f"scores by case must be a Series with one value per case, not {type(scores).__name__}")
        if not scores.index.is_unique:
            raise ValueError(f"case {scores.index[scores.index.duplicated()][0]!r} has more than one value")
    if not first.index.equals(second.index):
        first, second = first.align(second, join="inner")
    pairs = np.column_stack([first.to_numpy(dtype=float), second.to_numpy(dtype=float)])
    return pairs[np.isfinite(pairs).all(axis=1)]
