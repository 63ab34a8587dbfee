"""The tests, intervals and ranks of a report for any table of scores, without the harness."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from reports.statistics.family import PAIR, RANKS, compare_family
from reports.statistics.score_matrices import DRAW

METHOD, SEED, CASE, VALUE = REQUIRED = ("method", "seed", "case", "value")
FAMILY = ("measure", "labelled")  # columns that set families apart, where a table has them


def compare(
    scores: pd.DataFrame, reference: str, larger_is_better: bool | None = True, margin: float = np.nan
) -> pd.DataFrame:
    """Compare methods with a reference, from one line for each score.

    Seeds and cases both count as samples, so the answer is about methods and not about trained checkpoints. The
    report of a results folder makes the same tests with the same functions.

    Args:
        scores: columns `method`, `seed`, `case` and `value`. A case that one run of a method lacks, or whose value is
            empty there, is left out of this method. A run without any value is left out.
            Optional columns: `draw`, which cases were labelled; `measure` and `labelled`, each of whose values is a
            family of its own.
        reference: the method that the others are compared with.
        larger_is_better: whether larger values are better; None if neither direction is.
        margin: up to which a difference counts as none, in the unit of `value`; NaN: equivalence is not tested.

    Returns:
        One line for each method and family, with the columns of `statistics.csv` that docs/statistics.md explains.

    Raises:
        ValueError: a column is missing, a score is given twice or is no number, or no family has the reference.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = pd.DataFrame([(method, seed, case, rng.normal(mean, 1)) for method, mean in
        ...     (("ours", 84), ("a", 78), ("b", 77), ("c", 78)) for seed in range(3) for case in range(8)],
        ...     columns=["method", "seed", "case", "value"])
        >>> compared = compare(scores, reference="ours", margin=1.0).set_index("method")
        >>> print(f"{compared.loc['a', 'difference']:.1f}, {compared.loc['a', 'verdict']}")
        5.6, different
    """
    lines = []
    for family, tables in score_tables(scores):
        if reference not in tables:
            continue
        found = compare_family(tables, reference, larger_is_better, margin)
        lines += [{METHOD: method, **family, "reference": reference, **found[method]} for method in tables]
    if not lines:
        raise ValueError(f"no method is called {reference!r}: there are {', '.join(map(str, scores[METHOD].unique()))}")
    families = [column for column in FAMILY if column in scores]
    return pd.DataFrame(lines, columns=[METHOD, *families, "reference", *PAIR, *RANKS])


def score_tables(scores: pd.DataFrame) -> Iterator[tuple[dict, dict[str, pd.DataFrame]]]:
    """The families of a long table: what sets each apart, and the score table of each of its methods.

    Args:
        scores: as `compare` takes it.

    Returns:
        For each family a dictionary of its columns `measure` and `labelled`, and {method: score table}.

    Raises:
        ValueError: a column is missing, or a score is given twice or is no number.

    Example:
        >>> scores = pd.DataFrame({"method": ["a", "a"], "seed": [1, 1], "case": ["c1", "c2"], "value": [80.0, 81.0]})
        >>> [(family, {name: table.shape for name, table in tables.items()}) for family, tables in score_tables(scores)]
        [({}, {'a': (1, 2)})]
    """
    if missing := [column for column in REQUIRED if column not in scores]:
        raise ValueError(f"no column {', '.join(missing)}: there are {', '.join(map(str, scores.columns))}")
    runs = [column for column in (DRAW, SEED) if column in scores]
    families = [column for column in FAMILY if column in scores]
    keys = [*families, METHOD, *runs, CASE]
    if (empty := scores[keys].isna().any()).any():
        raise ValueError(f"column {empty.idxmax()} has an empty cell")
    if (again := scores.duplicated(keys)).any():
        where = ", ".join(f"{key} {scores.loc[again, key].iloc[0]}" for key in keys)
        raise ValueError(f"a score is given twice: {where}")
    values = pd.to_numeric(scores[VALUE], errors="coerce")
    if (wrong := values.isna() & scores[VALUE].notna() & scores[VALUE].astype(str).str.lower().ne("nan")).any():
        raise ValueError(f"{scores.loc[wrong, VALUE].iloc[0]!r} in column {VALUE} is no number")
    scores = scores.assign(**{VALUE: values.astype(float)})
    groups = scores.groupby(families, sort=False) if families else [((), scores)]
    for key, of_family in groups:
        index = runs if len(runs) > 1 else SEED
        tables = {
            method: _defined(table.pivot(index=index, columns=CASE, values=VALUE))
            for method, table in of_family.groupby(METHOD, sort=False)
        }
        yield dict(zip(families, key, strict=True)), tables


def _defined(table: pd.DataFrame) -> pd.DataFrame:
    """Without runs that have no value. A case that one of the others lacks has no value in any of them."""
    table = table.dropna(how="all")
    table.loc[:, table.isna().any()] = np.nan
    return table
