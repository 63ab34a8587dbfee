"""A test between two methods: would they differ if both were trained again and scored on further cases?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from reports.statistics.scores import complete

ONE_SEED = "one seed: how much a method varies from seed to seed is not known"


@dataclass(frozen=True)
class SeedAwareTest:
    """A test over seeds and cases.

    seeds: runs of first and of second (draws of the labelled cases, where there are several); cases: those scored in
    all runs; difference: mean of first minus second; low, high: its 95 % confidence interval; df: Satterthwaite's
    degrees of freedom; p: two-sided; dz: the difference over the standard deviation of a difference between one run of
    each method in one case (the paired test's dz, where seeds change nothing). What cannot be computed is NaN and
    `reason` says why.
    """

    seeds: tuple[int, int]
    cases: int
    difference: float = np.nan
    low: float = np.nan
    high: float = np.nan
    df: float = np.nan
    p: float = np.nan
    dz: float = np.nan
    reason: str = ""


@dataclass(frozen=True)
class MeanSquares:
    """Variances (n - 1) of scores (..., runs, cases) of two methods on the same cases; each of shape (...).

    cases: over cases, of the difference of the two methods' averages over runs.
    runs: of each method, over its runs, of a run's mean over cases.
    residuals: of each method, of what remains of its scores without the run's and the case's mean.
    """

    cases: np.ndarray
    runs: tuple[np.ndarray, np.ndarray]
    residuals: tuple[np.ndarray, np.ndarray]


def seed_aware_test(first: pd.DataFrame, second: pd.DataFrame) -> SeedAwareTest:
    """Compare two methods by their runs' scores (index: run, columns: case), runs and cases both taken as samples.

    The seeds are to a method what the readers are to an imaging modality in a multi-reader multi-case study (Dorfman,
    Berbaum & Metz 1992; Obuchowski & Rockette 1995; Hillis 2007), with readers nested in modalities: seed 1 of one
    method has nothing to do with seed 1 of another. Estimate and degrees of freedom are those of
    `variance_of_difference`. Either method may have any number of runs from two on.

    A case that lacks a value in any run of either method is left out; so is, before that, a run without any value.
    """
    a, b = complete(first, second)
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
    _, error, df, p = seed_aware(a, b)
    # zero up to rounding: the t statistic would be a ratio of rounding errors
    if error <= 1e-12 * max(1.0, np.abs(a).max(), np.abs(b).max()):
        reason = "the difference is the same in every case and every run"
        return SeedAwareTest(seeds, cases, difference, reason=reason)
    reach = float(special.stdtrit(df, 0.975) * error)
    return SeedAwareTest(
        seeds=seeds,
        cases=cases,
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        df=float(df),
        p=float(p),
        dz=difference / _single_difference_sd(a, b),
    )


def seed_aware(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Difference of means, its standard error, degrees of freedom, two-sided p; scores (..., runs, cases).

    With runs that are all alike this is the paired t-test over cases. Without any variance df and p are NaN.
    """
    difference = first.mean((-2, -1)) - second.mean((-2, -1))
    counts = (first.shape[-2], second.shape[-2])
    variance, df = variance_of_difference(mean_squares(first, second), counts, first.shape[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(df, -np.abs(difference) / np.sqrt(variance))
    return difference, np.sqrt(variance), df, p


def variance_of_difference(squares: MeanSquares, counts: tuple[int, int], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The estimated variance of the difference of two methods' means, and its degrees of freedom.

    Model: score = method + case + method x case + run(method) + residual, all but the method random and normal, the
    run's and the residual's variance each method's own. With n cases, R1 and R2 runs (`counts`), and

        C = cases / n,   R = runs1 / R1 + runs2 / R2,   E = residuals1 / (R1 n) + residuals2 / (R2 n)

    C holds the method-by-case variance and R the runs' variance, each together with the residual's share E. So the
    unbiased estimate of the variance of the difference is C + R - E, and

        variance = max(C, R, C + R - E)
        df = min(variance^2 / sum over both methods of (runs_i / R_i)^2 / (R_i - 1), n - 1)

    max(R, C + R - E) and the first df are Hillis' (2007), for readers nested in modalities: Satterthwaite's (1946)
    approximation with R alone uncertain. Two changes, both to the safe side. df is not let rise above n - 1, for with
    20 cases C is uncertain, too. And the variance is not let fall below C, the paired t-test's over cases: so p is
    never below that test's, and methods never differ where their checkpoints do not. The price is that where the
    residual is most of the variance the test errs in fewer than 5 % and finds somewhat less.
    """
    cases = squares.cases / n
    runs = [square / count for square, count in zip(squares.runs, counts, strict=True)]
    residual = sum(square / (count * n) for square, count in zip(squares.residuals, counts, strict=True))
    variance = np.maximum(np.maximum(cases, sum(runs)), cases + sum(runs) - residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = variance**2 / sum(run**2 / (count - 1) for run, count in zip(runs, counts, strict=True))
    return variance, np.minimum(df, n - 1)


def mean_squares(first: np.ndarray, second: np.ndarray) -> MeanSquares:
    """Scores (..., runs, cases) of two methods, the same cases in the same order, two runs and cases at least."""
    runs, residuals = zip(*(_within(scores) for scores in (first, second)), strict=True)
    return MeanSquares((first.mean(-2) - second.mean(-2)).var(-1, ddof=1), runs, residuals)


def _within(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variance of a run's mean, and the residual mean square of runs x cases."""
    count, n = scores.shape[-2:]
    by_run, by_case = scores.mean(-1, keepdims=True), scores.mean(-2, keepdims=True)
    residuals = scores - by_run - by_case + scores.mean((-2, -1), keepdims=True)
    return by_run[..., 0].var(-1, ddof=1), (residuals**2).sum((-2, -1)) / ((count - 1) * (n - 1))


def _single_difference_sd(first: np.ndarray, second: np.ndarray) -> float:
    """Standard deviation of the difference between one run of each method in one case; scores (runs, cases).

    The square root of the sum of the estimated components, method by case, runs and residuals, none of them below 0.
    """
    n, counts = first.shape[-1], (len(first), len(second))
    squares = mean_squares(first, second)
    shared = sum(residual / count for residual, count in zip(squares.residuals, counts, strict=True))
    by_run = sum(max(run - residual / n, 0) for run, residual in zip(squares.runs, squares.residuals, strict=True))
    return float(np.sqrt(max(squares.cases - shared, 0) + by_run + sum(squares.residuals)))
