"""Which difference a number of cases and seeds can find."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from reports.statistics.crossed import CrossedSquares, crossed_squares, crossed_variance, is_crossed
from reports.statistics.nested import MeanSquares, mean_squares, variance_of_difference
from reports.statistics.pooling import RunPool, pool_differences, pool_variances
from reports.statistics.score_matrices import score_matrices

REPLICATIONS = 4000


@dataclass(frozen=True)
class Spread:
    """Standard deviations of two methods' scores, in the scores' unit. Two of them are NaN with one run of either.

    Attributes:
        case_sd: over cases, of the difference between the two methods' averages over runs, as in the paired t-test.
        seed_sd: of a method's mean from run to run, without the residual's share, pooled over both methods.
        residual_sd: of a score without its run's and its case's mean, pooled over both methods.
        crossed: whether both methods share their draws of the labelled cases. Then the last two do not contain what a
            draw does to both methods alike.
    """

    case_sd: float
    seed_sd: float = np.nan
    residual_sd: float = np.nan
    crossed: bool = False


def spread(first: pd.DataFrame, second: pd.DataFrame, pool: RunPool | None = None) -> Spread:
    """Estimate the standard deviations that `detectable_difference` needs.

    Variances of both methods are pooled, weighted by their degrees of freedom. case_sd contains the residual averaged
    over the given runs. With more runs it would be a little smaller.

    Args:
        first: score table of the first method, of shape (runs, cases).
        second: score table of the second method. `score_matrices` says which runs and cases are left out.
        pool: of the family, as from `run_pool`. With it no method varies less from run to run than the pool, as in
            the test.

    Returns:
        Standard deviations in the scores' unit. All are NaN for fewer than two cases.

    Raises:
        ValueError: an argument is not a score table.

    Source:
        ANOVA estimators: Searle, Casella & McCulloch (1992), Variance components, chapter 4.

    Example:
        >>> first = pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]])
        >>> second = pd.DataFrame([[87, 86, 83, 88], [89, 86, 82, 90], [87, 85, 82, 88]])
        >>> estimated = spread(first, second)
        >>> print(f"{estimated.case_sd:.2f} {estimated.seed_sd:.2f} {estimated.residual_sd:.2f}")
        0.17 0.26 0.82
    """
    a, b = score_matrices(first, second)
    counts, cases = (len(a), len(b)), a.shape[1]
    if min(counts) == 0 or cases < 2:
        return Spread(np.nan)
    case_sd = float((a.mean(0) - b.mean(0)).std(ddof=1))
    if min(counts) < 2:
        return Spread(case_sd)
    if is_crossed(first, second, pool):
        paired = crossed_squares(a, b)
        draws = paired.draws if pool is None else max(paired.draws, pool.differences)
        by_draw, residual = max(draws - paired.residual / cases, 0) / 2, paired.residual / 2
        return Spread(case_sd, float(np.sqrt(by_draw)), float(np.sqrt(residual)), crossed=True)
    squares, weights = mean_squares(a, b), [count - 1 for count in counts]
    by_run = squares.runs if pool is None else np.maximum(squares.runs, pool.variance)
    runs, residual = (float(np.average(values, weights=weights)) for values in (by_run, squares.residuals))
    return Spread(case_sd, float(np.sqrt(max(runs - residual / cases, 0))), float(np.sqrt(residual)))


def detectable_difference(
    cases: int,
    case_sd: float,
    seeds: int | None = None,
    seed_sd: float = 0.0,
    *,
    residual_sd: float = 0.0,
    crossed: bool = False,
    pool: RunPool | None = None,
    comparisons: int = 1,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """The smallest true difference of means that a two-sided test finds with probability `power`.

    Without `seeds` the test is the paired t-test over cases. With `seeds` it is the seed-aware test. Findings in the
    wrong direction do not count.

    Args:
        cases: number of cases.
        case_sd: standard deviation over cases, as in `Spread`. With case_sd = 1 and no seeds the result is a dz.
        seeds: runs of each of the two methods, or None.
        seed_sd: standard deviation from run to run, as in `Spread`. Only used with `seeds`.
        residual_sd: standard deviation of the residual, as in `Spread`. case_sd contains it already, so it only
            changes how conservative the seed-aware test is.
        crossed: whether the runs are draws of the labelled cases that both methods share.
        pool: of the family, as from `run_pool`, if the seed-aware test will have one. To plan a family, give
            `expected_pool`.
        comparisons: size of the family of tests. p must fall below alpha / comparisons. This is Bonferroni's level,
            and the level that Holm's correction asks of the smallest p.
        power: probability of a finding, between 0 and 1.
        alpha: level of the test, between 0 and 1.

    Returns:
        The difference, in the unit of the standard deviations. NaN for fewer than two cases or seeds, and if a
        standard deviation is NaN.

    Raises:
        ValueError: a standard deviation is negative, `comparisons` is below 1, or a probability is not in (0, 1).

    Source:
        Paired t-test: noncentral t distribution, Cohen (1988), Statistical power analysis for the behavioral sciences,
        2nd edition, chapter 2. Seed-aware test: variance and degrees of freedom of `variance_of_difference` in 4000
        simulated replications.

    Example:
        >>> print(f"{detectable_difference(cases=20, case_sd=1.6):.2f} points of Dice between checkpoints")
        1.06 points of Dice between checkpoints
        >>> print(f"{detectable_difference(20, 1.6, seeds=3, seed_sd=0.8, residual_sd=1):.2f} between methods")
        2.77 between methods
        >>> pool = expected_pool(methods=8, cases=20, seeds=3, seed_sd=0.8, residual_sd=1)
        >>> difference = detectable_difference(20, 1.6, 3, 0.8, residual_sd=1, pool=pool, comparisons=7)
        >>> print(f"{difference:.2f} in a family of eight")
        4.33 in a family of eight
    """
    if min(case_sd, seed_sd, residual_sd) < 0:
        raise ValueError("standard deviations must not be negative")
    if comparisons < 1 or not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"comparisons must be at least 1, power and alpha between 0 and 1, not {comparisons}, {power} and {alpha}"
        )
    if cases < 2 or (seeds is not None and seeds < 2) or np.isnan([case_sd, seed_sd, residual_sd]).any():
        return np.nan
    level = alpha / comparisons / 2
    if seeds is None:
        # the noncentrality at which a noncentral t exceeds the critical value with probability `power`
        return float(special.nctdtrinc(cases - 1, 1 - power, stats.t.isf(level, cases - 1)) * case_sd / np.sqrt(cases))
    error = np.sqrt(case_sd**2 / cases + 2 * seed_sd**2 / seeds)
    if error == 0:
        return 0.0
    simulated = _simulated_crossed if crossed else _simulated_nested
    variance, df = simulated(cases, case_sd, seeds, seed_sd, residual_sd, pool)
    critical = special.stdtrit(df, 1 - level) * np.sqrt(variance)

    def shortfall(difference: float) -> float:
        return power - special.ndtr((difference - critical) / error).mean()

    return float(optimize.brentq(shortfall, 0, critical.max() + 10 * error))


def expected_pool(methods: int, cases: int, seeds: int, seed_sd: float, residual_sd: float) -> RunPool:
    """The pool of a family that is planned, all of whose methods vary alike.

    Args:
        methods: how many there are.
        cases: number of cases.
        seeds: runs of each method, or draws that all share.
        seed_sd: as in `Spread`.
        residual_sd: as in `Spread`.

    Returns:
        The pool that `detectable_difference` takes.

    Raises:
        ValueError: a standard deviation is negative.

    Example:
        >>> pool = expected_pool(methods=8, cases=20, seeds=3, seed_sd=0.8, residual_sd=1.0)
        >>> print(f"{pool.variance:.2f} {pool.differences:.2f}")
        0.69 1.38
    """
    if min(seed_sd, residual_sd) < 0:
        raise ValueError("standard deviations must not be negative")
    variance = seed_sd**2 + residual_sd**2 / cases
    return RunPool(np.float64(variance), (seeds,) * methods, np.float64(2 * variance))


def _simulated_nested(
    cases: int, case_sd: float, seeds: int, seed_sd: float, residual_sd: float, pool: RunPool | None
) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom that the seed-aware test estimates in replications of this design.

    A noncentral t with the degrees of freedom of the true standard deviations would promise too much power with few
    seeds. The test has to estimate its degrees of freedom, and the estimate is often smaller.
    """
    by_case, *by_method = _estimated_variances(0, cases - 1, *2 * [seeds - 1], *2 * [(seeds - 1) * (cases - 1)])
    runs, residual = seed_sd**2 + residual_sd**2 / cases, residual_sd**2
    squares = MeanSquares(
        cases=case_sd**2 * by_case,
        runs=(runs * by_method[0], runs * by_method[1]),
        residuals=(residual * by_method[2], residual * by_method[3]),
    )
    estimated = None if pool is None else _simulated_pool(pool, squares, seeds)
    return variance_of_difference(squares, (seeds, seeds), cases, estimated)


