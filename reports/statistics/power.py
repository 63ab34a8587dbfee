"""Which difference a number of cases and seeds can find."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from reports.statistics.pooling import RunPool, pool_variances
from reports.statistics.score_matrices import score_matrices
from reports.statistics.seed_aware import MeanSquares, mean_squares, variance_of_difference

REPLICATIONS = 4000


@dataclass(frozen=True)
class Spread:
    """Standard deviations of two methods' scores, in the scores' unit. The last two are NaN with one run of either.

    Attributes:
        case_sd: over cases, of the difference between the two methods' averages over runs, as in the paired t-test.
        seed_sd: of a method's mean from run to run, without the residual's share, pooled over both methods.
        residual_sd: of a score without its run's and its case's mean, pooled over both methods.
    """

    case_sd: float
    seed_sd: float = np.nan
    residual_sd: float = np.nan


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
        pool: of the family, as from `run_pool`, if the seed-aware test will have one. To plan a family, give the
            variance that is expected: RunPool(seed_sd**2 + residual_sd**2 / cases, seeds=(3,) * methods).
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
        >>> pool = RunPool(0.8**2 + 1 / 20, seeds=(3,) * 8)
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
    squares = _simulated_mean_squares(cases, case_sd, seeds, seed_sd, residual_sd)
    estimated = None if pool is None else _simulated_pool(pool, squares, seeds)
    variance, df = variance_of_difference(squares, (seeds, seeds), cases, estimated)
    critical = special.stdtrit(df, 1 - level) * np.sqrt(variance)

    def shortfall(difference: float) -> float:
        return power - special.ndtr((difference - critical) / error).mean()

    return float(optimize.brentq(shortfall, 0, critical.max() + 10 * error))


def _simulated_mean_squares(cases: int, case_sd: float, seeds: int, seed_sd: float, residual_sd: float) -> MeanSquares:
    """Mean squares that replications with these true standard deviations estimate, from chi-square distributions.

    A noncentral t with the degrees of freedom of the true standard deviations would promise too much power with few
    seeds. The test has to estimate its degrees of freedom, and the estimate is often smaller.
    """
    by_case, *by_method = _estimated_variances(0, cases - 1, *2 * [seeds - 1], *2 * [(seeds - 1) * (cases - 1)])
    runs, residual = seed_sd**2 + residual_sd**2 / cases, residual_sd**2
    return MeanSquares(
        cases=case_sd**2 * by_case,
        runs=(runs * by_method[0], runs * by_method[1]),
        residuals=(residual * by_method[2], residual * by_method[3]),
    )


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
