"""From score tables to matrices of independent runs on the same cases."""

from functools import reduce

import numpy as np
import pandas as pd

DRAW = "draw"


def score_matrices(*tables: pd.DataFrame) -> list[np.ndarray]:
    """Bring score tables to the same cases and to independent runs.

    First, a run without any value is left out, so that one failed run does not cost every case. Then, a case is left
    out if any remaining run of any table lacks a value for it.

    Runs that share a draw of the labelled cases are not independent. Where a table has several draws (index level
    `draw`), the runs of each draw are averaged, and a draw counts as one run. Draws are sorted.

    Args:
        tables: score tables, of shape (runs, cases) each. Index: run; columns: case. Numbers of runs may differ.

    Returns:
        One array per table, of shape (independent runs, common cases). Cases are sorted and the same in all.

    Raises:
        ValueError: an argument is not a DataFrame, or it has two columns for one case.

    Example:
        >>> first = pd.DataFrame([[90.0, 80.0, 70.0], [92.0, 82.0, None]], columns=["c1", "c2", "c3"])
        >>> second = pd.DataFrame([[60.0, 50.0]], columns=["c2", "c1"])
        >>> [matrix.tolist() for matrix in score_matrices(first, second)]
        [[[90.0, 80.0], [92.0, 82.0]], [[50.0, 60.0]]]
        >>> first.index = pd.MultiIndex.from_tuples([("first", 1), ("0", 1)], names=["draw", "seed"])
        >>> score_matrices(pd.concat([first, first]))[0].shape
        (2, 2)
    """
    if not tables:
        return []
    for table in tables:
        if not isinstance(table, pd.DataFrame):
            raise ValueError(f"a score table must be a DataFrame of runs by cases, not {type(table).__name__}")
        if not table.columns.is_unique:
            raise ValueError(f"case {table.columns[table.columns.duplicated()][0]!r} has more than one column")
    # as little pandas as possible: a report on a thousand records calls this thousands of times
    matrices = [table.to_numpy(dtype=float) for table in tables]
    valued = [~np.isnan(matrix).all(axis=1) for matrix in matrices]
    cases = tables[0].columns
    if not (cases.is_monotonic_increasing and all(table.columns.equals(cases) for table in tables)):
        cases = reduce(pd.Index.intersection, (table.columns for table in tables)).sort_values()
        matrices = [matrix[:, table.columns.get_indexer(cases)] for matrix, table in zip(matrices, tables, strict=True)]
    finite = [np.isfinite(matrix[runs]).all(axis=0) for matrix, runs in zip(matrices, valued, strict=True)]
    kept = np.logical_and.reduce(finite)
    return [
        _independent(matrix[runs][:, kept], table.index[runs])
        for matrix, runs, table in zip(matrices, valued, tables, strict=True)
    ]


def _independent(scores: np.ndarray, runs: pd.Index) -> np.ndarray:
    """Average the runs of each draw of the labelled cases, if there are several draws."""
    if DRAW not in runs.names or runs.unique(DRAW).size < 2:
        return scores
    draws = runs.get_level_values(DRAW)
    return np.stack([scores[draws == draw].mean(axis=0) for draw in draws.unique().sort_values()])


def shared_draws(*tables: pd.DataFrame) -> int:
    """How many draws of the labelled cases all tables have in common, if they have the same ones; else 0.

    The rows that `score_matrices` makes of such tables belong together, draw by draw.

    Example:
        >>> table = pd.DataFrame({"c1": [1.0, 2.0]}, index=pd.MultiIndex.from_tuples([("0", 7), ("1", 7)],
        ...     names=["draw", "seed"]))
        >>> shared_draws(table, table + 1), shared_draws(table, table.iloc[:1])
        (2, 0)
    """
    found = [_draws(table) for table in tables]
    return len(found[0]) if all(found) and all(draws == found[0] for draws in found) else 0


def _draws(table: pd.DataFrame) -> list:
    """The draws that have a value, in order; none where draws are not told apart."""
    if DRAW not in table.index.names:
        return []
    return sorted(table.index[table.notna().any(axis=1)].unique(DRAW))
