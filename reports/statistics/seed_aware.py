"""The seed-aware test: would two methods differ if both were trained again and scored on further cases?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from reports.statistics.crossed import crossed_squares, crossed_variance, is_crossed
from reports.statistics.nested import mean_squares, variance_of_difference
from reports.statistics.pooling import FEWEST_METHODS, FEWEST_SEEDS, RunPool
from reports.statistics.score_matrices import score_matrices

ONE_SEED = "one seed: how much a method varies from seed to seed is not known"
TWO_SEEDS = "two seeds: too few where fewer than four methods are compared"


@dataclass(frozen=True)
class SeedAwareTest:
    """Result of the seed-aware test.

    Attributes:
        seeds: runs of first and of second. Where there are several draws of the labelled cases: draws.
        cases: number of cases that have a score in all runs.
        difference: mean of first minus second.
        error: its standard error.
        low: lower end of its 95 % confidence interval.
        high: upper end of its 95 % confidence interval.
        df: degrees of freedom.
        p: two-sided p value.
        crossed: whether both methods share their draws of the labelled cases, which the test then pairs.
        dz: difference divided by the standard deviation of a difference between one run of each method in one case.
            Where seeds change nothing, this is the paired test's dz.
        reason: why some of these are NaN; empty if none is.
    """

    seeds: tuple[int, int]
    cases: int
    difference: float = np.nan
    error: float = np.nan
    low: float = np.nan
    high: float = np.nan
    df: float = np.nan
    p: float = np.nan
    dz: float = np.nan
    reason: str = ""
    crossed: bool = False


def seed_aware_test(first: pd.DataFrame, second: pd.DataFrame, pool: RunPool | None = None) -> SeedAwareTest:
    """Test of the difference between two methods, with runs and cases both as random samples.

    A seed is to a method what a reader is to an imaging modality in a multi-reader multi-case study. Seeds count as
    nested within methods. Seed 1 of two methods shares initial weights and the crops of labelled cases, but pairing it
    gains little and costs half the degrees of freedom. `variance_of_difference` has the variance.

    Draws of the labelled cases are another matter: an easy draw is easy for every method. Where both methods have the
    same four draws or more, the test pairs them. `crossed_variance` has the variance.

    Args:
        first: score table of the first method, of shape (runs, cases).
        second: score table of the second method. The numbers of runs may differ.
            `score_matrices` says which runs and cases are left out.
        pool: of the family, as from `run_pool`, where the test is one of several. Give it wherever p values are
            corrected for several comparisons. Without it, a correction finds too much with two to four runs.

    Returns:
        Difference, interval, degrees of freedom, p value and effect size. All but the difference are NaN for fewer
        than two runs of either method, for fewer than two cases, and if scores do not vary. p alone is NaN for two
        runs in a pool of fewer than four methods.

    Raises:
        ValueError: an argument is not a score table.

    Source:
        Obuchowski & Rockette (1995), Communications in Statistics - Simulation and Computation 24; Hillis (2007),
        A comparison of denominator degrees of freedom methods for multiple observer ROC analysis, Statistics in
        Medicine 26.

    Example:
        >>> first = pd.DataFrame([[90, 88, 85, 91], [91, 89, 84, 92], [90, 87, 86, 91]])
        >>> second = pd.DataFrame([[87, 86, 83, 88], [89, 86, 82, 90], [87, 85, 82, 88]])
        >>> test = seed_aware_test(first, second)
        >>> print(f"{test.difference:.2f} [{test.low:.2f}, {test.high:.2f}], df = {test.df:.1f}, p = {test.p:.3f}")
        2.58 [1.26, 3.91], df = 2.8, p = 0.009
    """
    a, b = score_matrices(first, second)
    seeds, cases = (len(a), len(b)), a.shape[1]
    if min(seeds) == 0:
        return SeedAwareTest(seeds, cases, reason="no run with a value")
    if cases == 0:
        return SeedAwareTest(seeds, cases, reason="no case with a value in every run")
    difference = float(a.mean() - b.mean())
    if min(seeds) < 2:
        return SeedAwareTest(seeds, cases, difference, reason=ONE_SEED)
    if cases < 2:
        return SeedAwareTest(seeds, cases, difference, reason="fewer than two cases")
    crossed = is_crossed(first, second, pool)
    statistics = crossed_statistics if crossed else seed_aware_statistics
    _, error, df, p = statistics(a, b, pool)
    # zero up to rounding: the t statistic would be a ratio of rounding errors
    if error <= 1e-12 * max(1.0, np.abs(a).max(), np.abs(b).max()):
        reason = "the difference is the same in every case and every run"
        return SeedAwareTest(seeds, cases, difference, reason=reason, crossed=crossed)
    half_width = float(special.stdtrit(df, 0.975) * error)
    untold = pool is not None and min(seeds) < FEWEST_SEEDS and len(pool.seeds) < FEWEST_METHODS
    return SeedAwareTest(
        seeds=seeds,
        cases=cases,
        difference=difference,
        error=float(error),
        low=difference - half_width,
        high=difference + half_width,
        df=float(df),
        p=np.nan if untold else float(p),
        dz=difference / (crossed_squares(a, b).single_sd(*a.shape) if crossed else _single_difference_sd(a, b)),
        reason=TWO_SEEDS if untold else "",
        crossed=crossed,
    )


def seed_aware_statistics(
    first: np.ndarray, second: np.ndarray, pool: RunPool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of the seed-aware test for many pairs of score matrices at once.

    Args:
        first: scores of the first method, of shape (..., runs, cases).
        second: scores of the second method on the same cases in the same order.
        pool: of the family, of shape (...), or None.

    Returns:
        Difference of means, its standard error, degrees of freedom and two-sided p value, of shape (...) each.
        Without any variance the last two are NaN.
    """
    difference = first.mean((-2, -1)) - second.mean((-2, -1))
    counts = (first.shape[-2], second.shape[-2])
    variance, df = variance_of_difference(mean_squares(first, second), counts, first.shape[-1], pool)
    return difference, np.sqrt(variance), df, two_sided_p(difference, variance, df)


def crossed_statistics(
    first: np.ndarray, second: np.ndarray, pool: RunPool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As `seed_aware_statistics`, where run k of both methods is of the same draw of the labelled cases."""
    difference = first.mean((-2, -1)) - second.mean((-2, -1))
    variance, df = crossed_variance(crossed_squares(first, second), *first.shape[-2:], pool)
    return difference, np.sqrt(variance), df, two_sided_p(difference, variance, df)


def two_sided_p(difference: np.ndarray, variance: np.ndarray, df: np.ndarray) -> np.ndarray:
    """p values of differences with these variances and degrees of freedom, by the t distribution."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * special.stdtr(df, -np.abs(difference) / np.sqrt(variance))


def _single_difference_sd(first: np.ndarray, second: np.ndarray) -> float:
    """Standard deviation of the difference between one run of each method in one case; scores (runs, cases).

    It is the square root of the sum of the components method by case, runs and residuals. None is below 0.
    """
    n, counts = first.shape[-1], (len(first), len(second))
    squares = mean_squares(first, second)
    shared = sum(residual / count for residual, count in zip(squares.residuals, counts, strict=True))
    by_run = sum(max(run - residual / n, 0) for run, residual in zip(squares.runs, squares.residuals, strict=True))
    return float(np.sqrt(max(squares.cases - shared, 0) + by_run + sum(squares.residuals)))
