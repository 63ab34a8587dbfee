"""What is measured: the metrics' names, units and direction, and their values by row of the tables."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.records.case_values import CHECKPOINT
from reports.results import Results, is_left_out

# What makes a row of the tables. The runs of a row differ in seed and draw alone.
ROW_KEYS = ["role", "method", "display", "settings", "labelled", "unlabelled"]


@dataclass(frozen=True)
class Measure:
    """A metric in one unit, as tables and figures show it.

    Example:
        >>> DICE.name, DICE.label, HD95_MM.label
        ('dice_percent', 'Dice [%]', '95HD [mm]')
    """

    metric: str  # in cases.csv
    unit: str  # in cases.csv
    title: str
    shown_unit: str
    factor: float = 1.0  # shown values are those of cases.csv times this
    larger_is_better: bool = False

    @property
    def name(self) -> str:
        """What columns of the tables' frames are called."""
        return f"{self.metric}_{self.unit or 'percent'}"

    @property
    def better(self) -> str:
        return "higher" if self.larger_is_better else "lower"

    @property
    def label(self) -> str:
        return f"{self.title} [{self.shown_unit}]"


DICE = Measure("dice", "", "Dice", "%", 100.0, larger_is_better=True)
JACCARD = Measure("jaccard", "", "Jaccard", "%", 100.0, larger_is_better=True)
ASD, ASD_MM = (Measure("asd", unit, "ASD", unit) for unit in ("voxel", "mm"))
HD95, HD95_MM = (Measure("hd95", unit, "95HD", unit) for unit in ("voxel", "mm"))
ASSD, ASSD_MM = (Measure("assd", unit, "ASSD", unit) for unit in ("voxel", "mm"))
ALL = (DICE, JACCARD, ASD, HD95, ASSD, ASD_MM, HD95_MM, ASSD_MM)

# {(row, postprocessing, name of the measure): one line for each run, one column for each case}. The index is the trial.
# With several draws, the draw is the level above it: runs on the same labelled cases are not independent.
Scores = dict[tuple[int, str, str], pd.DataFrame]


def measures(results: Results) -> tuple[Measure, Measure, Measure, Measure]:
    """Dice, Jaccard, ASD and 95HD, which papers print.

    Distances are in voxels, as in the papers. Where voxels are no cubes of one size they are in mm: a mean over voxels
    of several lengths would mean nothing.
    """
    data = results.plan.data
    cubes = not data.other_spacings and np.allclose(data.native_spacing, data.native_spacing[0])
    return (DICE, JACCARD, ASD, HD95) if cubes else (DICE, JACCARD, ASD_MM, HD95_MM)


def hd95(results: Results) -> Measure:
    """95HD in the unit that the tables of these results have."""
    return measures(results)[3]


def with_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with two more columns: `row`, the number of their row in the plan's order, and `settings` as text."""
    cells = cells.assign(settings=[json.dumps(settings, sort_keys=True) for settings in cells["settings"]])
    return cells.assign(row=cells.groupby(ROW_KEYS, sort=False, dropna=False).ngroup())


def held_back(results: Results) -> set[int]:
    """The rows, by number, whose mean lacks a run that failed or diverged. They have no star, no bold and no rank: a
    mean of what went well is not to be compared with means of everything."""
    cells = with_rows(results.cells)
    return set(cells.loc[is_left_out(cells), "row"]) & set(cells.loc[cells["scored"].astype(bool), "row"])


def scores(results: Results) -> Scores:
    """The values of `measures` of the last checkpoint under every postprocessing, averaged over classes."""
    # Runs are in the plan's order: what resamples them must not depend on the trials' names.
    cells = with_rows(results.cells)[["trial", "row", "draw"]].astype({"draw": str})
    cells = cells.assign(run=range(len(cells)))
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
    """How many predictions (cases x classes) there are, and how many are empty though there is a structure to find.

    Returns:
        Columns `predictions` and `empty`; index trial and postprocessing.
    """
    cases = results.cases[results.cases["checkpoint"] == CHECKPOINT]
    keys = ["trial", "postprocessing", "case", "class"]
    counts = {
        metric: cases[cases["metric"] == metric].set_index(keys)["value"] for metric in ("predicted", "reference")
    }
    empty = (counts["predicted"] == 0) & (counts["reference"].reindex(counts["predicted"].index) > 0)
    return empty.groupby(["trial", "postprocessing"]).agg(predictions="size", empty="sum")
