"""Score tables for the tests of reports.statistics."""

import numpy as np
import pandas as pd


def score_table(rows, index=None) -> pd.DataFrame:
    """Runs by cases; the cases are c0, c1, ..."""
    rows = np.asarray(rows, dtype=float)
    return pd.DataFrame(rows, index=index, columns=[f"c{n}" for n in range(rows.shape[1])])
