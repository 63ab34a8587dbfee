"""The values of a results folder as tables and tests need them: one a run and case, by row of the tables."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.results import CHECKPOINT, Results

# What makes a row of the tables: its cells differ in seed and draw alone.
ROW_KEYS = ["role", "method", "display", "settings", "labelled", "unlabelled"]


@dataclass(frozen=True)
class Measure:
    """A metric of cases.csv as tables show it: `name` is that of its columns, values are multiplied by `factor`."""

    metric: str
    unit: str
    name: str
    label: str
    factor: float = 1.0
    larger_is_better: bool = False


DICE = Measure("dice", "", "dice_percent", "Dice [%]", 100.0, True)
JACCARD = Measure("jaccard", "", "jaccard_percent", "Jaccard [%]", 100.0, True)
ASD = Measure("asd", "voxel", "asd_voxel", "ASD [voxel]")
HD95 = Measure("hd95", "voxel", "hd95_voxel", "95HD [voxel]")
ASD_MM = Measure("asd", "mm", "asd_mm", "ASD [mm]")
HD95_MM = Measure("hd95", "mm", "hd95_mm", "95HD [mm]")
ALL = (DICE, JACCARD, ASD, HD95, ASD_MM, HD95_MM)  # tables/long.csv has others

# {(row, postprocessing, measure's name): values, one line a run, one column a case}; index: trial, and above it draw
# where there are several, so that tests do not take two runs on the same labelled cases for independent ones
Scores = dict[tuple[int, str, str], pd.DataFrame]


def measures(results: Results) -> tuple[Measure, Measure, Measure, Measure]:
    """What the papers print: Dice, Jaccard, ASD, 95HD. Distances are in voxels as theirs are, but where voxels are no
    cubes of one size, in mm: an average over voxels of several lengths would mean nothing."""
    data = results.plan["data"]
    cubes = not data.get("other_spacings") and np.allclose(data["native_spacing"], data["native_spacing"][0])
    return (DICE, JACCARD, ASD, HD95) if cubes else (DICE, JACCARD, ASD_MM, HD95_MM)


def hd95(results: Results) -> Measure:
    """95HD in the unit that tables of these results have."""
    return measures(results)[3]


def with_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with `row`, the number of the row they belong to, in the plan's order, and `settings` as text."""
    cells = cells.assign(settings=[json.dumps(settings, sort_keys=True) for settings in cells["settings"]])
    return cells.assign(row=cells.groupby(ROW_KEYS, sort=False, dropna=False).ngroup())


def scores(results: Results) -> Scores:
    """Every one of `measures` under every postprocessing, of the last checkpoint, averaged over classes."""
    # runs in the plan's order: what resamples them must not depend on what trials are called
    cells = (
        with_rows(results.cells)[["trial", "row", "draw"]].astype({"draw": str}).assign(run=range(len(results.cells)))
    )
    index = ["draw", "trial"] if cells["draw"].nunique() > 1 else ["trial"]
    cases = results.cases[results.cases["checkpoint"] == CHECKPOINT].merge(cells, on="trial")
    tables: Scores = {}
    for measure in measures(results):
        chosen = cases[(cases["metric"] == measure.metric) & (cases["unit"] == measure.unit)]
        by_run = chosen.groupby(["row", "postprocessing", "run", *index, "case"])["value"].mean()
        values = by_run.unstack("case").astype(float) * measure.factor
        runs, array = values.index.droplevel(["row", "postprocessing", "run"]), values.to_numpy()
        for (row, postprocessing), lines in values.groupby(["row", "postprocessing"]).indices.items():
            table = pd.DataFrame(array[lines], index=runs[lines], columns=values.columns)
            tables[row, postprocessing, measure.name] = table
    return tables


def empty_predictions(results: Results) -> pd.DataFrame:
    """Index trial, postprocessing: how many predictions there are (cases x classes), and how many of them are empty
    though there is a structure to find."""
    cases = results.cases[results.cases["checkpoint"] == CHECKPOINT]
    keys = ["trial", "postprocessing", "case", "class"]
    counts = {
        metric: cases[cases["metric"] == metric].set_index(keys)["value"] for metric in ("predicted", "reference")
    }
    empty = (counts["predicted"] == 0) & (counts["reference"].reindex(counts["predicted"].index) > 0)
    return empty.groupby(["trial", "postprocessing"]).agg(predictions="size", empty="sum")
