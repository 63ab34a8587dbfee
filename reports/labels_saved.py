"""How many labelled cases a method is worth."""

import numpy as np
import pandas as pd


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
