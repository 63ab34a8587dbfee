"""Simulated families: several methods on the same cases, a few seeds each, and what the tests find in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.crossed import CrossedSquares, crossed_variance
from reports.statistics.nested import MeanSquares, variance_of_difference
from reports.statistics.pooling import FEWEST_METHODS, FEWEST_SEEDS, RunPool, pool_differences, pool_variances
from reports.statistics.seed_aware import two_sided_p

LEVEL = 0.05
DEATH = (20.0, 30.0)  # points of Dice that a dead run loses


@dataclass(frozen=True)
class FamilyDesign:
    """How the scores of a family of methods vary. All standard deviations are in points of Dice.

    Attributes:
        seeds: runs of each method. The first method is the reference.
        cases: number of cases.
        seed_sd: of each method, of its mean over cases from run to run.
        interaction_sd: method by case.
        residual_sd: run by case within a method.
        heavy: whether seeds and residuals follow a t distribution with 3 degrees of freedom, scaled to these
            standard deviations, and not a normal one.
        dead: probability that a run collapses: it loses 20 to 30 points in every case.
    """

    seeds: tuple[int, ...]
    cases: int
    seed_sd: tuple[float, ...]
    interaction_sd: float
    residual_sd: float
    heavy: bool = False
    dead: float = 0.0


def simulate_family(
    design: FamilyDesign, replications: int, rng: np.random.Generator, gap: float = 0.0
) -> list[np.ndarray]:
    """Scores of a family of methods: method by case + run + residual.

    What all methods share in a case cancels in every difference, so it is left out.

    Args:
        design: numbers and standard deviations.
        replications: number of independent families.
        rng: source of the random numbers.
        gap: how much the second method is truly better than all others, in points of Dice.

    Returns:
        Scores of each method, of shape (replications, seeds, cases).

    Example:
        >>> design = FamilyDesign((3, 3, 5), cases=12, seed_sd=(0.8, 0.8, 0.8), interaction_sd=1.0, residual_sd=1.0)
        >>> scores = simulate_family(design, replications=1000, rng=np.random.default_rng(0), gap=2.0)
        >>> [(of_method.shape, f"{abs(of_method.mean()):.1f}") for of_method in scores]
        [((1000, 3, 12), '0.0'), ((1000, 3, 12), '2.0'), ((1000, 5, 12), '0.0')]
    """
    scores = []
    for seeds, seed_sd in zip(design.seeds, design.seed_sd, strict=True):
        runs, single = (replications, seeds, 1), (replications, seeds, design.cases)
        by_run = np.float32(seed_sd) * _noise(rng, design.heavy, runs)
        if design.dead:
            by_run -= (rng.random(runs) < design.dead) * rng.uniform(*DEATH, runs)
        of_method = np.float32(design.residual_sd) * _noise(rng, design.heavy, single)
        of_method += by_run
        of_method += np.float32(design.interaction_sd) * _noise(rng, False, (replications, 1, design.cases))
        scores.append(of_method)
    scores[1] += np.float32(gap)
    return scores


def _noise(rng: np.random.Generator, heavy: bool, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of standard deviation 1, in single precision, which is several times faster."""
    normal = rng.standard_normal(shape, dtype=np.float32)
    if heavy:  # t = normal / sqrt(chi-square / 3), and its variance is 3
        normal /= np.sqrt(2 * rng.standard_gamma(1.5, shape, dtype=np.float32))
    return normal


def pair_p_values(
    scores: Sequence[np.ndarray], first: np.ndarray, second: np.ndarray, pooled: bool, crossed: bool = False
) -> np.ndarray:
    """p values of the seed-aware test for pairs of methods, in many families at once.

    `seed_aware_test` gives the same for one pair of one family. Here sums that pairs have in common are made once.

    Args:
        scores: of each method, of shape (families, seeds, cases).
        first: places of the pairs' first methods in `scores`, of shape (pairs,).
        second: places of their second methods.
        pooled: whether the test takes the family's `run_pool`.
        crossed: whether runs are draws of the labelled cases that all methods share. What a draw does to all of them
            alike cancels in every difference, so `simulate_family` need not know of it.

    Returns:
        p values of shape (families, pairs); NaN where there are too few methods for two seeds.

    Example:
        >>> design = FamilyDesign((3,) * 4, cases=12, seed_sd=(0.8,) * 4, interaction_sd=1.0, residual_sd=1.0)
        >>> scores = simulate_family(design, replications=1000, rng=np.random.default_rng(0), gap=3.0)
        >>> p = pair_p_values(scores, np.array([0, 0]), np.array([1, 2]), pooled=True)
        >>> (p < 0.05).mean(0).round(2).tolist()
        [0.76, 0.02]
    """
    seeds, cases = np.array([of_method.shape[1] for of_method in scores]), scores[0].shape[2]
    means, runs, residuals = (np.stack(part, axis=1) for part in zip(*map(_within, scores), strict=True))
    by_case = np.stack([of_method.mean(1, dtype=float) for of_method in scores], axis=1) - means[..., None]
    of_cases = _variances_of_differences(by_case)
    if crossed:
        variance, df = _crossed_variance(np.stack(scores, axis=1), of_cases, first, second, pooled)
        return two_sided_p(means[:, first] - means[:, second], variance, df)
    squares = MeanSquares(
        cases=of_cases[:, first, second],
        runs=(runs[:, first], runs[:, second]),
        residuals=(residuals[:, first], residuals[:, second]),
    )
    pool = pool_variances(runs[:, None, :], seeds.tolist()) if pooled else None
    variance, df = variance_of_difference(squares, (seeds[first], seeds[second]), cases, pool)
    p = two_sided_p(means[:, first] - means[:, second], variance, df)
    untold = pooled and len(scores) < FEWEST_METHODS
    return np.where(untold & (np.minimum(seeds[first], seeds[second]) < FEWEST_SEEDS), np.nan, p)


