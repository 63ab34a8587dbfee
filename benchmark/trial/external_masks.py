"""Masks that another tool made, scored as ours are: a row of the tables like any other, marked as what it is."""

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmark.planning.experiment import ExperimentError
from benchmark.records import numerics
from benchmark.records.arrays import labels_of, read_masks, write_case, write_prediction
from benchmark.records.files import csv_text
from benchmark.records.models import EXTERNAL, FORMAT, Cell, Data, Record
from benchmark.records.protocol import Evaluation
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE, Wanted, cell_state
from benchmark.trial.scoring import score_case
from data.cache import Dataset
from data.case import Case, DataError, collect_problems, raise_problems, shorten_list
from data.names import nearly, problem_of_name
from data.reader import reading_scans
from data.scan_files import scan_files
from data.scans import read_label

PREFIXES = (EXTERNAL, "foreign")  # of trial ids; the second is what earlier versions wrote


def score_masks(
    folder: Path, name: str, labelled: int, unlabelled: int, seed: int, dataset: Dataset, results: ResultsFolder
) -> str:
    """Score a folder of masks as one more row of a results folder.

    Args:
        folder: holds <case>.nii.gz (or NRRD, MetaImage, h5) of every test case.
        name: what tables call the row. Scoring the same name, budget and seed again replaces it.
        labelled: training cases whose labels the makers of the masks used.
        unlabelled: training cases that they used without labels.
        seed: tells several runs apart.
        dataset: the data set of the results folder.
        results: the results folder, whose plan says how cases are scored.

    Returns:
        The trial's id.

    Raises:
        DataError: for all that is wrong with the masks at once.
        ExperimentError: for a name or budget that cannot be.
    """
    if name.strip() and (reason := problem_of_name(name)):
        raise ExperimentError(f"--name {name!r} names the row, and {reason}")
    if not name.strip() or not 1 <= labelled <= len(dataset.with_label):
        raise ExperimentError(
            f"--name {name!r}, --labelled {labelled}: give a name for the row, and of how many of the "
            f"{len(dataset.with_label)} training cases of {dataset.name} with a label its makers used it"
        )
    if labelled + unlabelled > len(dataset.train_ids):
        raise ExperimentError(
            f"--unlabelled {unlabelled}: with {labelled} labelled ones these are more than the "
            f"{len(dataset.train_ids)} training cases of {dataset.name}: count cases of this data set alone"
        )
    masks = _masks(folder, dataset)
    plan = results.read_plan()
    slug, digest = re.sub(r"\W+", "-", name.lower()).strip("-")[:40], hashlib.sha256(name.encode()).hexdigest()[:6]
    names = [f"{prefix}-{slug}-{digest}-{labelled}-s{seed}" for prefix in PREFIXES]  # two names may have one slug
    trial = next((name for name in names if results.has_record(name)), names[0])
    cell = Cell(
        trial=trial, method=EXTERNAL, display=name, year=datetime.now(UTC).year, source="masks of another tool",
        fidelity=EXTERNAL, settings={}, unpublished=[], labelled=labelled, unlabelled=unlabelled, draw="first",
        seed=seed, role="method",
    )  # fmt: skip
    if clash := [c for c in plan.cells if c.display == name and c.method != EXTERNAL]:
        raise ExperimentError(f"--name {name!r} is the name of method {clash[0].method} here: choose another")
    results.create()
    target = results.unpublished(trial)
    for case_id in masks:
        native = dataset.native(case_id)
        write_case(results, case_id, native.shown, native.label, dataset.fingerprint([case_id]))
    facts = {"scored": datetime.now(UTC).isoformat(timespec="seconds"), "masks": str(folder.absolute())}
    (target / "provenance.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    _finish(target, cell, plan.data, masks, dataset, plan.evaluation, results)
    return trial


def remove(name: str, results: ResultsFolder) -> list[str]:
    """Delete the rows of this name, of every budget and seed.

    Returns:
        The ids of their trials.

    Raises:
        ExperimentError: there is no such row.
    """
    cells = cells_of(results)
    trials = [cell.trial for cell in cells if cell.display == name]
    if not trials:
        known = ", ".join(sorted({cell.display for cell in cells})) or "none"
        raise ExperimentError(f"{name!r} is no row of masks in {results.folder}; there are: {known}")
    for trial in trials:
        shutil.rmtree(results.record(trial))
    return trials


def finish_interrupted(results: ResultsFolder) -> None:
    """Move scores that were complete when their process was killed to their place."""
    for prefix in PREFIXES:
        for path in results.folder.glob(f"running/{prefix}-*"):
            results.publish(path.name)


def cells_of(results: ResultsFolder) -> list[Cell]:
    """The planned cells of all such rows of a folder: no experiment names them."""
    trials = [path.parent.name for prefix in PREFIXES for path in results.folder.glob(f"records/{prefix}-*/trial.yaml")]
    records = [results.finished_record(trial) for trial in sorted(trials)]
    return [record.cell for record in records if record is not None]


def bring_up_to_date(evaluation: Evaluation, dataset: Dataset, results: ResultsFolder) -> list[str]:
    """Score the stored masks again if the evaluation block or the numerics of scoring have changed.

    Returns:
        Why some stay as they are, one line each: other test cases, damaged masks.
    """
    reasons = []
    for cell in cells_of(results):
        record = results.finished_record(cell.trial)
        wanted = Wanted(None, evaluation, record.data, numerics.current(EXTERNAL, ""))
        if cell_state(results, cell.trial, wanted).state == DONE:
            continue
        if record.data.fingerprint != dataset.test_fingerprint:
            reasons.append(f"{cell.display}: its masks are of other test cases; import them again with `add-masks`")
            continue
        folder = results.record(cell.trial)
        found = {i: read_masks(folder / "predictions" / f"{i}.npz") for i in dataset.test_ids}
        if damaged := [case_id for case_id, of_case in found.items() if of_case is None]:
            reasons.append(
                f"{cell.display}: its masks of {damaged[0]} cannot be read; import them again with `add-masks`"
            )
            continue
        target = results.unpublished(cell.trial)
        masks = {case_id: labels_of(of_case) for case_id, of_case in found.items()}
        with suppress(OSError):
            (target / "provenance.json").write_bytes((folder / "provenance.json").read_bytes())
        _finish(target, cell, record.data, masks, dataset, evaluation, results)
    return reasons


def _finish(
    target: Path, cell: Cell, data: Data, masks: dict[str, np.ndarray], dataset: Dataset, evaluation: Evaluation,
    results: ResultsFolder,
) -> None:  # fmt: skip
    """Score the masks, write what makes `target` a record, and move it to its place."""
    (target / "predictions").mkdir()
    rows, digest = [], hashlib.sha256()
    for case_id, labels in masks.items():
        digest.update(f"{case_id} {labels.shape}".encode() + labels.tobytes())
        write_prediction(target / "predictions" / f"{case_id}.npz", labels, dataset.classes)
        rows += score_case(labels, dataset.native(case_id), dataset.classes, evaluation)
    (target / "cases.csv").write_text(csv_text(rows), encoding="utf-8")
    record = Record(
        format=FORMAT, trial=cell.trial, state=DONE, cell=cell, data=data, test=list(masks), masks=digest.hexdigest(),
        evaluation=evaluation.model_dump(), numerics=numerics.current(EXTERNAL, ""),
    )  # fmt: skip
    results.write_record(target, record)
    results.publish(cell.trial)


def _masks(folder: Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """The mask of every test case on the case's own grid, (H,W,D) uint8."""
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: there is no such folder; give one with a mask for every test case, <case>.nii.gz")
    found = scan_files(folder)
    files, problems = found.scans, []
    others = f", which holds {shorten_list(sorted(files), 3)}" if files else ""
    missing = [case_id for case_id in dataset.test_ids if case_id not in files]
    problems += [f"no {case_id}.nii.gz in {folder}{others}{nearly(case_id, files)}" for case_id in missing]
    # Files that are not taken are of interest where a mask is missing; a tool may leave others beside its masks.
    problems += found.problems if missing else [line for line in found.problems if " are both called " in line]
    masks = {}
    with reading_scans():
        for case_id in dataset.test_ids:
            if case_id in files:
                with collect_problems(problems):
                    masks[case_id] = _mask(files[case_id], dataset, dataset.native(case_id))
    raise_problems(problems)
    return masks


def _mask(path: Path, dataset: Dataset, case: Case) -> np.ndarray:
    source, values = dataset.source, list(dataset.source.class_names.values())
    grid = source.geometry(case.id)
    if grid is None:  # then only the number of voxels tells whether it fits
        reading = source.reading.model_copy(update={"orientation": "stored", "voxel": case.spacing})
        labels, _ = read_label(path, reading, values)
    else:
        labels, geometry = read_label(path, source.reading, values)
        if mismatch := geometry.mismatch(grid, source.reading.grid_tolerance):
            raise DataError(f"{path}: not on the grid of its case: {mismatch}")
    if labels.shape != case.shape:
        raise DataError(f"{path}: {labels.shape} voxels, but {case.id} has {case.shape}")
    return labels
