"""What a run that diverged or failed counts as: it has found nothing in any test case."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from benchmark.records.arrays import read_picture
from benchmark.records.case_values import CHECKPOINT, COLUMNS, POSTPROCESSINGS, CaseValue
from benchmark.records.models import Cell, StoredPlan
from benchmark.records.states import DIVERGED, FAILED, CellState
from reports.published import spacing_of

OVERLAPS = {("dice", ""): 0.0, ("jaccard", ""): 0.0, ("nsd", ""): 0.0, ("volume_error", "percent"): -100.0}
DISTANCES = ("asd", "hd95", "assd", "hd95_max")
WITHOUT_VALUES = (DIVERGED, FAILED)


def counts(state: str, plan: StoredPlan) -> bool:
    """Whether a run in this state counts with the worst values. A diverged run is a result of its method, which the
    plan may leave out. An error is none: it may be the machine's."""
    return state == DIVERGED and plan.evaluation.diverged == "worst"


def worst_frame(
    found: Iterable[tuple[Cell, CellState]], plan: StoredPlan, cases: pd.DataFrame, pictures: Mapping[str, Path]
) -> pd.DataFrame:
    """What a prediction without a voxel scores, for each run that diverged or failed.

    Dice, Jaccard and normalised surface Dice are 0, the volume error is -100 %, distances are the image diagonal.

    Where a test case lacks a structure there is no value, as for an empty prediction.

    Args:
        found: planned cells and their states.
        plan: of the folder. Plans of earlier versions lack the shapes of test cases.
        cases: values of the runs that were scored, as in `Results.cases`. They tell what there is to find.
        pictures: {case: file}, for shapes that the plan lacks.

    Returns:
        One row a value, as in `Results.cases`. A distance is NaN where the shape of its case is not known.
    """
    ended = [(cell.trial, state.record) for cell, state in found if state.state in WITHOUT_VALUES]
    if not ended:
        return cases.iloc[:0]
    truth = cases[cases["metric"] == "reference"]
    absent = set(truth.loc[truth["value"] == 0, ["case", "class"]].itertuples(index=False, name=None))
    tested = sorted(set(truth["case"]) or plan.shapes or ended[0][1].test or [])
    values = []
    for case in tested:
        scores = _of_case(case, plan, pictures)
        for structure in range(1, plan.data.classes + 1):
            if (case, structure) not in absent:
                values += [
                    CaseValue(CHECKPOINT, postprocessing, structure, case, *metric, value)
                    for postprocessing in POSTPROCESSINGS
                    for metric, value in scores.items()
                ]
    return pd.DataFrame([(trial, *value) for trial, _ in ended for value in values], columns=["trial", *COLUMNS])


def _of_case(case: str, plan: StoredPlan, pictures: Mapping[str, Path]) -> dict[tuple[str, str], float]:
    """The scores by metric and unit of a prediction that finds nothing."""
    shape = plan.shapes.get(case)
    if shape is None and case in pictures and (picture := read_picture(pictures[case])) is not None:
        shape = picture[0].shape
    scores = dict(OVERLAPS)
    for unit, sides in (("voxel", (1, 1, 1)), ("mm", spacing_of(plan.data, case))):
        diagonal = math.nan if shape is None else math.hypot(*(n * side for n, side in zip(shape, sides, strict=True)))
        scores |= {(metric, unit): diagonal for metric in DISTANCES}
    return scores
