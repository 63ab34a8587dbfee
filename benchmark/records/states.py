"""The state of a cell and its reason, told by one function from what lies in a results folder."""

import time
from dataclasses import dataclass, field

from benchmark.records import collapse, numerics
from benchmark.records.case_values import CaseValue, of_last, read_case_values
from benchmark.records.files import ResultsError
from benchmark.records.models import Cell, Data, Record, StoredPlan
from benchmark.records.numerics import Numerics
from benchmark.records.protocol import CHOSEN_BY_REPORT, Evaluation, Training, differences
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import Point, missing_weights, read_curve
from data.errors import one_line
from data.progress import follow

NOT_RUN = "not run"
RUNNING = "running"
INTERRUPTED = "interrupted"
DONE = "done"
STALE = "stale"
RESCORE = "rescore"
FAILED = "failed"
DIVERGED = "diverged"
UNREADABLE = "unreadable"
OTHER_PROTOCOL = "other protocol"

MEANING = {
    NOT_RUN: "nothing was run yet",
    RUNNING: "a process works on it",
    INTERRUPTED: "stopped; `run` continues from its checkpoint",
    DONE: "trained and scored",
    STALE: "trained by other numerics than today's; `run --rerun stale` trains it again",
    RESCORE: "trained; `evaluate` or `run` scores it again",
    FAILED: "ended with an error; `run --retry-failed` tries again",
    DIVERGED: "losses, weights or probabilities became infinite or not a number; `run --retry-failed` tries again",
    UNREADABLE: "its record is damaged; `run` trains it again",
    OTHER_PROTOCOL: "its record belongs to another protocol or other test cases than the plan's; remove one of them",
}
# in order of progress
PROGRESS = (NOT_RUN, OTHER_PROTOCOL, UNREADABLE, FAILED, DIVERGED, INTERRUPTED, RUNNING, RESCORE, STALE, DONE)
TO_RUN = frozenset({NOT_RUN, RUNNING, INTERRUPTED, RESCORE, UNREADABLE})  # what `run` runs without being asked

SILENCE = 120  # seconds without a sign of life after which a run or a trial counts as dead


@dataclass(frozen=True)
class Wanted:
    """What a record must agree with to be a cell's: the protocol, the data, today's numerics versions."""

    training: Training | None
    evaluation: Evaluation
    data: Data
    numerics: Numerics

    @classmethod
    def by_plan(cls, plan: StoredPlan, cell: Cell) -> "Wanted":
        return cls(
            plan.training,
            plan.evaluation,
            plan.data,
            numerics.current(cell.method, cell.method_file, cell.network_file),
        )


@dataclass(frozen=True)
class CellState:
    """One of the states above, and why.

    `values` are the measured values if tables may show them. That is so for a cell that is done, or that differs from
    today's only in numerics versions. `curve` is Dice over the stored checkpoints, empty where there are none.
    `outdated` says which versions differ. `collapsed` says why its network counts as dead. `record` and `provenance`
    are what was read on the way.
    """

    state: str
    reason: str = ""
    record: Record | None = None
    provenance: dict = field(default_factory=dict)
    values: list[CaseValue] | None = None
    curve: list[Point] = field(default_factory=list)
    outdated: str = ""
    collapsed: str = ""

    @property
    def peeked(self) -> str:
        """Which labels outside its labelled set the trial opened; "" if none, or if nobody watched."""
        return one_line(self.record.peeked or "") if self.record else ""


