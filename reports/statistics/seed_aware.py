"""The seed-aware test: would two methods differ if both were trained again and scored on further cases?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

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


@dataclass(frozen=True)
class MeanSquares:
    """Variances (denominator n - 1) of the scores of two methods on the same cases.

    Attributes:
        cases: over cases, of the difference between the two methods' averages over runs.
        runs: of each method, over its runs, of a run's mean over cases.
        residuals: of each method, residual mean square of its runs-by-cases scores.
    """

    cases: np.ndarray
    runs: tuple[np.ndarray, np.ndarray]
    residuals: tuple[np.ndarray, np.ndarray]


def seed_aware_test(first: pd.DataFrame, second: pd.DataFrame, pool: RunPool | None = None) -> SeedAwareTest:
    """Test of the difference between two methods, with runs and cases both as random samples.

    A seed is to a method what a reader is to an imaging modality in a multi-reader multi-case study. Seeds are nested
    within methods: seed 1 of one method has nothing in common with seed 1 of another. `variance_of_difference`
    has the variance and the degrees of freedom.

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
    _, error, df, p = seed_aware_statistics(a, b, pool)
    # zero up to rounding: the t statistic would be a ratio of rounding errors
    if error <= 1e-12 * max(1.0, np.abs(a).max(), np.abs(b).max()):
        reason = "the difference is the same in every case and every run"
        return SeedAwareTest(seeds, cases, difference, reason=reason)
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
        dz=difference / _single_difference_sd(a, b),
        reason=TWO_SEEDS if untold else "",
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


def two_sided_p(difference: np.ndarray, variance: np.ndarray, df: np.ndarray) -> np.ndarray:
    """p values of differences with these variances and degrees of freedom, by the t distribution."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * special.stdtr(df, -np.abs(difference) / np.sqrt(variance))


def variance_of_difference(
    squares: MeanSquares, counts: tuple[int, int], cases: int, pool: RunPool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the variance of the difference of two methods' means, and its degrees of freedom.

    The model is score = method + case + method x case + run(method) + residual. All terms but the method are random and
    normal. Each method has its own variances of the run and of the residual. With n cases and R1 and R2 runs (`counts`)

        C = cases / n,   R = runs1 / R1 + runs2 / R2,   E = residuals1 / (R1 n) + residuals2 / (R2 n)

    C estimates the share of method x case, R the share of the runs. Each of them contains the residual's share E.
    So C + R - E is the unbiased estimate of the variance of the difference. The test uses

        variance = max(C, R, C + R - E)
        df = min(variance^2 / ((runs1 / R1)^2 / df1 + (runs2 / R2)^2 / df2), n - 1)

    with df1 = R1 - 1 and df2 = R2 - 1. With a `pool`, runs1 and runs2 are at least the pool's, and `RunPool.floored`
    has their degrees of freedom.

    max(R, C + R - E) and the first df are Hillis' for readers nested in modalities. They are Satterthwaite's
    approximation with R as the only uncertain part. Two changes make the test safer:

    - df is at most n - 1, because with 20 cases C is uncertain, too.
    - The variance is at least C, as in the paired t-test over cases. So p is never below that test's, and methods never
      differ where their checkpoints do not. The price: where the residual is most of the variance, the test errs in
      fewer than 5 % and has less power.

    Args:
        squares: mean squares of the two methods, of shape (...) each.
        counts: numbers of runs of the two methods, at least 2 each; arrays of shape (...) where they differ.
        cases: number of cases, at least 2.
        pool: of the family that the test is one of, of shape (...), or None.

    Returns:
        Variance, in the square of the scores' unit, and degrees of freedom, of shape (...) each.
        Without any variance df is NaN.

    Raises:
        ValueError: fewer than two runs or cases.

    Source:
        Hillis (2007), Statistics in Medicine 26; Satterthwaite (1946), An approximate distribution of estimates of
        variance components, Biometrics Bulletin 2.

    Example:
        >>> squares = MeanSquares(cases=1.0, runs=(0.6, 0.3), residuals=(1.0, 1.0))
        >>> variance, df = variance_of_difference(squares, counts=(3, 3), cases=20)
        >>> print(f"{variance:.3f}, df = {df:.1f}")
        0.317, df = 4.0
    """
    if min(map(np.min, counts)) < 2 or cases < 2:
        raise ValueError(f"two runs of each method and two cases are needed, not {counts} runs and {cases} cases")
    runs, dfs = squares.runs, [count - 1 for count in counts]
    if pool is not None:
        runs, dfs = zip(*map(pool.floored, squares.runs, counts), strict=True)
    by_run = [square / count for square, count in zip(runs, counts, strict=True)]
    residual = sum(square / (count * cases) for square, count in zip(squares.residuals, counts, strict=True))
    return combined_variance(squares.cases / cases, by_run, dfs, residual, cases)


