"""Is a method's mean the same as a known figure, up to a margin? Runs are the sample, the cases are the figure's."""

import numpy as np
from scipy import special

WITHIN, OUTSIDE, OPEN = "within", "outside", "open"


def interval_over_runs(means: np.ndarray, new_runs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % confidence interval of a method's mean on fixed cases: mean ± t·s/√S, where S is the number of runs.

    The seed-aware test takes cases as a sample, too. Here they are not: a figure that was measured on the same cases
    has their difficulty in common, so that it says nothing about the difference.

    Args:
        means: a run's mean over cases, of shape (..., S).
        new_runs: number of further runs whose mean is to be predicted. None: the interval is of the method's own mean.

    Returns:
        Lower and upper ends, of shape (...). NaN with fewer than two runs, and where all runs are alike: they do not
        tell how much a method varies from seed to seed.

    Raises:
        ValueError: `new_runs` is below 1.

    Source:
        Student (1908), The probable error of a mean, Biometrika 6.

    Example:
        >>> low, high = interval_over_runs(np.array([89.9, 90.1, 90.3]))
        >>> print(f"{low:.2f} to {high:.2f}")
        89.60 to 90.60
        >>> low, high = interval_over_runs(np.array([89.9, 90.1, 90.3]), new_runs=1)
        >>> print(f"{low:.2f} to {high:.2f}")
        89.11 to 91.09
    """
    if new_runs is not None and new_runs < 1:
        raise ValueError(f"new_runs is {new_runs}: give a number of at least 1, or None")
    count, mean = means.shape[-1], means.mean(-1)
    if count < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    sd = means.std(-1, ddof=1)
    sd = np.where(sd > 1e-12 * np.maximum(1.0, np.abs(means).max(-1)), sd, np.nan)  # alike up to rounding
    half_width = special.stdtrit(count - 1, 0.975) * sd * np.sqrt(1 / count + (1 / new_runs if new_runs else 0))
    return mean - half_width, mean + half_width


def side_of_margin(low: float, high: float, margin: float) -> str:
    """Where the interval of a difference lies: "within" ±margin, "outside" of it, or "open".

    Args:
        low: lower end of the interval.
        high: its upper end. NaN is open.
        margin: what is too small to count, in the unit of the difference.

    Returns:
        One of the three words.

    Raises:
        ValueError: the margin is negative, or low is above high.

    Source:
        Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach for assessing the
        equivalence of average bioavailability, Journal of Pharmacokinetics and Biopharmaceutics 15.

    Example:
        >>> side_of_margin(-0.4, 0.8, margin=1), side_of_margin(-3, -1.2, margin=1), side_of_margin(-3, 0.1, margin=1)
        ('within', 'outside', 'open')
    """
    if margin < 0 or low > high:
        raise ValueError(f"an interval from {low} to {high} and a margin of {margin}: give low <= high and margin >= 0")
    if -margin <= low and high <= margin:
        return WITHIN
    return OUTSIDE if low > margin or high < -margin else OPEN
