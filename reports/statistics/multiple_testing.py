"""Correction of p values for several comparisons."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjust the p values of a family of tests by Holm's step-down method.

    Among the tests whose adjusted p is below 0.05, there is a false one in at most 5 % of families.

    Args:
        p_values: p values of one family, of shape (tests,). NaN stands for a test that could not be made.

    Returns:
        Adjusted p values, of shape (tests,), in the same order. NaN stays NaN and does not count as a comparison.

    Raises:
        ValueError: the p values are not one-dimensional, or one of them is outside [0, 1].

    Source:
        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    # written out: statsmodels' multipletests runs the garbage collector in every call, which takes 50 ms and more
    adjusted = np.array(p_values, dtype=float)
    if adjusted.ndim != 1:
        raise ValueError(f"the p values of a family must have one dimension, not {adjusted.ndim}")
    if ((adjusted < 0) | (adjusted > 1)).any():
        raise ValueError("p values must be between 0 and 1")
    order = np.argsort(adjusted)[: np.isfinite(adjusted).sum()]  # NaN sorts last
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