def combined_variance(
    by_case: np.ndarray, by_run: Sequence[np.ndarray], dfs: Sequence[np.ndarray], residual: np.ndarray, cases: int
) -> tuple[np.ndarray, np.ndarray]:
    """Variance and degrees of freedom from the shares of cases, of each method's runs and of the residual.

    `variance_of_difference` has the formulas, where the shares are called C, runs1 / R1, runs2 / R2 and E.
    """
    variance = np.maximum(np.maximum(by_case, sum(by_run)), by_case + sum(by_run) - residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variance**2 / sum(share**2 / df for share, df in zip(by_run, dfs, strict=True))
    return variance, np.minimum(df, cases - 1)


def mean_squares(first: np.ndarray, second: np.ndarray) -> MeanSquares:
    """Mean squares of two methods' scores, from which variance components are estimated.

    Args:
        first: scores of the first method, of shape (..., runs, cases).
        second: scores of the second method on the same cases in the same order. The number of runs may differ.

    Returns:
        Mean squares of shape (...) each, in the square of the scores' unit.

    Raises:
        ValueError: different numbers of cases, or fewer than two runs or cases.

    Source:
        Searle, Casella & McCulloch (1992), Variance components, chapter 4: two-way layout with one value per cell.

    Example:
        >>> squares = mean_squares(np.array([[1, 3], [3, 7]]), np.array([[0, 0], [2, 0]]))
        >>> print(squares.cases, *squares.runs, *squares.residuals)
        8.0 4.5 0.5 1.0 1.0
    """
    if first.ndim < 2 or first.shape[:-2] != second.shape[:-2] or first.shape[-1] != second.shape[-1]:
        raise ValueError(f"scores must be (..., runs, cases) on the same cases, not {first.shape} and {second.shape}")
    if min(*first.shape[-2:], *second.shape[-2:]) < 2:
        raise ValueError(f"two runs and two cases are needed, not {first.shape[-2:]} and {second.shape[-2:]}")
    runs, residuals = zip(*(variances_within(scores) for scores in (first, second)), strict=True)
    return MeanSquares((first.mean(-2) - second.mean(-2)).var(-1, ddof=1), runs, residuals)


def variances_within(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of a run's mean, and residual mean square of runs by cases; scores (..., runs, cases)."""
    count, n = scores.shape[-2:]
    by_run, by_case = scores.mean(-1, keepdims=True), scores.mean(-2, keepdims=True)
    residuals = scores - by_run - by_case + scores.mean((-2, -1), keepdims=True)
    return by_run[..., 0].var(-1, ddof=1), (residuals**2).sum((-2, -1)) / ((count - 1) * (n - 1))


def _single_difference_sd(first: np.ndarray, second: np.ndarray) -> float:
    """Standard deviation of the difference between one run of each method in one case; scores (runs, cases).

    It is the square root of the sum of the components method by case, runs and residuals. None is below 0.
    """
    n, counts = first.shape[-1], (len(first), len(second))
    squares = mean_squares(first, second)
    shared = sum(residual / count for residual, count in zip(squares.residuals, counts, strict=True))
    by_run = sum(max(run - residual / n, 0) for run, residual in zip(squares.runs, squares.residuals, strict=True))
    return float(np.sqrt(max(squares.cases - shared, 0) + by_run + sum(squares.residuals)))
