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
    if not scores:
        return []
    # as little pandas as there can be: a report over a thousand records comes here thousands of times
    tables = [frame.to_numpy(dtype=float) for frame in scores]
    valued = [~np.isnan(table).all(axis=1) for table in tables]
    cases = scores[0].columns
    if not (cases.is_monotonic_increasing and all(frame.columns.equals(cases) for frame in scores)):
        cases = reduce(pd.Index.intersection, (frame.columns for frame in scores)).sort_values()
        tables = [table[:, frame.columns.get_indexer(cases)] for table, frame in zip(tables, scores, strict=True)]
    finite = [np.isfinite(table[runs]).all(axis=0) for table, runs in zip(tables, valued, strict=True)]
    kept = np.logical_and.reduce(finite)
    return [
        _independent(table[runs][:, kept], frame.index[runs])
        for table, runs, frame in zip(tables, valued, scores, strict=True)
    ]


def _independent(scores: np.ndarray, runs: pd.Index) -> np.ndarray:
    if DRAW not in runs.names or runs.unique(DRAW).size < 2:
        return scores
    draws = runs.get_level_values(DRAW)
    return np.stack([scores[draws == draw].mean(axis=0) for draw in draws.unique()])
