"""Intervals and ranks by a bootstrap over runs and cases."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.score_matrices import score_matrices


def effect_interval(
    first: pd.DataFrame, second: pd.DataFrame, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the difference between two methods, over runs and cases.

    Runs are resampled within each method. Cases are resampled once for both. No normal distribution is assumed.

    Args:
        first: score table of the first method, of shape (runs, cases).
        second: score table of the second method. `score_matrices` says which runs and cases are left out.
        resamples: number of bootstrap resamples.
        seed: seed of the random numbers. The same input gives the same interval.

    Returns:
        Lower and upper end of the percentile interval of the mean of first minus second, in the scores' unit.
        Both are NaN for fewer than two cases or fewer than two runs of either method.

    Raises:
        ValueError: an argument is not a score table, or `resamples` is not positive.

    Source:
        Two-way resampling: Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1. Number of units in a
        resample: see `bootstrap_weights`.

    Example:
        >>> first = pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]])
        >>> second = pd.DataFrame([[87, 86, 83, 88], [89, 86, 82, 90], [87, 85, 82, 88]])
        >>> low, high = effect_interval(first, second)
        >>> print(f"{low:.2f} to {high:.2f}")
        1.50 to 3.50
    """
    a, b = score_matrices(first, second)
    if min(len(a), len(b), a.shape[1]) < 2:
        return np.nan, np.nan
    weights = _cached_weights(seed, resamples, a.shape[1], len(a), len(b))
    low, high = np.quantile(resampled_differences(a, b, weights), [0.025, 0.975])
    return float(low), float(high)


def ranking(
    scores: dict[str, pd.DataFrame], resamples: int = 1000, seed: int = 0, larger_is_better: bool = True
) -> pd.DataFrame:
    """Rank methods by their means, and measure how stable the ranks are.

    Runs are resampled within each method. Cases are resampled once for all methods. A method with one run keeps it in
    every resample, so its ranks do not show what another seed would change.

    Args:
        scores: score table of each method, of shape (runs, cases). `score_matrices` says what is left out.
        resamples: number of bootstrap resamples.
        seed: seed of the random numbers. The same input gives the same numbers, in any order of the methods.
        larger_is_better: whether the largest mean gets rank 1.

    Returns:
        A table with one line per method, best first. Numbers are NaN if any method has no run or no case is left.
        Its columns:

        - runs, cases: how many are resampled.
        - mean: over runs and cases, in the scores' unit.
        - rank: 1 is the best; ties share their average.
        - mean_rank: mean of the rank over resamples.
        - rank_low, rank_high: 2.5 % and 97.5 % quantiles of the rank over resamples.
        - first: share of resamples in which the method is the best; ties share it.

    Raises:
        ValueError: a value of `scores` is not a score table, or `resamples` is not positive.

    Source:
        Wiesenfarth et al. (2021), Methods and open-source toolkit for analyzing and visualizing challenge results,
        Scientific Reports 11. They resample cases; here runs are resampled as well.

    Example:
        >>> a = pd.DataFrame([[90, 80, 70, 85], [91, 79, 72, 86]])
        >>> table = ranking({"C": a - 10, "A": a, "B": a[::-1] - [2, 0, -1, 1]})
        >>> table[["mean", "rank", "rank_low", "rank_high"]].to_dict("index")["C"]
        {'mean': 71.625, 'rank': 3.0, 'rank_low': 3.0, 'rank_high': 3.0}
        >>> table["first"].round(2).to_dict()
        {'A': 0.71, 'B': 0.29, 'C': 0.0}
    """
    methods = sorted(scores)
    matrices = dict(zip(methods, score_matrices(*(scores[method] for method in methods)), strict=True))
    table = pd.DataFrame(
        {"runs": [len(matrix) for matrix in matrices.values()], "cases": [m.shape[1] for m in matrices.values()]},
        index=pd.Index(methods, name="method"),
    )
    columns = ["mean", "rank", "mean_rank", "rank_low", "rank_high", "first"]
    if not methods or (table[["runs", "cases"]] == 0).any(axis=None):
        return table.assign(**dict.fromkeys(columns, np.nan))
    resampled = resampled_method_means(list(matrices.values()), resamples, seed)
    sign = -1 if larger_is_better else 1
    means = np.array([matrix.mean() for matrix in matrices.values()])
    ranks = stats.rankdata(sign * resampled, axis=1)
    best = ranks == ranks.min(axis=1, keepdims=True)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    values = [means, stats.rankdata(sign * means), ranks.mean(axis=0), low, high, shares]
    return table.assign(**dict(zip(columns, values, strict=True))).sort_values("rank", kind="stable")


