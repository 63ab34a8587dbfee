"""Reads a results folder into pandas frames; nothing here writes or decides what a number means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.records.case_values import COLUMNS
from benchmark.records.models import SHARING, Cell, StoredPlan
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import CellState, planned_states
from data.errors import visible

CELL_KEYS = tuple(Cell.model_fields)
TRAINING_TIMES = ("seconds_training", "iterations_per_second")
INFERENCE_TIME = "inference_seconds_per_case"
TIMES = (*TRAINING_TIMES, INFERENCE_TIME)


@dataclass(frozen=True)
class Results:
    """A results folder as read.

    plan: plan.json.
    cells: one row a planned cell, in the plan's order: the cell's own keys; `state` and `reason` (one line, or "") as
        `status` tells them; `scored`, whether tables show its values; `stale`, the reason if they show values
        that other numerics versions than today's have made; `peeked`, which labels they opened that are not theirs.
    cases: one row a measured value of the cells that are scored: trial and the columns of cases.csv, `value` as float
        (NaN where a distance is undefined and left out).
    provenance: one row a readable record, index trial, columns as found in the provenance.json files.
    unplanned: records in the folder that belong to no planned cell.
    records: {trial: folder of its record}, of the cells that are scored.
    pictures: {case: file with its image and truth}, of the test cases that have one. A file whose name is no text is
        no case's.
    """

    plan: StoredPlan
    cells: pd.DataFrame
    cases: pd.DataFrame
    provenance: pd.DataFrame
    unplanned: list[str]
    records: dict[str, Path]
    pictures: dict[str, Path]


def read_results(folder: Path | str, packed_timings: bool = False) -> Results:
    """Read a results folder.

    Args:
        folder: the results folder.
        packed_timings: keep the times of trials that shared their machine, too.

    Raises:
        ResultsError: the folder has no plan that can be used. A broken record costs its own cell only.
    """
    results = ResultsFolder(folder)
    plan = results.read_plan()
    found = planned_states(results)
    planned = {cell.trial for cell in plan.cells}
    provenance = {cell.trial: state.provenance for cell, state in found if state.record is not None}
    values = [(cell.trial, *value) for cell, state in found for value in state.values or ()]
    return Results(
        plan=plan,
        cells=cells_frame([cell_row(cell, state) for cell, state in found]),
        cases=pd.DataFrame(values, columns=["trial", *COLUMNS]),
        provenance=_timed(pd.DataFrame.from_dict(provenance, orient="index"), packed_timings),
        unplanned=sorted({visible(path.parent.name) for path in results.folder.glob("records/*/trial.yaml")} - planned),
        records={cell.trial: results.record(cell.trial) for cell, state in found if state.values is not None},
        pictures={
            path.stem: path for path in sorted(results.folder.glob("cases/*.npz")) if visible(path.stem) == path.stem
        },
    )


def cell_row(cell: Cell, state: CellState) -> dict:
    """A row of `Results.cells`."""
    scored = state.values is not None
    return {key: getattr(cell, key) for key in CELL_KEYS} | {
        "state": state.state, "reason": state.reason, "scored": scored, "stale": state.outdated * scored,
        "peeked": state.peeked * scored,
    }  # fmt: skip


def cells_frame(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows of `cell_row` as a frame, with its columns where there are none."""
    return pd.DataFrame(rows, columns=[*CELL_KEYS, "state", "reason", "scored", "stale", "peeked"], dtype=object)


def _timed(provenance: pd.DataFrame, packed_timings: bool) -> pd.DataFrame:
    """Without the times of packed trials, unless these are asked for."""
    if packed_timings or SHARING not in provenance:
        return provenance
    training = inference = pd.to_numeric(provenance[SHARING], errors="coerce")
    if "scored_again" in provenance:  # later, among others perhaps
        again = [facts.get(SHARING) if isinstance(facts, dict) else None for facts in provenance["scored_again"]]
        inference = pd.to_numeric(pd.Series(again, provenance.index), errors="coerce").fillna(inference)
    sharing = dict.fromkeys(TRAINING_TIMES, training) | {INFERENCE_TIME: inference}
    return provenance.assign(**{name: provenance[name].mask(sharing[name] > 1) for name in TIMES if name in provenance})