def _simulated_crossed(
    cases: int, case_sd: float, draws: int, draw_sd: float, residual_sd: float, pool: RunPool | None
) -> tuple[np.ndarray, np.ndarray]:
    """The same where both methods share their draws."""
    by_case, by_residual = _estimated_variances(0, cases - 1, (draws - 1) * (cases - 1))
    own = draw_sd**2 + residual_sd**2 / cases
    others = [] if pool is None else [np.sqrt(pool.differences / 2)] * (len(pool.seeds) - 2)
    means = _standard_normal(2 + len(others), draws) * np.array([np.sqrt(own)] * 2 + others)[:, None]
    squares = CrossedSquares(
        cases=case_sd**2 * by_case,
        draws=(means[:, 0] - means[:, 1]).var(-1, ddof=1),
        residual=2 * residual_sd**2 * by_residual,
    )
    if pool is None:
        return crossed_variance(squares, draws, cases)
    first, second = np.triu_indices(means.shape[1], 1)
    typical = pool_differences((means[:, first] - means[:, second]).var(-1, ddof=1), draws)
    return crossed_variance(squares, draws, cases, replace(pool, differences=typical))


def _simulated_pool(pool: RunPool, squares: MeanSquares, seeds: int) -> RunPool:
    """The pools that replications estimate: of the two methods, and of others that truly vary as `pool` says."""
    others = sorted(pool.seeds)[2:]
    estimated = _estimated_variances(1, *(count - 1 for count in others))
    variances = np.stack([*squares.runs, *(pool.variance * estimate for estimate in estimated)], axis=-1)
    return pool_variances(variances, (seeds, seeds, *others))


@lru_cache(maxsize=32)
def _estimated_variances(stream: int, *dfs: int) -> list[np.ndarray]:
    """Estimates of a variance of 1 with these degrees of freedom, one in each replication; a stream is independent."""
    rng = np.random.default_rng(stream)
    return [rng.chisquare(df, REPLICATIONS) / df for df in dfs]


@lru_cache(maxsize=4)
def _standard_normal(methods: int, draws: int) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((REPLICATIONS, methods, draws))
