"""Everything that was scored, in long form: long.csv and cases.csv."""

import pandas as pd

from reports.measures import ROW_KEYS, nsd, structure_names, with_rows
from reports.results import Results

SMALL = 50_000  # values; a report over more leaves them in the records
ROW = [*ROW_KEYS, "row"]
SCORED = ["checkpoint", "postprocessing", "class", "metric", "unit"]
SHOWN = ["checkpoint", "postprocessing", "class", "structure", "metric", "unit"]


def long_frame(results: Results) -> pd.DataFrame:
    """One line for each row of the tables, checkpoint, postprocessing, class, metric and unit, in cases.csv's units.

    mean, sd (n - 1), n: over test cases, each averaged over runs; a case that is undefined in one run is left out.
    seed_sd: over runs, of their means over these cases. runs: how many (seeds x draws). seeds: which seeds. structure:
    the name of the class. The metrics `predicted` and `reference` are volumes. `nsd_2mm` is NSD at a tolerance of 2 mm:
    two tolerances are two metrics.
    """
    cells = with_rows(results.cells)
    values = results.cases.merge(cells[["trial", "row"]], on="trial")
    keys = ["row", *SCORED]
    if (undefined := values["value"].isna()).any():
        values["value"] = values["value"].mask(
            undefined.groupby([values[key] for key in [*keys, "case"]]).transform("any")
        )
    by_case = values.groupby([*keys, "case"])["value"].mean().groupby(keys).agg(mean="mean", sd="std", n="count")
    by_run = values.groupby([*keys, "trial"])["value"].mean().groupby(keys).agg(seed_sd="std", runs="size")
    done = cells[cells["trial"].isin(values["trial"])].groupby("row")["seed"]
    seeds = done.agg(lambda seeds: " ".join(map(str, dict.fromkeys(seeds)))).rename("seeds")
    rows = cells.drop_duplicates("row")[ROW]
    frame = rows.merge(by_case.join(by_run).reset_index(), on="row").merge(seeds, on="row")
    return _named(frame, results)[[*ROW_KEYS, *SHOWN, "mean", "sd", "n", "seed_sd", "runs", "seeds"]]


def cases_frame(results: Results) -> pd.DataFrame | None:
    """Every value of every run and case; None where that is too much for one file."""
    if len(results.cases) > SMALL:
        return None
    run = [*ROW_KEYS, "draw", "seed", "trial"]
    frame = with_rows(results.cells)[run].merge(results.cases, on="trial")
    return _named(frame, results)[[*run, *SHOWN, "case", "value"]]


def _named(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """With the structures' names, and the tolerance in the name of NSD."""
    metrics = frame["metric"].replace(nsd(results).metric, nsd_name(results))
    return frame.assign(structure=frame["class"].map(structure_names(results)), metric=metrics)


def nsd_name(results: Results) -> str:
    """What long.csv and cases.csv call NSD at the tolerance of these results."""
    return f"{nsd(results).metric}_{results.plan.evaluation.nsd_tolerance:g}mm"