def resampled_method_means(matrices: Sequence[np.ndarray], resamples: int, seed: int | tuple[int, ...]) -> np.ndarray:
    """Means of several methods when runs are resampled within each method, and cases once for all.

    Args:
        matrices: scores of each method, of shape (runs, cases), on the same cases; as from `score_matrices`.
        resamples: number of bootstrap resamples.
        seed: seed of the random numbers.

    Returns:
        Of shape (resamples, methods), in the scores' unit.

    Example:
        >>> means = resampled_method_means([np.array([[90.0, 80.0]]), np.array([[70.0, 60.0]])], resamples=100, seed=0)
        >>> means.shape, sorted(set(means[:, 0].tolist()))
        ((100, 2), [80.0, 90.0])
    """
    case_weights, *run_weights = _cached_weights(seed, resamples, matrices[0].shape[1], *map(len, matrices))
    return np.stack(
        [_resampled_means(m, weights, case_weights) for m, weights in zip(matrices, run_weights, strict=True)], axis=1
    )


def bootstrap_weights(rng: np.random.Generator, resamples: int, *counts: int) -> list[np.ndarray]:
    """Weights of the units in each resample; a weighted mean is the mean of the resample.

    n - 1 of n units are taken with replacement. Then the variance of a resampled mean is the unbiased estimate of the
    variance of the mean. Taking n would understate it by the factor (n - 1) / n, by a third with three seeds.

    Args:
        rng: source of the random numbers.
        resamples: number of bootstrap resamples, at least 1.
        counts: number of units n, at least 1, of each independent sample. A single unit gets weight 1.

    Returns:
        One array for each of `counts`, of shape (resamples, n). Each line sums to 1.

    Raises:
        ValueError: `resamples` or one of `counts` is below 1.

    Source:
        McCarthy & Snowden (1985), The bootstrap and finite population sampling, Vital and Health Statistics 2/95;
        Rao & Wu (1988), Resampling inference with complex survey data, JASA 83.

    Example:
        >>> values = np.array([1.0, 2.0, 6.0])
        >>> (weights,) = bootstrap_weights(np.random.default_rng(0), 100_000, 3)
        >>> print(f"{(weights @ values).var():.1f}, unbiased {values.var(ddof=1) / 3:.1f}")
        2.3, unbiased 2.3
    """
    if resamples < 1 or min(counts, default=1) < 1:
        raise ValueError(f"resamples and counts must be positive, not {resamples} and {counts}")
    return [
        np.ones((resamples, 1)) if n == 1 else rng.multinomial(n - 1, np.full(n, 1 / n), size=resamples) / (n - 1)
        for n in counts
    ]


def resampled_differences(first: np.ndarray, second: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Differences of resampled means, of shape (resamples,).

    Args:
        first: scores of the first method, of shape (runs, cases).
        second: scores of the second method on the same cases.
        weights: of the cases, of the runs of first, and of the runs of second, as from `bootstrap_weights`.
    """
    case_weights, first_weights, second_weights = weights
    return _resampled_means(first, first_weights, case_weights) - _resampled_means(second, second_weights, case_weights)


def _resampled_means(scores: np.ndarray, run_weights: np.ndarray, case_weights: np.ndarray) -> np.ndarray:
    return ((run_weights @ scores) * case_weights).sum(axis=1)


@lru_cache(maxsize=8)
def _cached_weights(seed: int | tuple[int, ...], resamples: int, *counts: int) -> list[np.ndarray]:
    """Kept for all pairs of methods with as many runs: random numbers take longer than all that is done with them."""
    return bootstrap_weights(np.random.default_rng(seed), resamples, *counts)
