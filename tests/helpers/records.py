"""Made-up plans and records of the current format, without any training."""

import json
from pathlib import Path

import yaml

from benchmark.records import numerics
from benchmark.records.case_values import CHECKPOINT, METRICS, POSTPROCESSINGS
from benchmark.records.files import csv_text
from benchmark.records.models import FORMAT, Cell, Data, Record, StoredPlan
from benchmark.records.protocol import Evaluation, Training
from benchmark.records.results_folder import ResultsFolder

CASES = ("A", "B")
TRAINING = Training(iterations=600, patch=(16, 16, 16), width=2)
EVALUATION = Evaluation(stride=(9, 9, 2))
DATA = Data(
    name="Made up", spacing=None, native_spacing=[1.0, 1.0, 1.0], fingerprint="f00", split="generated",
    split_hash="5911a5", train=8, test=len(CASES), classes=1,
)  # fmt: skip


def cell(method: str = "vnet", seed: int = 1, **changes) -> Cell:
    """A planned cell of a built-in method; `changes` replace its keys."""
    values = {
        "trial": f"{method}-2-s{seed}", "method": method, "display": method.upper(), "year": 2021, "source": "Someone",
        "fidelity": "faithful", "settings": {}, "unpublished": [], "labelled": 2, "unlabelled": 6, "draw": "first",
        "seed": seed, "role": "method", "method_file": f"methods/{method}.py",
    }  # fmt: skip
    return Cell(**values | changes)


def plan(*cells: Cell, **changes) -> StoredPlan:
    """A plan of these cells."""
    values = {
        "format": FORMAT, "experiment": "made_up", "title": "Made up", "reference": None, "data": DATA,
        "training": TRAINING, "evaluation": EVALUATION, "cells": list(cells),
    }  # fmt: skip
    return StoredPlan(**values | changes)


def record(planned: StoredPlan, of: Cell, **changes) -> Record:
    """What a finished trial of today's code leaves in trial.yaml."""
    values = {
        "format": FORMAT, "trial": of.trial, "state": "done", "cell": of, "data": planned.data, "labelled": ["C", "D"],
        "unlabelled": ["E"], "test": list(CASES), "training": planned.training, "evaluation": planned.evaluation,
        "numerics": numerics.current(of.method, of.method_file),
    }  # fmt: skip
    return Record(**values | changes)


def case_rows(cases=CASES) -> list[dict]:
    """The rows of a whole cases.csv."""
    return [
        {"checkpoint": CHECKPOINT, "postprocessing": postprocessing, "class": 1, "case": case, "metric": metric,
         "unit": unit, "value": 0.5}
        for postprocessing in POSTPROCESSINGS for case in cases for metric, unit in METRICS
    ]  # fmt: skip


def write_record(results: ResultsFolder, planned: StoredPlan, of: Cell, **changes) -> Path:
    """A record in its place; `changes` replace keys of trial.yaml."""
    stored = record(planned, of, **changes)
    folder = results.record(of.trial)
    folder.mkdir(parents=True)
    if stored.state == "done":
        (folder / "cases.csv").write_text(csv_text(case_rows()))
    (folder / "provenance.json").write_text(json.dumps({"seconds_training": 12.5}))
    results.write_record(folder, stored)
    return folder


def finished(folder: Path, *cells: Cell, **changes) -> tuple[ResultsFolder, StoredPlan]:
    """A results folder with a plan and a record of each cell; without cells, of one."""
    results, planned = ResultsFolder(folder), plan(*(cells or [cell()]), **changes)
    results.create()
    results.write_plan(planned)
    for each in planned.cells:
        write_record(results, planned, each)
    return results, planned


def change_record(results: ResultsFolder, trial: str, **changes) -> None:
    """Replace keys of trial.yaml; a mapping replaces keys of the mapping that is there."""
    path = results.record(trial) / "trial.yaml"
    stored = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        stored[key] = stored[key] | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(stored))
