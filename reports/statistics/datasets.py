"""Several methods on several data sets: their mean ranks over data sets, and how stable these are."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.bootstrap import bootstrap_weights, resampled_method_means
from reports.statistics.score_matrices import score_matrices

COLUMNS = ["datasets", "mean_rank", "rank_low", "rank_high", "fixed_low", "fixed_high", "first"]

# {data set: {method: score table}}
ScoresByDataset = Mapping[str, Mapping[str, pd.DataFrame]]


def means_by_dataset(scores: ScoresByDataset) -> pd.DataFrame:
    """The mean score of each method on each data set.

    Methods are ranked on the same data sets, so only those count that every data set has. On a data set, the mean is
    over the cases that have a value in every run of these methods.

    Args:
        scores: for each data set, the score table of each method, of shape (runs, cases).

    Returns:
        Of shape (data sets, methods), both sorted, in the scores' unit. `critical_difference` takes it, with
        `block="data set"`. Numbers are NaN on a data set without such a case.

    Raises:
        ValueError: a value is not a score table.

    Example:
        >>> heart = {"A": pd.DataFrame([[90.0, 92.0]]), "B": pd.DataFrame([[80.0, 84.0]])}
        >>> pancreas = {"A": pd.DataFrame([[70.0, 72.0]]), "B": pd.DataFrame([[75.0, 73.0]])}
        >>> means = means_by_dataset({"heart": heart, "pancreas": pancreas | {"C": pd.DataFrame([[60.0, 60.0]])}})
        >>> means.to_dict("index")
        {'heart': {'A': 91.0, 'B': 82.0}, 'pancreas': {'A': 71.0, 'B': 74.0}}
    """
    matrices = _complete(scores)
    means = {name: {m: of.mean() if of.size else np.nan for m, of in found.items()} for name, found in matrices.items()}
    return pd.DataFrame.from_dict(means, orient="index", dtype=float)


def rank_over_datasets(
    scores: ScoresByDataset, resamples: int = 1000, seed: int = 0, larger_is_better: bool = True
) -> pd.DataFrame:
    """Rank methods on each data set, average the ranks over data sets, and measure how stable the averages are.

    Every data set counts alike, however many cases it has. Methods are ranked by their means. A resample draws runs
    within each method, cases of each data set once for all methods, and data sets.

    Methods that a data set lacks have no rank. The others are ranked among themselves.

    With few data sets, quote ranks as a description of these data sets alone. A range over two or three data sets
    says little of others. Runs and cases also move the ranks from which data sets are drawn, so they count more than
    once. This makes the range over all three rather too wide.

    Args:
        scores: for each data set, the score table of each method, of shape (runs, cases).
        resamples: number of bootstrap resamples.
        seed: seed of the random numbers. The same input gives the same numbers, in any order.
        larger_is_better: whether the largest mean gets rank 1.

    Returns:
        A table with one line per method, best first. Its columns:

        - datasets: how many data sets have the method.
        - mean_rank: mean over data sets of the rank on each; 1 is the best. NaN if a data set lacks the method.
        - rank_low, rank_high: 2.5 % and 97.5 % quantiles of the mean rank when runs, cases and data sets are drawn.
        - fixed_low, fixed_high: the same on these data sets, when only runs and cases are drawn.
        - first: share of resamples of all three in which the method has the best mean rank; ties share it.

    Raises:
        ValueError: a value is not a score table, or `resamples` is not positive.

    Source:
        Ranks within data sets, averaged: Demšar (2006), Statistical comparisons of classifiers over multiple data
        sets, JMLR 7. Resampling: Owen (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, with a further
        level for data sets. Number of units in a resample: see `bootstrap_weights`.

    Example:
        >>> a = pd.DataFrame([[90.0, 80.0, 70.0, 85.0], [91.0, 79.0, 72.0, 86.0]])
        >>> heart = {"A": a, "B": a - 5, "C": a - 9}
        >>> pancreas = {"A": a - 20, "B": a - 15, "C": a - 30, "D": a}
        >>> table = rank_over_datasets({"heart": heart, "pancreas": pancreas})
        >>> table["mean_rank"].to_dict()
        {'A': 1.5, 'B': 1.5, 'C': 3.0, 'D': nan}
        >>> table.loc["A", ["fixed_low", "fixed_high", "rank_low", "rank_high"]].tolist()
        [1.5, 1.5, 1.0, 2.0]
    """
    matrices = _complete(scores)
    methods = sorted({method for of in scores.values() for method in of})
    table = pd.DataFrame(np.nan, pd.Index(methods, name="method"), COLUMNS)
    table["datasets"] = [sum(_has_values(of.get(method)) for of in scores.values()) for method in methods]
    ranked = list(next(iter(matrices.values()), {}))
    if not ranked or not all(matrix.size for of in matrices.values() for matrix in of.values()):
        return table
    sign = -1 if larger_is_better else 1
    ranks = np.stack([
        stats.rankdata(sign * resampled_method_means(list(of.values()), resamples, (seed, number)), axis=1)
        for number, of in enumerate(matrices.values(), start=1)
    ])  # fmt: skip
    (weights,) = bootstrap_weights(np.random.default_rng((seed, 0)), resamples, len(matrices))
    over_all = np.einsum("rd,drm->rm", weights, ranks).round(9)  # ties stay ties
    best = over_all == over_all.min(axis=1, keepdims=True)
    table.loc[ranked, "mean_rank"] = means_by_dataset(scores).rank(axis=1, ascending=not larger_is_better).mean()
    table.loc[ranked, ["rank_low", "rank_high"]] = _quantiles(over_all)
    table.loc[ranked, ["fixed_low", "fixed_high"]] = _quantiles(ranks.mean(axis=0))
    table.loc[ranked, "first"] = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return table.sort_values("mean_rank", kind="stable")


def _complete(scores: ScoresByDataset) -> dict[str, dict[str, np.ndarray]]:
    """Score matrices of the methods that every data set has, on each data set of the same cases; names are sorted."""
    shared = [set(filter(lambda method: _has_values(of[method]), of)) for of in scores.values()]
    methods = sorted(set.intersection(*shared)) if shared else []
    return {
        name: dict(zip(methods, score_matrices(*(scores[name][method] for method in methods)), strict=True))
        for name in sorted(scores)
    }


def _has_values(table: pd.DataFrame | None) -> bool:
    return table is not None and bool(table.notna().any(axis=None))


def _quantiles(ranks: np.ndarray) -> np.ndarray:
    """Ends of the middle 95 % of each method's ranks, of shape (methods, 2)."""
    return np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf").T