def _crossed_variance(
    scores: np.ndarray, of_cases: np.ndarray, first: np.ndarray, second: np.ndarray, pooled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """As `crossed_variance`, for pairs of methods; scores (families, methods, draws, cases)."""
    methods, draws, cases = scores.shape[1:]
    centred = scores - scores.mean((2, 3), keepdims=True)
    by_draw, by_case = centred.mean(3, dtype=float), centred.mean(2, dtype=float)
    residual = centred - by_draw[..., None] - by_case[:, :, None]
    of_draws = _variances_of_differences(by_draw)
    of_residuals = _variances_of_differences(residual.reshape(len(scores), methods, -1))
    squares = CrossedSquares(
        cases=of_cases[:, first, second],
        draws=of_draws[:, first, second],
        residual=of_residuals[:, first, second] * (draws * cases - 1) / ((draws - 1) * (cases - 1)),
    )
    pairs = np.triu_indices(methods, 1)
    pool = None
    if pooled:
        typical = pool_differences(of_draws[:, None, pairs[0], pairs[1]], draws)
        pool = RunPool(np.array(np.nan), (draws,) * methods, typical)
    return crossed_variance(squares, draws, cases, pool)


def _variances_of_differences(centred: np.ndarray) -> np.ndarray:
    """Variance of the difference of each two methods; centred values of shape (families, methods, values)."""
    covariance = centred @ centred.transpose(0, 2, 1) / (centred.shape[-1] - 1)
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    return variances[:, :, None] + variances[:, None] - 2 * covariance


def _within(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance of a run's mean, and residual mean square of a method; scores (families, seeds, cases)."""
    seeds, cases = scores.shape[1:]
    by_run, by_case, mean = (scores.mean(axes, dtype=float) for axes in (2, 1, (1, 2)))
    rest = np.einsum("frc,frc->f", scores, scores, dtype=float)
    rest += -cases * (by_run**2).sum(1) - seeds * (by_case**2).sum(1) + seeds * cases * mean**2
    return mean, by_run.var(1, ddof=1), np.maximum(rest, 0) / ((seeds - 1) * (cases - 1))


def found(p: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Which p values stay below `level` after Holm's correction; p of shape (families, tests).

    Example:
        >>> found(np.array([[0.01, 0.04, 0.03], [0.01, 0.04, 0.02]])).tolist()
        [[True, False, False], [True, True, True]]
    """
    ordered = np.sort(p, axis=1)  # NaN sorts last
    tests = np.isfinite(p).sum(1, keepdims=True)
    below = ordered < level / np.maximum(tests - np.arange(p.shape[1]), 1)
    rejected = np.logical_and.accumulate(below, axis=1).sum(1, keepdims=True)
    highest = np.take_along_axis(ordered, np.maximum(rejected - 1, 0), axis=1)
    return (p <= highest) & (rejected > 0)


def star_and_ring_rates(
    scores: Sequence[np.ndarray], pooled: bool = True, crossed: bool = False
) -> tuple[float, float]:
    """Shares of families with at least one star, and with at least one ring.

    A star is a row that differs from the first method, after Holm's correction over the rows. A ring is a pair that
    differs, after Holm's correction over all pairs.

    Args:
        scores: of each method, of shape (families, seeds, cases).
        pooled: whether the test takes the family's `run_pool`.
        crossed: as in `pair_p_values`.
    """
    first, second = np.triu_indices(len(scores), 1)
    p = pair_p_values(scores, first, second, pooled, crossed)
    return float(found(p[:, first == 0]).any(1).mean()), float(found(p).any(1).mean())


def star_power(scores: Sequence[np.ndarray], pooled: bool = True, crossed: bool = False) -> float:
    """Share of families in which the second method has a star."""
    rows = np.arange(1, len(scores))
    return float(found(pair_p_values(scores, np.zeros_like(rows), rows, pooled, crossed))[:, 0].mean())
