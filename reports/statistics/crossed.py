"""The variance of a difference between methods that were trained on the same draws of the labelled cases."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.statistics.nested import combined_variance
from reports.statistics.pooling import FEWEST_DRAWS, RunPool
from reports.statistics.score_matrices import shared_draws


@dataclass(frozen=True)
class CrossedSquares:
    """Variances (denominator n - 1) of the difference between two methods on the same draws and cases.

    Attributes:
        cases: over cases, of the difference averaged over draws.
        draws: over draws, of the difference averaged over cases.
        residual: residual mean square of draws by cases.
    """

    cases: np.ndarray
    draws: np.ndarray
    residual: np.ndarray

    def single_sd(self, draws: int, cases: int) -> float:
        """Standard deviation of the difference in one case after one draw. No component is below 0."""
        by_case, by_draw = self.cases - self.residual / draws, self.draws - self.residual / cases
        return float(np.sqrt(max(by_case, 0) + max(by_draw, 0) + self.residual))


def is_crossed(first: pd.DataFrame, second: pd.DataFrame, pool: RunPool | None) -> bool:
    """Whether the test of two score tables pairs their draws of the labelled cases: both have the same four or more.

    In a family all methods must share them, so that they have a pool.
    """
    return shared_draws(first, second) >= FEWEST_DRAWS and (pool is None or pool.differences is not None)


def crossed_squares(first: np.ndarray, second: np.ndarray) -> CrossedSquares:
    """Mean squares of the difference of two methods' scores, of shape (..., draws, cases) each.

    Example:
        >>> squares = crossed_squares(np.array([[1.0, 3.0], [3.0, 7.0]]), np.array([[0.0, 0.0], [2.0, 0.0]]))
        >>> print(squares.cases, squares.draws, squares.residual)
        8.0 2.0 4.0
    """
    difference = first - second
    draws, cases = difference.shape[-2:]
    by_draw, by_case = difference.mean(-1, keepdims=True), difference.mean(-2, keepdims=True)
    residuals = difference - by_draw - by_case + difference.mean((-2, -1), keepdims=True)
    return CrossedSquares(
        cases=by_case[..., 0, :].var(-1, ddof=1),
        draws=by_draw[..., 0].var(-1, ddof=1),
        residual=(residuals**2).sum((-2, -1)) / ((draws - 1) * (cases - 1)),
    )


def crossed_variance(
    squares: CrossedSquares, draws: int, cases: int, pool: RunPool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the variance of the difference of two methods' means, and its degrees of freedom.

    The model is score = method + case + draw + their two-way terms + residual, with cases and draws random. What a draw
    does to both methods alike cancels in their difference. With n cases and D draws

        C = cases / n,   R = draws / D,   E = residual / (D n)
        variance = max(C, R, C + R - E),   df = min(variance^2 / (R^2 / (D - 1)), n - 1)

    These are Hillis' for readers crossed with modalities, and bounded as in `variance_of_difference`.

    Args:
        squares: mean squares of the difference, of shape (...) each.
        draws: number of draws D, at least 2.
        cases: number of cases n, at least 2.
        pool: of the family that the test is one of, of shape (...), or None. With it `draws` is at least the pool's.

    Returns:
        Variance, in the square of the scores' unit, and degrees of freedom, of shape (...) each.
        Without any variance df is NaN.

    Source:
        Hillis (2007), A comparison of denominator degrees of freedom methods for multiple observer ROC analysis,
        Statistics in Medicine 26.

    Example:
        >>> squares = CrossedSquares(cases=8.0, draws=2.0, residual=4.0)
        >>> variance, df = crossed_variance(squares, draws=5, cases=20)
        >>> print(f"{variance:.2f}, df = {df:.1f}")
        0.76, df = 14.4
    """
    by_draw, df = squares.draws, draws - 1
    if pool is not None:
        by_draw, df = pool.floored_difference(by_draw, draws)
    return combined_variance(squares.cases / cases, [by_draw / draws], [df], squares.residual / (draws * cases), cases)
