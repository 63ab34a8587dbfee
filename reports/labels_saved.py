"""How many labelled cases a method is worth, and which share of the gap to the ceiling it closes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports import statistics


def labels_saved(floor: pd.Series, dice: float, labelled: float) -> float | None:
    """How many more labelled cases than `labelled` the supervised floor needs to reach `dice`.

    Between its points the floor is a straight line over the logarithm of the number of labelled cases. Nothing is
    extrapolated. Where the line is not monotonic, the crossing nearest to `labelled` counts.

    Args:
        floor: mean Dice of supervised training alone; index: the number of labelled cases. It includes the ceiling.
        dice: what a method reached, in the unit of `floor`.
        labelled: the number of labelled cases that the method had.

    Returns:
        A number of cases, negative if the floor reaches `dice` with fewer. None if `dice` or `labelled` lies outside
        the floor's points.

    Example:
        >>> labels_saved(pd.Series({4: 60.0, 16: 80.0}), dice=70.0, labelled=4)  # the floor has 70 with 8 cases
        4.0
    """
    floor = floor.dropna().sort_index()
    counts, values = floor.index.to_numpy(dtype=float), floor.to_numpy(dtype=float)
    if len(floor) == 0 or not np.isfinite(dice) or not counts[0] <= labelled <= counts[-1]:
        return None
    here = float(np.interp(np.log(labelled), np.log(counts), values))
    if dice == here:
        return 0.0
    ahead = counts > labelled if dice > here else counts < labelled
    path = [(labelled, here), *zip(counts[ahead], values[ahead], strict=True)]
    if dice < here:  # the floor does as well with fewer cases: walk back
        path = [path[0], *path[:0:-1]]
    for (left, low), (right, high) in zip(path, path[1:], strict=False):
        if min(low, high) <= dice <= max(low, high):
            share = (dice - low) / (high - low)
            return float(left * (right / left) ** share - labelled)
    return None


@dataclass(frozen=True)
class LabelIntervals:
    """95 % confidence intervals of the share of the gap closed and of labels saved. NaN where there is none."""

    gap_low: float = np.nan
    gap_high: float = np.nan
    saved_low: float = np.nan
    saved_high: float = np.nan

    @property
    def gap_is_open(self) -> bool:
        """Whether the method may be level with the floor, and as well with the ceiling."""
        return self.gap_low <= 0 and self.gap_high >= 1

    @property
    def saved_is_open(self) -> bool:
        """Whether any number of labels may be saved."""
        return self.saved_low == -np.inf and self.saved_high == np.inf


# A method's score table, and the pool of run variances of its budget.
Pooled = tuple[pd.DataFrame, statistics.RunPool | None]


def label_intervals(
    method: Pooled, supervised: Mapping[int, Pooled], labelled: int, ceiling: int | None
) -> LabelIntervals:
    """Intervals with runs and cases as samples, as `statistics.gap_interval` and `statistics.saved_interval` have them.

    Args:
        method: the method's scores.
        supervised: those of supervised training, by the number of labelled cases. It includes the ceiling.
        labelled: the number of labelled cases that the method had.
        ceiling: the number of labelled cases of the ceiling, if there is one.
    """
    gap = saved = (np.nan, np.nan)
    counts = sorted(supervised)
    if labelled in supervised and ceiling in supervised and ceiling != labelled:
        known = _contrasts(method, supervised[labelled], supervised[ceiling])
        gap = gap if known is None else statistics.gap_interval(known)
    if counts and counts[0] <= labelled <= counts[-1]:
        known = _contrasts(method, *(supervised[count] for count in counts))
        saved = saved if known is None else statistics.saved_interval(known, counts, labelled)
    return LabelIntervals(*gap, *saved)


def _contrasts(*pooled: Pooled) -> statistics.Contrasts | None:
    tables, pools = zip(*pooled, strict=True)
    return statistics.contrasts(tables, pools)
