"""Intervals and ranks by a bootstrap over runs and cases."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.scores import complete


def effect_interval(first: pd.DataFrame, second: pd.DataFrame, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of first minus second, over resampled runs and cases.

    Runs (index) are resampled within each method, cases (columns) once for both; cases and runs with gaps are left out
    as in `complete`. The same input gives the same interval. NaN, NaN with fewer than two runs of either or two cases:
    for one run each, the interval of `paired_t_test` is what can be said, and it is about checkpoints.
    """
    a, b = complete(first, second)
    if min(len(a), len(b), a.shape[1]) < 2:
        return np.nan, np.nan
    weights = _weights(seed, draws, a.shape[1], len(a), len(b))
    low, high = np.quantile(resampled_differences(a, b, weights), [0.025, 0.975])
    return float(low), float(high)


def ranking(
    scores: dict[str, pd.DataFrame], draws: int = 1000, seed: int = 0, larger_is_better: bool = True
) -> pd.DataFrame:
    """How far the order of methods depends on these runs and these cases; index: method, best first.

    runs, cases: what is resampled, runs within each method, cases once for all (those that every run of every method
    has a value for). A method with one run keeps it in every draw, so its ranks lack what its seeds would change.
    mean: over runs and cases. rank: 1 is the best, ties share their average.
    rank_low, rank_high: 2.5 % and 97.5 % of the rank over draws.
    first: share of draws in which the method is the best; ties share it.

    The same input gives the same figures, in whatever order the methods come. The figures are NaN where `runs` of a
    method or `cases` are 0.
    """
    methods = sorted(scores)
    arrays = dict(zip(methods, complete(*(scores[method] for method in methods)), strict=True))
    frame = pd.DataFrame(
        {"runs": [len(arrays[method]) for method in methods], "cases": [arrays[method].shape[1] for method in methods]},
        index=pd.Index(methods, name="method"),
    )
    columns = ["mean", "rank", "rank_low", "rank_high", "first"]
    if not methods or (frame[["runs", "cases"]] == 0).any(axis=None):
        return frame.assign(**dict.fromkeys(columns, np.nan))
    counts = [len(arrays[method]) for method in methods]
    by_case, *by_run = _weights(seed, draws, arrays[methods[0]].shape[1], *counts)
    resampled = np.stack(
        [_resampled_means(arrays[method], own, by_case) for method, own in zip(methods, by_run, strict=True)], axis=1
    )
    sign = -1 if larger_is_better else 1
    means = np.array([arrays[method].mean() for method in methods])
    ranks = stats.rankdata(sign * resampled, axis=1)
    best = ranks == ranks.min(axis=1, keepdims=True)
    low, high = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    shares = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    figures = [means, stats.rankdata(sign * means), low, high, shares]
    return frame.assign(**dict(zip(columns, figures, strict=True))).sort_values("rank", kind="stable")


def resampled_differences(first: np.ndarray, second: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """(draws,) differences of means of resampled scores (runs, cases); `weights`: of the cases, once for both, of the
    runs of first and of second."""
    by_case, by_first, by_second = weights
    return _resampled_means(first, by_first, by_case) - _resampled_means(second, by_second, by_case)


def _resampled_means(scores: np.ndarray, by_run: np.ndarray, by_case: np.ndarray) -> np.ndarray:
    return ((by_run @ scores) * by_case).sum(axis=1)


def resampling_weights(rng: np.random.Generator, draws: int, *counts: int) -> list[np.ndarray]:
    """(draws, n) for each n of `counts`: the weights of n units in each draw, which sum to 1.

    n - 1 of the n are drawn with replacement (McCarthy & Snowden 1985; Rao & Wu 1988): then the variance of a resampled
    mean is the unbiased estimate. Drawing n understates it by (n - 1) / n, a third with three seeds.
    """
    return [
        np.ones((draws, 1)) if n == 1 else rng.multinomial(n - 1, np.full(n, 1 / n), size=draws) / (n - 1)
        for n in counts
    ]


@lru_cache(maxsize=8)
def _weights(seed: int, draws: int, *counts: int) -> list[np.ndarray]:
    """The same for every pair of methods with as many runs: drawing takes longer than all that is done with them."""
    return resampling_weights(np.random.default_rng(seed), draws, *counts)
