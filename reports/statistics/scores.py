"""From score frames to arrays of independent runs on the same cases."""

from functools import reduce

import numpy as np
import pandas as pd

DRAW = "draw"


def complete(*scores: pd.DataFrame) -> list[np.ndarray]:
    """Arrays (runs, cases), one a frame, of the cases, sorted, that every run of every frame has a value for.

    A run without any value is left out first, so that one failed run does not cost every case.

    Runs that share a draw of the labelled cases (an index level `draw`) are not independent of each other. Where a
    frame has several draws, the runs of each are averaged, and a draw counts as one run.
    """
    scores = [frame.dropna(how="all") for frame in scores]
    if not scores:
        return []
    cases = reduce(pd.Index.intersection, (frame.columns for frame in scores)).sort_values()
    for frame in scores:
        cases = cases[np.isfinite(frame[cases].to_numpy(dtype=float)).all(axis=0)]
    return [_independent(frame[cases].astype(float)).to_numpy() for frame in scores]


def _independent(scores: pd.DataFrame) -> pd.DataFrame:
    if DRAW in scores.index.names and scores.index.unique(DRAW).size > 1:
        return scores.groupby(level=DRAW, sort=False).mean()
    return scores
