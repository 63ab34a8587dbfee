"""Several methods at once, by their ranks within each case: Friedman's test and Nemenyi's critical difference."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

FEWEST_METHODS, FEWEST_CASES = 3, 5


@dataclass(frozen=True)
class CriticalDifference:
    """Result of Friedman's test and of Nemenyi's test after it.

    Attributes:
        n: number of cases, or of whatever the blocks are.
        mean_ranks: mean rank of each method over cases, best first. Rank 1 is the best.
        p: p value of Friedman's test that all methods rank alike.
        distance: Nemenyi's critical difference. Mean ranks further apart than this differ at the 5 % level.
        pairwise: Nemenyi's p values, methods by methods.
        reason: why some of these are NaN or empty; empty if none is.
    """

    n: int
    mean_ranks: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    p: float = np.nan
    distance: float = np.nan
    pairwise: pd.DataFrame = field(default_factory=pd.DataFrame)
    reason: str = ""


def critical_difference(
    per_case: pd.DataFrame, larger_is_better: bool = True, block: str = "case"
) -> CriticalDifference:
    """Compare several methods by their ranks within each case.

    Like every test over cases alone, this one compares trained checkpoints and not methods. The p value of a pair
    depends on which other methods are in the table.

    Nemenyi's test is used rather than Conover's. Its p values need no further correction: if all methods are alike,
    there is a false finding among all pairs in at most 5 % of families. It has one critical difference, which a diagram
    can draw. Conover's test finds more, but it needs a correction and then has no single critical difference.

    Args:
        per_case: scores of shape (cases, methods), averaged over runs. Index: case; columns: method.
            A case that lacks a value for any method is left out.
        larger_is_better: whether the largest score gets rank 1.
        block: what a line of `per_case` is, for `reason`. A comparison over data sets has one line for each of them, as
            from `means_by_dataset`.

    Returns:
        Mean ranks, Friedman's p value, Nemenyi's critical difference and p values. p values and distance are missing
        for fewer than three methods or five cases, and if the methods are tied in every case.

    Raises:
        ValueError: a case or a method occurs twice.

    Source:
        Demšar (2006), Statistical comparisons of classifiers over multiple data sets, JMLR 7, section 3.2.2.

    Example:
        >>> base = pd.Series([70.0, 75.0, 80.0, 85.0, 90.0])
        >>> result = critical_difference(pd.DataFrame({"B": base, "C": base - 1, "A": base + 1}))
        >>> result.mean_ranks.to_dict()
        {'A': 1.0, 'B': 2.0, 'C': 3.0}
        >>> print(f"p = {result.p:.4f}, critical difference {result.distance:.2f}")
        p = 0.0067, critical difference 1.48
        >>> print(f"A and C: p = {result.pairwise.loc['A', 'C']:.4f}")
        A and C: p = 0.0045
    """
    for what, names in ((block, per_case.index), ("method", per_case.columns)):
        if not names.is_unique:
            raise ValueError(f"{what} {names[names.duplicated()][0]!r} occurs twice")
    per_case = per_case.dropna()
    n, k = per_case.shape
    if k < FEWEST_METHODS:
        return CriticalDifference(n, reason=f"fewer than {FEWEST_METHODS} methods")
    if n < FEWEST_CASES:
        return CriticalDifference(n, reason=f"fewer than {FEWEST_CASES} {block}s with a value for every method")
    oriented = per_case.astype(float) * (-1 if larger_is_better else 1)
    ranks = oriented.rank(axis=1)
    mean_ranks = ranks.mean().sort_values(kind="stable")
    if ranks.eq((k + 1) / 2).all(axis=None):
        return CriticalDifference(n, mean_ranks, reason=f"the methods are tied in every {block}")
    import scikit_posthocs  # here, because it loads pyplot, which takes a second

    pairwise = scikit_posthocs.posthoc_nemenyi_friedman(oriented)
    return CriticalDifference(
        n=n,
        mean_ranks=mean_ranks,
        p=float(stats.friedmanchisquare(*oriented.to_numpy().T).pvalue),
        distance=critical_distance(k, n),
        pairwise=pairwise.loc[mean_ranks.index, mean_ranks.index],
    )


def critical_distance(methods: int, cases: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks.

    With k methods and n cases it is q * sqrt(k (k + 1) / (6 n)). q is the quantile of the studentised range for k
    groups and infinite degrees of freedom, divided by sqrt(2).

    Args:
        methods: number of methods, at least 2.
        cases: number of cases, at least 1.
        alpha: level of the test, between 0 and 1.

    Returns:
        The distance, in ranks. Mean ranks further apart than this differ at the level `alpha`.

    Raises:
        ValueError: too few methods or cases, or `alpha` is not between 0 and 1.

    Source:
        Demšar (2006), Statistical comparisons of classifiers over multiple data sets, JMLR 7, section 3.2.2; q for
        alpha = 0.05 and 0.1 is in table 5(a).

    Example:
        >>> print(f"{critical_distance(methods=5, cases=30):.3f}")
        1.114
    """
    if methods < 2 or cases < 1:
        raise ValueError(f"Nemenyi's test needs two methods and a case, not {methods} and {cases}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    quantile = stats.studentized_range.isf(alpha, methods, np.inf)
    return float(quantile * np.sqrt(methods * (methods + 1) / (12 * cases)))
