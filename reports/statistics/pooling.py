"""How much methods vary from run to run, pooled over a family, so that no method passes for steadier by luck."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from reports.statistics.score_matrices import score_matrices, shared_draws

# Both chosen on the grid of `family_grid`: the most power among the values that keep 5.5 % in every setting.
CAP = 8  # a method counts in the pool with at most this many times the median
TRUST = 0.4  # degrees of freedom that the pool lends, for each further method and each run beyond two
TRUST_DRAWS = 0.2  # the same for draws that all methods share
MOST_LENDERS = 16  # further methods, as in the largest family of the grid; with 28, rings were false in 8 %
FEWEST_DRAWS = 4  # with fewer, draws that methods share are not paired
FEWEST_METHODS, FEWEST_SEEDS = 4, 3  # a smaller family needs three seeds of each method


@dataclass(frozen=True)
class RunPool:
    """The run variance of a typical method of a family.

    Attributes:
        variance: of a run's mean over cases, of shape (...), in the square of the scores' unit.
        seeds: independent runs of each method that was pooled.
        differences: where all methods share their draws of the labelled cases, the variance over draws of the
            difference between two typical methods, of shape (...); else None.
    """

    variance: np.ndarray
    seeds: tuple[int, ...]
    differences: np.ndarray | None = None

    def floored(self, variance: np.ndarray, seeds: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raise run variances to the pool's, and give the degrees of freedom that they then have.

        A variance above the pool's keeps its own seeds - 1 degrees of freedom. One below it is replaced by the pool's.
        Then each method beyond the two compared, up to 16, lends 0.4 degrees of freedom for each run beyond two. With
        two runs nothing is lent: a method that varies much looks steady too often to be told from one that is.

        Args:
            variance: variance of a run's mean, of shape (...).
            seeds: number of independent runs that it is estimated from.

        Returns:
            Variance and degrees of freedom, of shape (...) each.

        Example:
            >>> variance, df = RunPool(2.0, seeds=(3, 3, 3, 3, 3, 3, 3)).floored(np.array([0.1, 5.0]), 3)
            >>> variance.tolist(), df.tolist()
            ([2.0, 5.0], [4.0, 2.0])
        """
        beyond_two = np.minimum.outer(np.asarray(self.seeds), seeds).mean(0) - 2
        return _floored(variance, self.variance, seeds - 1, TRUST * self._lenders * np.maximum(beyond_two, 0))

    def floored_difference(self, variance: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
        """The same for the variance over draws of the difference between two methods."""
        return _floored(variance, self.differences, draws - 1, TRUST_DRAWS * self._lenders * (draws - 2))

    @property
    def _lenders(self) -> int:
        return int(np.clip(len(self.seeds) - 2, 0, MOST_LENDERS))


def _floored(variance: np.ndarray, least: np.ndarray, df: np.ndarray, lent: np.ndarray) -> tuple:
    return np.maximum(variance, least), df + np.where(variance > least, 0, lent)


def run_pool(tables: Iterable[pd.DataFrame]) -> RunPool | None:
    """Pool how much the methods of a family vary from run to run.

    Two or three seeds agree by chance so often that, among a dozen methods, some look steady that are not. Tests
    with many comparisons then find differences that are not there. `seed_aware_test` takes the pool as the least that
    a method varies. It is robust: runs that collapsed raise it little, for it starts from the median method.

        median = median over methods of variance / m(seeds - 1)
        pool = max(median, mean over methods of min(variance, 8 median), weighted by seeds - 1)

    m(d) is the median of a chi-square variable with d degrees of freedom, divided by d. The mean counts what the median
    overlooks where methods differ in how much they vary.

    Args:
        tables: score table of each method of the family, of shape (runs, cases). Methods with fewer than two
            independent runs are left out.

    Returns:
        The pool, or None if no method has two runs.

    Raises:
        ValueError: an argument is not a score table.

    Source:
        Pooled variances in tests of many at once: Smyth (2004), Linear models and empirical Bayes methods, Statistical
        Applications in Genetics and Molecular Biology 3. That method's prior is not used: it held no 5 % here where
        methods vary unequally. This rule was chosen on the grid in docs/calibration.md.

    Example:
        >>> steady = pd.DataFrame([[90.0, 80.0], [90.1, 80.1], [90.0, 80.0]])
        >>> others = [pd.DataFrame([[90.0, 80.0], [91.0, 81.0], [88.0, 78.0]]) - shift for shift in range(3)]
        >>> pool = run_pool([steady, *others])
        >>> print(f"{pool.variance:.2f}", pool.seeds)
        3.37 (3, 3, 3, 3)
    """
    tables = list(tables)
    alone = [score_matrices(table)[0] for table in tables]
    pooled = [(table, matrix) for table, matrix in zip(tables, alone, strict=True) if len(matrix) > 1 and matrix.size]
    if not pooled:
        return None
    tables, matrices = zip(*pooled, strict=True)
    variances = np.array([matrix.mean(1).var(ddof=1) for matrix in matrices])
    pool = pool_variances(variances, [len(matrix) for matrix in matrices])
    draws = shared_draws(*tables)
    if draws < FEWEST_DRAWS or len(tables) < 2:
        return pool
    means = np.stack([matrix.mean(1) for matrix in score_matrices(*tables)])
    first, second = np.triu_indices(len(means), 1)
    return replace(pool, differences=pool_differences((means[first] - means[second]).var(-1, ddof=1), draws))


def pool_variances(variances: np.ndarray, seeds: Sequence[int]) -> RunPool:
    """The pool of given run variances; see `run_pool`.

    Args:
        variances: of a run's mean over cases, of shape (..., methods).
        seeds: independent runs of each method, at least 2.

    Returns:
        The pool, with a variance of shape (...).

    Raises:
        ValueError: a method has fewer than two runs.

    Example:
        >>> pool = pool_variances(np.array([1.0, 1.0, 1.0, 900.0]), seeds=(3, 3, 3, 3))
        >>> print(f"{pool.variance:.2f}")
        3.64
    """
    if min(seeds) < 2:
        raise ValueError(f"two runs of each method are needed, not {tuple(seeds)}")
    df = np.asarray(seeds) - 1
    median = np.median(variances / (special.chdtri(df, 0.5) / df), axis=-1)
    capped = np.average(np.minimum(variances, CAP * median[..., None]), axis=-1, weights=df)
    return RunPool(np.maximum(median, capped), tuple(seeds))


def pool_differences(variances: np.ndarray, draws: int) -> np.ndarray:
    """The pool of variances over draws of the difference between each two methods.

    Args:
        variances: of shape (..., pairs).
        draws: number of draws.

    Returns:
        The variance of a typical pair, of shape (...).
    """
    return pool_variances(variances, (draws,) * variances.shape[-1]).variance