def cell_state(folder: ResultsFolder, trial: str, wanted: Wanted) -> CellState:
    """The state of one cell.

    Args:
        folder: the results folder.
        trial: id of the cell's trial.
        wanted: what its record must agree with.

    Returns:
        The state with one line of reason. Any damage of a record ends here, in UNREADABLE or RESCORE.
    """
    try:
        record = folder.read_record(trial)
        if record is None:
            return _without_record(folder, trial)
    except ResultsError as error:
        return CellState(UNREADABLE, str(error))
    provenance, unknown = _provenance(folder, trial)
    old_weights = numerics.changed(record.numerics, wanted.numerics, "training", "preparation", "method", "network")
    if record.state != DONE:
        why = one_line(record.reason or unknown)
        return CellState(record.state, why, record, provenance, outdated="; ".join(old_weights))
    if others := _other_protocol(record, wanted):
        return CellState(OTHER_PROTOCOL, "; ".join(others), record, provenance)

    old_scores = numerics.changed(record.numerics, wanted.numerics, "scoring")
    other_evaluation = differences(
        record.evaluation, wanted.evaluation, "evaluation", (*CHOSEN_BY_REPORT, "checkpoints")
    )
    selects, to_select, unselected = _selection(folder, trial, record, wanted)
    values, curve, damage = None, [], ""
    if not other_evaluation:
        try:
            values = read_case_values(folder.record(trial) / "cases.csv", wanted.data.test, wanted.data.classes)
            values = values if selects else of_last(values)
            curve = read_curve(folder.record(trial)) if selects else []
        except ResultsError as error:
            values, damage = None, str(error)
    outdated = "; ".join([*old_weights, *old_scores])
    collapsed = collapse.dead_in_record(folder.record(trial)) if record.collapsed is None else record.collapsed
    known = (record, provenance, values, curve, outdated, one_line(collapsed))
    if old_weights:
        return CellState(STALE, "; ".join(old_weights), *known)
    other_labels = _other_labels(folder, trial, record, wanted)
    if reasons := [*other_evaluation, *other_labels, *old_scores, *filter(None, [to_select, damage])]:
        return CellState(RESCORE, "; ".join(reasons), *known)
    return CellState(DONE, "; ".join(filter(None, [unselected, unknown])), *known)


def planned_states(folder: ResultsFolder) -> list[tuple[Cell, CellState]]:
    """Every planned cell with its state. Raises ResultsError if the folder has no plan."""
    plan = folder.read_plan()
    cells = follow(plan.cells, "reading records")
    return [(cell, cell_state(folder, cell.trial, Wanted.by_plan(plan, cell))) for cell in cells]


def _provenance(folder: ResultsFolder, trial: str) -> tuple[dict, str]:
    """Times and machine of a record, and why they are unknown. Damage of this file does not affect the figures."""
    try:
        return folder.read_provenance(trial), ""
    except ResultsError as error:
        return {}, f"times and machine are not known ({error})"


def _without_record(folder: ResultsFolder, trial: str) -> CellState:
    try:
        beat = folder.heartbeat(trial)
    except ResultsError as error:
        return CellState(INTERRUPTED, str(error))
    if beat is None:
        return CellState(NOT_RUN)
    alive = beat.stage != INTERRUPTED and abs(time.time() - beat.time) < SILENCE
    return CellState(RUNNING if alive else INTERRUPTED, f"{beat.stage}, step {beat.step} of {beat.iterations}")


def _other_protocol(record: Record, wanted: Wanted) -> list[str]:
    """Differences that no command can remove. Equal ids rule them out, but people merge and edit folders by hand."""
    found = differences(record.training, wanted.training, "training") if record.training and wanted.training else []
    if record.data.fingerprint != wanted.data.fingerprint:
        found.append(f"data.fingerprint is {record.data.fingerprint}, the plan's {wanted.data.fingerprint}")
    return found


def _selection(folder: ResultsFolder, trial: str, record: Record, wanted: Wanted) -> tuple[bool, str, str]:
    """Whether the record has the checkpoints that the plan chooses among. If not, why it is to be scored again for
    them, or why it stays without: a valid result is not trained anew unless somebody asks."""
    recorded, planned = record.evaluation.checkpoints, wanted.evaluation.checkpoints
    if planned is None or record.training is None or recorded == planned:
        return planned is not None and record.training is not None, "", ""
    if missing_weights(folder.record(trial), planned, record.training.iterations):
        why = f"it has no weights of every {planned} iterations (evaluation.checkpoints)"
        return False, "", f"{why}: remove {folder.record(trial)} to train it again with them"
    return False, f"evaluation.checkpoints is {recorded}, the plan's {planned}", ""


def _other_labels(folder: ResultsFolder, trial: str, record: Record, wanted: Wanted) -> list[str]:
    """cases.csv holds both postprocessings, but label files for other tools are written as the headline is scored."""
    if not any((folder.record(trial) / "predictions").glob("*.nii.gz")):
        return []
    others = tuple(key for key in Evaluation.model_fields if key != "postprocessing")
    return differences(record.evaluation, wanted.evaluation, "evaluation", ignore=others)
