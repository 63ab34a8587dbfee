"""Intervals of what unlabelled cases are worth: the share of the gap that is closed, and the labels that are saved.

Both are intervals of ratios or of crossings, so they are found by inverting a test (Fieller's way): a value belongs to
the interval if the weighted sum of means that it stands for does not differ from 0. Such an interval may be unbounded,
and then the scores say nothing.
"""

from collections.abc import Sequence

import numpy as np

from reports.statistics.intervals import Contrasts

SHARES, POSITIONS = 4001, 1001  # values that are tried: of the share, and between two points of the floor's curve


def gap_interval(known: Contrasts) -> tuple[float, float]:
    """95 % confidence interval of (method - floor) / (ceiling - floor).

    Args:
        known: of method, floor and ceiling, in this order.

    Returns:
        Lower and upper end, as shares, right to about 0.002. They are -inf and inf where the ceiling does not differ
        from the floor: then any share is possible. NaN where no score varies.

    Raises:
        ValueError: `known` is not of three methods.

    Source:
        Fieller (1954), Some problems in interval estimation, Journal of the Royal Statistical Society B 16; with the
        variance of the seed-aware test.

    Example:
        >>> import pandas as pd
        >>> from reports.statistics import contrasts
        >>> floor = pd.DataFrame([[60.0, 50, 70, 62], [61, 50, 72, 61], [60, 51, 70, 63]])
        >>> low, high = gap_interval(contrasts([floor + [9, 10, 11, 10], floor, floor + [19, 21, 20, 20]]))
        >>> print(f"{low:.2f} to {high:.2f}")
        0.44 to 0.56
    """
    if len(known.means) != 3:
        raise ValueError(f"{len(known.means)} methods: give method, floor and ceiling")
    if not known.varies:
        return np.nan, np.nan
    angles = np.linspace(-np.pi / 2, np.pi / 2, SHARES)  # of the share as a tangent, so that its ends are infinite
    one, share = np.cos(angles), np.sin(angles)
    value, half_width = known.at(np.stack([one, share - one, -share], axis=-1))
    possible = np.abs(value) <= half_width
    if possible[[0, -1]].any():
        return -np.inf, np.inf
    places = np.flatnonzero(possible | _crossings(value))
    if not len(places):  # ceiling and floor are the same number, which nothing makes uncertain
        return -np.inf, np.inf
    low, high = np.tan(angles[places[[0, -1]]])
    return float(low), float(high)


def _crossings(value: np.ndarray) -> np.ndarray:
    """Where the sign changes: it belongs to the interval, however narrow that is beside the steps."""
    return np.diff(np.sign(value), prepend=np.sign(value[0])) != 0


def saved_interval(known: Contrasts, counts: Sequence[float], labelled: float) -> tuple[float, float]:
    """95 % confidence interval of the labels that a method saves, as `reports.labels_saved` defines them.

    Args:
        known: of the method, then of supervised training with each of `counts` labelled cases.
        counts: numbers of labelled cases, ascending. Between them supervised training is a straight line over the
            logarithm.
        labelled: the number of labelled cases that the method had.

    Returns:
        Lower and upper end, in cases. -inf: supervised training may need fewer cases than the smallest of `counts`;
        inf: more than the largest. NaN where no score varies.

    Raises:
        ValueError: `counts` are not ascending numbers above 0, one for each method after the first.

    Source:
        As `gap_interval`.

    Example:
        >>> import pandas as pd
        >>> from reports.statistics import contrasts
        >>> floor = pd.DataFrame([[60.0, 50, 70, 62], [61, 50, 72, 61], [60, 51, 70, 63]])
        >>> known = contrasts([floor + [9, 10, 11, 10], floor, floor + [19, 21, 20, 20]])
        >>> low, high = saved_interval(known, counts=(4, 16), labelled=4)
        >>> print(f"{low:.1f} to {high:.1f}")
        3.4 to 4.6
    """
    if not known.varies:
        return np.nan, np.nan
    counts = np.asarray(counts, dtype=float)
    if len(known.means) != 1 + len(counts) or not len(counts) or (np.diff(counts, prepend=0) <= 0).any():
        raise ValueError(f"{len(known.means)} methods and counts {counts.tolist()}: give ascending counts, one fewer")
    places = np.linspace(0, len(counts) - 1, 1 + POSITIONS * (len(counts) - 1))
    before = np.minimum(places.astype(int), max(len(counts) - 2, 0))
    shares = places - before
    weights = np.zeros((len(places), 1 + len(counts)))
    weights[:, 0] = 1
    weights[np.arange(len(places)), 1 + before] -= 1 - shares
    weights[np.arange(len(places)), np.minimum(2 + before, len(counts))] -= shares
    value, half_width = known.at(weights)
    saved = np.exp(np.interp(places, np.arange(len(counts)), np.log(counts))) - labelled
    possible = np.flatnonzero((np.abs(value) <= half_width) | _crossings(value))
    if not len(possible):  # above or below the whole curve
        return (float(saved[-1]), np.inf) if value[-1] > 0 else (-np.inf, float(saved[0]))
    first, last = possible[[0, -1]]
    return -np.inf if first == 0 else float(saved[first]), np.inf if last == len(places) - 1 else float(saved[last])
