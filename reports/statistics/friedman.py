"""Several methods at once, by their ranks within each case: Friedman's test and Nemenyi's critical difference."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

FEWEST_METHODS, FEWEST_CASES = 3, 5


@dataclass(frozen=True)
class CriticalDifference:
    """n: cases; mean_ranks: of each method over cases, 1 is the best, sorted; p: Friedman's test that all methods rank
    alike; distance: mean ranks further apart than this differ at 5 %; pairwise: Nemenyi's p, methods x methods. What
    cannot be computed is NaN or empty and `reason` says why.
    """

    n: int
    mean_ranks: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    p: float = np.nan
    distance: float = np.nan
    pairwise: pd.DataFrame = field(default_factory=pd.DataFrame)
    reason: str = ""


def critical_difference(per_case: pd.DataFrame, larger_is_better: bool = True) -> CriticalDifference:
    """Compare all methods (columns) by their values in each case (index), averaged over seeds (Demšar 2006).

    A case that any method lacks a value for is left out. Nemenyi's test, not Conover's: its p need no correction, the
    chance of any false finding among all pairs is at most 5 % (if all methods are alike), and it has one critical
    distance, which is what a critical-difference diagram draws. Conover's finds more, but needs a correction on top and
    then has no single distance. Like every test over cases alone this one is about checkpoints, not methods; and a
    pair's p depends on which other methods are in the table.
    """
    per_case = per_case.dropna()
    n, k = per_case.shape
    if k < FEWEST_METHODS:
        return CriticalDifference(n, reason=f"fewer than {FEWEST_METHODS} methods")
    if n < FEWEST_CASES:
        return CriticalDifference(n, reason=f"fewer than {FEWEST_CASES} cases with a value for every method")
    oriented = per_case.astype(float) * (-1 if larger_is_better else 1)
    ranks = oriented.rank(axis=1)
    mean_ranks = ranks.mean().sort_values(kind="stable")
    if ranks.eq((k + 1) / 2).all(axis=None):
        return CriticalDifference(n, mean_ranks, reason="the methods are tied in every case")
    import scikit_posthocs  # here, because it loads pyplot, which takes a second

    pairwise = scikit_posthocs.posthoc_nemenyi_friedman(oriented)
    quantile = stats.studentized_range.isf(0.05, k, np.inf)
    return CriticalDifference(
        n=n,
        mean_ranks=mean_ranks,
        p=float(stats.friedmanchisquare(*oriented.to_numpy().T).pvalue),
        distance=float(quantile * np.sqrt(k * (k + 1) / (12 * n))),
        pairwise=pairwise.loc[mean_ranks.index, mean_ranks.index],
    )
