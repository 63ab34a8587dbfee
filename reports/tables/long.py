"""Everything that was scored, in long form: long.csv and cases.csv."""

import pandas as pd

from reports.measures import ROW_KEYS, with_rows
from reports.results import Results

SMALL = 50_000  # values; a report over more leaves them in the records
ROW = [*ROW_KEYS, "row"]
SCORED = ["checkpoint", "postprocessing", "class", "metric", "unit"]


def long_frame(results: Results) -> pd.DataFrame:
    """One line for each row of the tables, checkpoint, postprocessing, class, metric and unit, in cases.csv's units.

    mean, sd (n - 1), n: over test cases, each averaged over runs. seed_sd: over runs, of their means over cases. runs:
    how many (seeds x draws). seeds: which seeds. The metrics `predicted` and `reference` are volumes.
    """
    cells = with_rows(results.cells)
    values = results.cases.merge(cells[["trial", "row"]], on="trial")
    keys = ["row", *SCORED]
    by_case = values.groupby([*keys, "case"])["value"].mean().groupby(keys).agg(mean="mean", sd="std", n="count")
    by_run = values.groupby([*keys, "trial"])["value"].mean().groupby(keys).agg(seed_sd="std", runs="size")
    done = cells[cells["trial"].isin(values["trial"])].groupby("row")["seed"]
    seeds = done.agg(lambda seeds: " ".join(map(str, dict.fromkeys(seeds)))).rename("seeds")
    rows = cells.drop_duplicates("row")[ROW]
    frame = rows.merge(by_case.join(by_run).reset_index(), on="row").merge(seeds, on="row")
    return frame[[*ROW_KEYS, *SCORED, "mean", "sd", "n", "seed_sd", "runs", "seeds"]]


def cases_frame(results: Results) -> pd.DataFrame | None:
    """Every value of every run and case; None where that is too much for one file."""
    if len(results.cases) > SMALL:
        return None
    run = [*ROW_KEYS, "draw", "seed", "trial"]
    frame = with_rows(results.cells)[run].merge(results.cases, on="trial")
    return frame[[*run, *SCORED, "case", "value"]]
