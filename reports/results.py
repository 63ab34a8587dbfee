"""Reads a results folder into pandas frames; nothing here writes or decides what a number means."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmark.records.case_values import COLUMNS
from benchmark.records.models import EXTERNAL, SHARING, Cell, StoredPlan
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import Point
from benchmark.records.states import CellState, planned_states
from data.errors import visible
from reports.worst import WITHOUT_VALUES, counts, worst_frame

CELL_KEYS = tuple(Cell.model_fields)
STATE_KEYS = ("state", "reason", "scored", "worst", "stale", "peeked", "collapsed")
INFERENCE_SHARING = "trials_sharing_the_machine_at_inference"


@dataclass(frozen=True)
class Results:
    """A results folder as read.

    plan: plan.json.
    cells: one row a planned cell, in the plan's order: the cell's own keys; `state` and `reason` (one line, or "") as
        `status` tells them; `scored`, whether tables show its values; `worst`, whether these are the worst that there
        are, because the run diverged; `stale`, the reason if they show values that other numerics versions than
        today's have made; `peeked`, which labels it opened that are not its own; `collapsed`, why a run that ended
        without an error counts as collapsed.
    cases: one row a measured value of the cells that are scored: trial and the columns of cases.csv, `value` as float
        (NaN where a distance is undefined and left out).
    left_out: the same of runs that failed or diverged and are in no mean: what they would count as.
    provenance: one row a readable record, index trial, columns as found in the provenance.json files. With
        INFERENCE_SHARING: a record that was scored again was so later, perhaps among other trials.
    unplanned: records in the folder that belong to no planned cell.
    records: {trial: folder of its record}, of the cells that were scored.
    pictures: {case: file with its image and truth}, of the test cases that have one. A file whose name is no text is
        no case's.
    curves: {trial: Dice over its stored checkpoints}, of trials that have some.
    """

    plan: StoredPlan
    cells: pd.DataFrame
    cases: pd.DataFrame
    left_out: pd.DataFrame
    provenance: pd.DataFrame
    unplanned: list[str]
    records: dict[str, Path]
    pictures: dict[str, Path]
    curves: dict[str, list[Point]] = field(default_factory=dict)


def read_results(folder: Path | str) -> Results:
    """Read a results folder.

    Raises:
        ResultsError: the folder has no plan that can be used. A broken record costs its own cell only.
    """
    results = ResultsFolder(folder)
    plan = results.read_plan()
    found = planned_states(results)
    planned = {cell.trial for cell in plan.cells}
    files = sorted(results.folder.glob("cases/*.npz"))
    pictures = {path.stem: path for path in files if visible(path.stem) == path.stem}
    provenance = {cell.trial: state.provenance for cell, state in found if state.record is not None}
    values = [(cell.trial, *value) for cell, state in found for value in state.values or ()]
    cases = pd.DataFrame(values, columns=["trial", *COLUMNS])
    worst = worst_frame(found, plan, cases, pictures)
    known = set(worst["trial"])
    counted = {cell.trial for cell, state in found if cell.trial in known and counts(state.state, plan)}
    is_counted = worst["trial"].isin(counted)
    return Results(
        plan=plan,
        cells=cells_frame([cell_row(cell, state, cell.trial in counted) for cell, state in found]),
        cases=pd.concat([cases, worst[is_counted]], ignore_index=True) if counted else cases,
        left_out=worst[~is_counted],
        provenance=_with_inference_sharing(pd.DataFrame.from_dict(provenance, orient="index")),
        unplanned=sorted({visible(path.parent.name) for path in results.folder.glob("records/*/trial.yaml")} - planned),
        records={cell.trial: results.record(cell.trial) for cell, state in found if state.values is not None},
        pictures=pictures,
        curves={cell.trial: state.curve for cell, state in found if state.curve},
    )


def cell_row(cell: Cell, state: CellState, worst: bool) -> dict:
    """A row of `Results.cells`."""
    scored = worst or state.values is not None
    return {key: getattr(cell, key) for key in CELL_KEYS} | {
        "state": state.state, "reason": state.reason, "scored": scored, "worst": worst,
        "stale": state.outdated * scored, "collapsed": state.collapsed * scored,
        "peeked": state.peeked * scored,
    }  # fmt: skip


def cells_frame(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows of `cell_row` as a frame, with its columns where there are none."""
    return pd.DataFrame(rows, columns=[*CELL_KEYS, *STATE_KEYS], dtype=object)


def trained(cells: pd.DataFrame) -> pd.Series:
    """Which cells were trained to the end and scored: not those that count with the worst values."""
    return cells["scored"].astype(bool) & ~cells["worst"].astype(bool)


def external(cells: pd.DataFrame) -> pd.Series:
    """Which cells are masks that another tool made: nothing was trained here."""
    return cells["fidelity"] == EXTERNAL


def is_left_out(cells: pd.DataFrame) -> pd.Series:
    """Which cells ended without values and are in no mean: failed ones, and diverged ones where the plan says so."""
    return cells["state"].isin(WITHOUT_VALUES) & ~cells["scored"].astype(bool)


def _with_inference_sharing(provenance: pd.DataFrame) -> pd.DataFrame:
    """With a column that says how many trials shared the machine while the stored predictions were made."""
    if SHARING not in provenance:
        return provenance
    sharing = pd.to_numeric(provenance[SHARING], errors="coerce")
    if "scored_again" in provenance:
        again = [facts.get(SHARING) if isinstance(facts, dict) else None for facts in provenance["scored_again"]]
        sharing = pd.to_numeric(pd.Series(again, provenance.index), errors="coerce").fillna(sharing)
    return provenance.assign(**{INFERENCE_SHARING: sharing})
