"""Intervals of one method's mean, and of weighted sums of several methods' means, with runs and cases as samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from reports.statistics.nested import combined_variance, variances_within
from reports.statistics.pooling import RunPool
from reports.statistics.score_matrices import score_matrices

OVER_SEEDS, OVER_CASES = "seeds", "cases"


@dataclass(frozen=True)
class Contrasts:
    """What is known of the means of K methods on the same n cases.

    Attributes:
        means: of each method, of shape (K,).
        covariance: over cases, of the methods' averages over runs, of shape (K, K).
        runs: variance of a run's mean, of each method, of shape (K,).
        dfs: its degrees of freedom.
        counts: independent runs of each method.
        residuals: residual mean square of runs by cases, of each method.
        cases: their number n.
        over: "seeds" where every method has two runs. Else "cases": what is said holds for the trained checkpoints.
    """

    means: np.ndarray
    covariance: np.ndarray
    runs: np.ndarray
    dfs: np.ndarray
    counts: np.ndarray
    residuals: np.ndarray
    cases: int
    over: str

    @property
    def varies(self) -> bool:
        """Whether any method's scores vary, over cases or runs, by more than rounding."""
        variances = np.concatenate([self.covariance.diagonal(), self.runs, self.residuals])
        return bool(variances.max() > 1e-24 * max(1.0, np.abs(self.means).max()) ** 2)

    def at(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weighted sum of the means, and half the width of its 95 % confidence interval.

        Args:
            weights: of the methods, of shape (..., K).

        Returns:
            Sum and half width, of shape (...) each. The half width is 0 where nothing varies.
        """
        by_case = np.einsum("...i,ij,...j->...", weights, self.covariance, weights) / self.cases
        if self.over == OVER_CASES:
            variance, df = by_case, np.asarray(self.cases - 1.0)
        else:
            by_run = [weights[..., k] ** 2 * self.runs[k] / self.counts[k] for k in range(len(self.means))]
            residual = (weights**2 * self.residuals / self.counts).sum(-1) / self.cases
            variance, df = combined_variance(by_case, by_run, self.dfs, residual, self.cases)
        return weights @ self.means, np.where(variance > 0, special.stdtrit(df, 0.975), 0) * np.sqrt(
            np.maximum(variance, 0)
        )


def contrasts(tables: Sequence[pd.DataFrame], pools: Sequence[RunPool | None] = ()) -> Contrasts | None:
    """Prepare intervals of weighted sums of methods' means.

    It is the seed-aware test's variance for any number of methods: with the weights 1 and -1 of two methods the
    interval is that of `seed_aware_test`.

    Args:
        tables: score table of each method, of shape (runs, cases). `score_matrices` says what is left out.
        pools: of the family of each method, as from `run_pool`, or None. Empty: no method has one.

    Returns:
        What `Contrasts.at` needs. None for fewer than two cases, or if a method has no run.

    Raises:
        ValueError: an argument is not a score table, or there is not one pool for each table.

    Source:
        See `variance_of_difference`.

    Example:
        >>> first = pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]])
        >>> second = pd.DataFrame([[87, 86, 83, 88], [89, 86, 82, 90], [87, 85, 82, 88]])
        >>> difference, half_width = contrasts([first, second]).at(np.array([1, -1]))
        >>> print(f"{difference:.2f} ± {half_width:.2f}")
        2.58 ± 1.32
    """
    matrices = score_matrices(*tables)
    if matrices[0].shape[1] < 2 or not all(map(len, matrices)):
        return None
    counts = np.array([len(matrix) for matrix in matrices])
    by_case = np.stack([matrix.mean(0) for matrix in matrices])
    runs, residuals, dfs = np.zeros((3, len(matrices)))
    over = OVER_SEEDS if counts.min() > 1 else OVER_CASES
    if over == OVER_SEEDS:
        runs, residuals = np.array([variances_within(matrix) for matrix in matrices]).T
        dfs = counts - 1.0
        for place, pool in enumerate(pools):
            if pool is not None:
                runs[place], dfs[place] = pool.floored(runs[place], counts[place])
    if pools and len(pools) != len(matrices):
        raise ValueError(f"{len(matrices)} methods and {len(pools)} pools: give one pool, or None, for each method")
    return Contrasts(
        means=by_case.mean(1),
        covariance=np.atleast_2d(np.cov(by_case)),
        runs=runs,
        dfs=dfs,
        counts=counts,
        residuals=residuals,
        cases=by_case.shape[1],
        over=over,
    )


def mean_interval(table: pd.DataFrame) -> tuple[float, float, str]:
    """95 % confidence interval of a method's mean, with runs and cases as samples.

    Args:
        table: score table, of shape (runs, cases). `score_matrices` says which runs and cases are left out.

    Returns:
        Lower and upper end in the scores' unit, and "seeds"; with one run "cases": then the interval is of the mean of
        the trained checkpoint. The ends are NaN for fewer than two cases, and if scores do not vary.

    Raises:
        ValueError: the argument is not a score table.

    Source:
        See `variance_of_difference`. With one run it is Student's interval over cases.

    Example:
        >>> low, high, over = mean_interval(pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]]))
        >>> print(f"{low:.1f} to {high:.1f} over {over}")
        84.2 to 93.1 over seeds
    """
    known = contrasts([table])
    if known is None:
        return np.nan, np.nan, OVER_CASES
    mean, half_width = known.at(np.ones(1))
    if half_width <= 1e-12 * max(1.0, abs(mean)):  # zero up to rounding
        return np.nan, np.nan, known.over
    return float(mean - half_width), float(mean + half_width), known.over
