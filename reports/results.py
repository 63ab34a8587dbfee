"""Reads a results folder into pandas frames; nothing here writes or decides what a number means."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from data.errors import UserError

FORMAT = 1

# The states of a planned cell that this module can tell from the files. Only cells that are DONE have rows in `cases`.
DONE = "done"
FAILED = "failed"
DIVERGED = "diverged"
UNREADABLE = "unreadable"
OTHER_PROTOCOL = "other protocol"
RUNNING = "running"
INTERRUPTED = "interrupted"
NOT_RUN = "not run"
# least to furthest
PROGRESS = (NOT_RUN, OTHER_PROTOCOL, UNREADABLE, FAILED, DIVERGED, INTERRUPTED, RUNNING, DONE)

FOREIGN = "foreign"  # the fidelity of masks that were made elsewhere

PLAN_KEYS = ("experiment", "title", "reference", "data", "training", "evaluation", "cells")
BLOCK_KEYS = {
    "data": ("name", "spacing", "native_spacing", "fingerprint", "split", "split_hash", "train", "test", "classes"),
    "training": ("iterations", "batch_size", "patch", "width", "learning_rate", "augmentation", "precision"),
    "evaluation": ("stride", "postprocessing", "empty"),
}
CELL_KEYS = (
    "trial", "method", "display", "year", "source", "fidelity", "settings", "unpublished", "variant",
    "labelled", "unlabelled", "draw", "seed", "role",
)  # fmt: skip
CASE_KEYS = ("checkpoint", "postprocessing", "class", "case", "metric", "unit")

# What every done record holds: the last checkpoint, scored both ways, with each of these metrics.
CHECKPOINT = "last"
POSTPROCESSINGS = ("none", "largest_component")
EMPTY_POLICIES = ("worst", "exclude")
METRICS = (
    ("dice", ""), ("jaccard", ""), ("asd", "voxel"), ("asd", "mm"), ("hd95", "voxel"), ("hd95", "mm"),
    ("assd", "voxel"), ("assd", "mm"), ("predicted", "voxel"), ("reference", "voxel"),
)  # fmt: skip


# the parser in C takes a tenth of the time, and there may be hundreds of records
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SHARING = "trials_sharing_the_machine"
TRAINING_TIMES = ("seconds_training", "iterations_per_second")
INFERENCE_TIME = "inference_seconds_per_case"
TIMES = (*TRAINING_TIMES, INFERENCE_TIME)


class ReportError(UserError):
    """A results folder that cannot be reported on; the message is one line for the user."""


class _BrokenRecord(Exception):
    """One record that cannot be used; its cell becomes UNREADABLE and the report goes on."""


# (planned cell, stored trial.yaml) -> why the record might not be what the code of today gives, or ""
Stale = Callable[[dict, dict], str]


def never(cell: dict, stored: dict) -> str:
    return ""


@dataclass(frozen=True)
class Results:
    """A results folder as read.

    plan: plan.json as it stands.
    cells: one row a planned cell, in the plan's order: the cell's own keys, `state` and `reason` (one line, or ""), and
        `stale` (why its record might not be what the code of today gives, or "").
    cases: one row a measured value of the cells that are done: trial and the columns of cases.csv, `value` as float
        (NaN where a distance is undefined and left out).
    provenance: one row a readable record, index trial, columns as found in the provenance.json files.
    strays: records in the folder that belong to no planned cell.
    records: {trial: folder of its record}, of the cells that are done.
    pictures: {case: file with its image and truth}, of the test cases that have one.
    """

    plan: dict
    cells: pd.DataFrame
    cases: pd.DataFrame
    provenance: pd.DataFrame
    strays: list[str]
    records: dict[str, Path]
    pictures: dict[str, Path]


def read_results(folder: Path | str, stale: Stale = never, packed_timings: bool = False) -> Results:
    """Read a results folder; a broken record makes its own cell unreadable, a broken plan raises ReportError.

    `stale` is asked about each record: only the code can tell, so whoever knows it says so.
    """
    folder = Path(folder)
    plan = _read_plan(folder)
    states, values, provenance = [], [], {}
    for cell in plan["cells"]:
        trial, old = cell["trial"], ""
        try:
            state, reason, stored = _read_state(folder, plan, trial)
            if state in (DONE, FAILED, DIVERGED):
                provenance[trial] = _read_provenance(folder / "records" / trial / "provenance.json")
            if state == DONE:
                old = stale(cell, stored)
                values += [(trial, *row) for row in _read_cases(folder / "records" / trial / "cases.csv", plan)]
        except _BrokenRecord as error:
            state, reason = UNREADABLE, str(error)
        states.append({"state": state, "reason": reason, "stale": old})
    planned = {cell["trial"] for cell in plan["cells"]}
    return Results(
        plan=plan,
        cells=pd.DataFrame([cell | state for cell, state in zip(plan["cells"], states, strict=True)],
                           columns=[*CELL_KEYS, "state", "reason", "stale"], dtype=object),
        cases=pd.DataFrame(values, columns=["trial", *CASE_KEYS, "value"]),
        provenance=_timed(pd.DataFrame.from_dict(provenance, orient="index"), packed_timings),
        strays=sorted({path.parent.name for path in folder.glob("records/*/trial.yaml")} - planned),
        records={cell["trial"]: folder / "records" / cell["trial"]
                 for cell, state in zip(plan["cells"], states, strict=True) if state["state"] == DONE},
        pictures={path.stem: path for path in sorted(folder.glob("cases/*.npz"))},
    )  # fmt: skip


def _read_plan(folder: Path) -> dict:
    path = folder / "plan.json"
    if not folder.is_dir():
        raise ReportError(f"{folder}: there is no such folder; give the results folder of an experiment")
    if not path.is_file():
        raise ReportError(f"{folder} is no results folder: it holds no plan.json; give the folder an experiment wrote")
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read ({_one_line(error)}); plan the experiment again") from None
    if not isinstance(plan, dict):
        raise ReportError(f"{path} is no plan: it holds no mapping; plan the experiment again")
    if plan.get("format") != FORMAT:
        raise ReportError(
            f"{path} has format {plan.get('format')}, this version reads {FORMAT}; use the version that wrote it"
        )
    missing = [key for key in PLAN_KEYS if key not in plan]
    for block, keys in BLOCK_KEYS.items():
        missing += [f"{block}.{key}" for key in keys if key not in (plan.get(block) or ())]
    if missing:
        raise ReportError(f"{path} lacks {', '.join(missing)}; plan the experiment again")
    postprocessing, empty = plan["evaluation"]["postprocessing"], plan["evaluation"]["empty"]
    if postprocessing not in POSTPROCESSINGS or empty not in EMPTY_POLICIES:
        raise ReportError(
            f"{path}: unknown postprocessing {postprocessing} or empty policy {empty}; plan the experiment again"
        )
    for number, cell in enumerate(plan["cells"], start=1):
        missing = [key for key in CELL_KEYS if key not in cell]
        if missing:
            raise ReportError(f"{path}: cell {number} lacks {', '.join(missing)}; plan the experiment again")
    trials = [cell["trial"] for cell in plan["cells"]]
    twice = sorted({trial for trial in trials if trials.count(trial) > 1})
    if twice:
        raise ReportError(f"{path} plans {', '.join(twice)} more than once; plan the experiment again")
    return plan


def _read_state(folder: Path, plan: dict, trial: str) -> tuple[str, str, dict]:
    """State, reason and what is stored of a trial."""
    record = folder / "records" / trial / "trial.yaml"
    if not record.is_file():
        return *_state_without_record(folder / "running" / trial / "heartbeat.json"), {}
    try:
        stored = yaml.load(record.read_text(encoding="utf-8"), _SafeLoader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _BrokenRecord(f"trial.yaml: {_one_line(error)}") from None
    if not isinstance(stored, dict):
        raise _BrokenRecord("trial.yaml holds no mapping")
    if stored.get("format") != FORMAT:
        raise _BrokenRecord(f"trial.yaml has format {stored.get('format')}, this version reads {FORMAT}")
    if stored.get("trial") != trial:
        raise _BrokenRecord(f"trial.yaml is that of {stored.get('trial')}")
    if stored.get("state") not in (DONE, FAILED, DIVERGED):
        raise _BrokenRecord(f"trial.yaml has the unknown state {stored.get('state')}")
    differences = _protocol_differences(stored, plan)
    if differences:
        return OTHER_PROTOCOL, "; ".join(differences), stored
    return stored["state"], _one_line(stored.get("reason") or ""), stored


def _state_without_record(heartbeat: Path) -> tuple[str, str]:
    if not heartbeat.is_file():
        return NOT_RUN, ""
    try:
        beat = json.loads(heartbeat.read_text(encoding="utf-8"))
        state = INTERRUPTED if beat.get("stage") == INTERRUPTED else RUNNING  # a killed one cannot say that it was
        return state, f"last seen at step {beat['step']} of {beat['iterations']}"
    except (OSError, ValueError, KeyError, TypeError):
        return RUNNING, ""  # being written at this moment: the next report will know the step


def _protocol_differences(stored: dict, plan: dict) -> list[str]:
    """What would make a record's numbers incomparable with the plan's: one short phrase a difference."""
    blocks = ("training", "evaluation") if stored.get("training") else ("evaluation",)  # masks from elsewhere have none
    pairs = [(block, key) for block in blocks
             for key in sorted((stored.get(block) or {}).keys() | plan[block].keys())
             if key != "postprocessing"]  # both are stored: which one a table shows is no part of a record  # fmt: skip
    pairs += [("data", "fingerprint")]  # of the test cases: which training cases were used is in the trial's id
    differences = []
    for block, key in pairs:
        have, want = (stored.get(block) or {}).get(key), plan[block].get(key)
        if have != want:
            differences.append(f"{block}.{key} is {have}, the plan's {want}")
    return differences


def _read_cases(path: Path, plan: dict) -> list[tuple]:
    """A done record's values, checked: nothing twice, nothing missing, nothing infinite. CASE_KEYS and the value."""
    # the csv module, for pandas takes ten times as long over a small file, and there may be a thousand
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            missing = [key for key in (*CASE_KEYS, "value") if key not in header]
            if missing:
                raise _BrokenRecord(f"cases.csv has no column {', '.join(missing)}")
            columns = [header.index(key) for key in (*CASE_KEYS, "value")]
            rows = [_case_row([fields[column] for column in columns]) for fields in reader]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise _BrokenRecord(f"cases.csv: {_one_line(error)}") from None
    keys = {row[:-1] for row in rows}
    if len(keys) < len(rows):
        raise _BrokenRecord("cases.csv gives some values twice")
    if any(math.isinf(row[-1]) for row in rows):
        raise _BrokenRecord("cases.csv holds infinite values")
    cases, planned = {row[CASE_KEYS.index("case")] for row in rows}, plan["data"]["test"]
    if len(cases) != planned:
        raise _BrokenRecord(f"cases.csv has {len(cases)} of the {planned} test cases")
    classes = range(1, plan["data"]["classes"] + 1)
    expected = {(CHECKPOINT, postprocessing, number, case, *metric) for postprocessing in POSTPROCESSINGS
                for number in classes for case in cases for metric in METRICS}  # fmt: skip
    if not expected <= keys:
        raise _BrokenRecord("cases.csv lacks some metrics of some cases")
    return rows


def _case_row(fields: list[str]) -> tuple:
    """Only the value may be empty: a distance that is undefined and left out."""
    checkpoint, postprocessing, number, case, metric, unit, value = fields
    return checkpoint, postprocessing, int(number), case, metric, unit, float(value or "nan")


def _read_provenance(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _BrokenRecord(f"provenance.json: {_one_line(error)}") from None


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


def _one_line(text) -> str:
    return " ".join(str(text).split())
