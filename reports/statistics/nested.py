"""Variance components of two methods whose runs are nested in them, and the variance of the difference of means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.pooling import RunPool


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
