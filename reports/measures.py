"""What is measured: the metrics' names, units and direction, and their values by row of the tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.records.case_values import CHECKPOINT
from benchmark.records.models import ROW_KEYS
from reports.results import Results, is_left_out


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
    larger_is_better: bool | None = False  # None: the best value is 0, and values have a sign

    @property
    def name(self) -> str:
        """What columns of the tables' frames are called."""
        return f"{self.metric}_{self.unit or 'percent'}"

    @property
    def better(self) -> str:
        """What `Column.better` says of it; "" if values are not ranked."""
        return {True: "higher", False: "lower", None: ""}[self.larger_is_better]

    @property
    def label(self) -> str:
        return f"{self.title} [{self.shown_unit}]"


DICE = Measure("dice", "", "Dice", "%", 100.0, larger_is_better=True)
JACCARD = Measure("jaccard", "", "Jaccard", "%", 100.0, larger_is_better=True)
ASD, ASD_MM = (Measure("asd", unit, "ASD", unit) for unit in ("voxel", "mm"))
HD95, HD95_MM = (Measure("hd95", unit, "95HD", unit) for unit in ("voxel", "mm"))
ASSD, ASSD_MM = (Measure("assd", unit, "ASSD", unit) for unit in ("voxel", "mm"))
HD95_MAX, HD95_MAX_MM = (Measure("hd95_max", unit, "95HD max", unit) for unit in ("voxel", "mm"))
VOLUME_ERROR = Measure("volume_error", "percent", "Volume error", "%", larger_is_better=None)

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


def nsd(results: Results) -> Measure:
    """Normalised surface Dice. Its title has the tolerance, because two tolerances are two measures."""
    tolerance = results.plan.evaluation.nsd_tolerance
    return Measure("nsd", "", f"NSD at {tolerance:g} mm", "%", 100.0, larger_is_better=True)


def further_measures(results: Results) -> tuple[Measure, Measure, Measure]:
    """95HD of the worse direction, in the unit of the tables, NSD and the volume error."""
    return (HD95_MAX if hd95(results) is HD95 else HD95_MAX_MM), nsd(results), VOLUME_ERROR


def all_measures(results: Results) -> tuple[Measure, ...]:
    """Every measure in every unit."""
    distances = (ASD, HD95, ASSD, HD95_MAX, ASD_MM, HD95_MM, ASSD_MM, HD95_MAX_MM)
    return (DICE, JACCARD, *distances, nsd(results), VOLUME_ERROR)


def structure_names(results: Results) -> dict[int, str]:
    """The structures as the data set names them, by their number in cases.csv."""
    data = results.plan.data
    numbers = range(1, data.classes + 1)
    if len(data.class_names) != data.classes:  # a plan of an early version
        return {number: f"structure {number}" for number in numbers}
    return dict(zip(numbers, data.class_names, strict=True))


def with_rows(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with two more columns: `row`, the number of their row in the plan's order, and `settings` as text."""
    cells = cells.assign(settings=[json.dumps(settings, sort_keys=True) for settings in cells["settings"]])
    return cells.assign(row=cells.groupby(ROW_KEYS, sort=False, dropna=False).ngroup())


def held_back(results: Results) -> set[int]:
    """The rows, by number, whose mean lacks a run that failed or diverged. They have no star, no bold and no rank: a
    mean of what went well is not to be compared with means of everything."""
    cells = with_rows(results.cells)
    return set(cells.loc[is_left_out(cells), "row"]) & set(cells.loc[cells["scored"].astype(bool), "row"])


def scores(
    results: Results, of: Sequence[Measure] = (), structure: int | None = None, checkpoint: str = CHECKPOINT
) -> Scores:
    """The values of one checkpoint under every postprocessing, by row of the tables.

    A case counts with its mean over structures. One that is neither in the truth nor in the prediction plays no part.
    If a value of any other structure is undefined, so is the case's: missing a structure must not pay. A case that is
    undefined in one run of a row is undefined in all of them, so that means and tests are of the same cases.

    Args:
        results: what a results folder holds.
        of: which measures; by default `measures`.
        structure: the number of a structure, to have its values instead of means over structures.
        checkpoint: the last, or the rule that chose another.

    Returns:
        A table for each row that has a defined case, in the unit that the measure is shown in.
    """
    # Runs are in the plan's order: what resamples them must not depend on the trials' names.
    cells = with_rows(results.cells)
    cells = cells.loc[cells["scored"].astype(bool), ["trial", "row", "draw"]].astype({"draw": str})
    cells = cells.assign(run=range(len(cells)))
    index = ["draw", "trial"] if cells["draw"].nunique() > 1 else ["trial"]
    cases = results.cases[results.cases["checkpoint"] == checkpoint].merge(cells, on="trial")
    if structure is not None:
        cases = cases[cases["class"] == structure]
    cases = cases[cases["value"].notna() | ~_neither_there_nor_found(cases)]
    tables: Scores = {}
    for measure in of or measures(results):
        chosen = cases[(cases["metric"] == measure.metric) & (cases["unit"] == measure.unit)]
        by_case = chosen.groupby(["row", "postprocessing", "run", *index, "case"])["value"]
        means = by_case.mean()
        if chosen["value"].isna().any():
            means = means.where(by_case.count() == by_case.size())
        values = means.unstack("case").astype(float) * measure.factor
        runs, array = values.index.droplevel(["row", "postprocessing", "run"]), values.to_numpy()
        for (row, postprocessing), lines in values.groupby(["row", "postprocessing"]).indices.items():
            whole = len(lines) == (cells["row"] == row).sum()  # else some records were made before this metric came
            undefined = np.isnan(array[lines]).any(axis=0)
            if whole and not undefined.all():
                shown = np.where(undefined, np.nan, array[lines])
                tables[row, postprocessing, measure.name] = pd.DataFrame(
                    shown, index=runs[lines], columns=values.columns
                )
    return tables


def _neither_there_nor_found(cases: pd.DataFrame) -> pd.Series:
    """Whether a value is of a structure that is neither in the truth nor in the prediction: then it has no Dice."""
    keys = ["trial", "postprocessing", "class", "case"]
    no_dice = cases.loc[(cases["metric"] == DICE.metric) & cases["value"].isna(), keys]
    if no_dice.empty:
        return pd.Series(False, index=cases.index)
    absent = pd.MultiIndex.from_frame(cases[keys]).isin(pd.MultiIndex.from_frame(no_dice))
    return pd.Series(absent, index=cases.index)


def empty_predictions(results: Results, structure: int | None = None) -> pd.DataFrame:
    """How many predictions (cases x classes) there are, and how many are empty though there is a structure to find.

    Args:
        results: what a results folder holds.
        structure: the number of a structure, to count it alone.

    Returns:
        Columns `predictions` and `empty`; index trial and postprocessing.
    """
    cases = results.cases[results.cases["checkpoint"] == CHECKPOINT]
    if structure is not None:
        cases = cases[cases["class"] == structure]
    keys = ["trial", "postprocessing", "case", "class"]
    counts = {
        metric: cases[cases["metric"] == metric].set_index(keys)["value"] for metric in ("predicted", "reference")
    }
    empty = (counts["predicted"] == 0) & (counts["reference"].reindex(counts["predicted"].index) > 0)
    return empty.groupby(["trial", "postprocessing"]).agg(predictions="size", empty="sum")
