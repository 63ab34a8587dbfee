"""How probable it is that a published order of two methods is false."""

import numpy as np
from scipy import special


def false_order_probability(
    gap: float | np.ndarray,
    cases: int,
    higher_sd: float | np.ndarray,
    lower_sd: float | np.ndarray,
    correlation: float | np.ndarray,
) -> float | np.ndarray:
    """The probability that the method with the higher printed mean is not the better one on further cases.

    It needs means and no scores by case, so it can be computed from a paper's table. Like the paired t-test over cases,
    it takes each method for its one trained network. What another seed would change comes on top.

    Args:
        gap: higher mean minus lower mean. Negative where the claimed winner has the lower mean.
        cases: number of test cases, the same for both.
        higher_sd: standard deviation over cases of the method with the higher mean, in the unit of the gap.
        lower_sd: that of the other method.
        correlation: of both methods' scores over cases, -1 to 1.

    Returns:
        A probability, 0.5 for no gap. NaN if all differences would be equal: SDs are equal and the correlation is 1.

    Raises:
        ValueError: fewer than two cases, a negative SD, or a correlation outside -1 to 1.

    Source:
        Christodoulou et al. (2025), False Promises in Medical Imaging AI?, arXiv 2505.04720, its formula for
        segmentation: the cumulative t distribution with n - 1 degrees of freedom at
        sqrt(n) (μ_B - μ_A) / sqrt(s_A² + s_B² - 2 s_A s_B r), where A is claimed to be better.

    Example:
        >>> print(f"{false_order_probability(0.5, cases=20, higher_sd=3.5, lower_sd=3.5, correlation=0.7):.2f}")
        0.21
    """
    if cases < 2:
        raise ValueError(f"cases is {cases}: give at least 2")
    if np.min(higher_sd) < 0 or np.min(lower_sd) < 0:
        raise ValueError("standard deviations must not be negative")
    if np.min(correlation) < -1 or np.max(correlation) > 1:
        raise ValueError("a correlation must be between -1 and 1")
    variance = np.square(higher_sd) + np.square(lower_sd) - 2 * np.multiply(higher_sd, lower_sd) * correlation
    error = np.sqrt(np.where(variance > 0, variance, np.nan) / cases)
    return special.stdtr(cases - 1, -np.asarray(gap) / error)[()]


def sd_factor(means: np.ndarray, sds: np.ndarray) -> float:
    """Fit the standard deviation over cases as a polynomial of the mean, SD = k · mean · (100 - mean) / 100.

    Args:
        means: mean Dice of each run, in percent.
        sds: standard deviation over cases of each run, in points.

    Returns:
        The least-squares k. `sd_of_mean` applies it.

    Raises:
        ValueError: no run, or none with a mean between 0 and 100.

    Source:
        The form: Christodoulou et al. (2024), Confidence intervals uncovered, arXiv 2409.17763. That the polynomial is
        0 at 0 and at 100 is ours.

    Example:
        >>> print(f"{sd_factor(np.array([60.0, 80.0]), np.array([9.6, 6.4])):.2f}")
        0.40
    """
    curve = sd_of_mean(np.asarray(means, dtype=float), 1.0)
    if not np.any(curve > 0):
        raise ValueError("no run has a mean between 0 and 100")
    return float(curve @ np.asarray(sds, dtype=float) / (curve @ curve))


def sd_of_mean(mean: float | np.ndarray, factor: float) -> float | np.ndarray:
    """The standard deviation over cases that goes with a mean Dice, both in percent.

    Args:
        mean: a mean Dice, 0 to 100.
        factor: as of `sd_factor`.

    Returns:
        The standard deviation, in points.

    Raises:
        ValueError: a mean outside 0 to 100.

    Source:
        See `sd_factor`.

    Example:
        >>> sd_of_mean(90.0, factor=0.4)
        3.6
    """
    if np.min(mean) < 0 or np.max(mean) > 100:
        raise ValueError("a mean Dice must be between 0 and 100 percent")
    return factor * mean * (100 - mean) / 100
