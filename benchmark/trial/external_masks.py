"""Masks that another tool has made, scored as ours are: a row of the tables like any other, marked as what it is."""

import hashlib
import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml

from benchmark.planning.experiment import Experiment, ExperimentError
from benchmark.records.arrays import read_prediction, write_case, write_prediction
from benchmark.records.files import csv_text, write_text
from benchmark.records.fingerprint import code_fingerprint
from benchmark.records.folder import FORMAT, ResultsFolder
from benchmark.records.states import cell_state
from benchmark.trial.scoring import score
from data.cache import Dataset, prepare
from data.case import Case, DataError, collect_problems, raise_problems, shorten_list
from data.scans import by_stem, read_label

FOREIGN = "foreign"  # the method of such a cell, which is none of ours


def score_masks(folder: Path, name: str, labelled: int, unlabelled: int, seed: int, experiment: Experiment,
                results: ResultsFolder) -> str:  # fmt: skip
    """Score <case>.nii.gz (or NRRD, MetaImage, h5) of every test case as the row `name`; returns the trial's id.

    Scoring the same name, budget and seed again replaces the row. Raises DataError for all that is wrong with the
    masks at once, ExperimentError for a name or budget that cannot be.
    """
    dataset = prepare(experiment.data)
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
    slug, own = re.sub(r"\W+", "-", name.lower()).strip("-")[:40], hashlib.sha256(name.encode()).hexdigest()[:6]
    trial = f"{FOREIGN}-{slug}-{own}-{labelled}-s{seed}"  # two names may have one slug
    cell = {
        "trial": trial, "method": FOREIGN, "variant": "", "display": name, "year": datetime.now(UTC).year,
        "source": "masks from elsewhere", "fidelity": FOREIGN, "settings": {}, "unpublished": [],
        "labelled": labelled, "unlabelled": unlabelled, "draw": "first", "seed": seed, "role": "method",
    }  # fmt: skip
    if clash := [c for c in plan["cells"] if c["display"] == name and c["method"] != FOREIGN]:
        raise ExperimentError(f"--name {name!r} is the name of method {clash[0]['method']} here: choose another")
    results.create()
    target = results.unpublished(trial)
    for case_id in masks:
        native = dataset.native(case_id)
        write_case(results, case_id, native.image, native.label, dataset.fingerprint([case_id]))
    facts = {"scored": datetime.now(UTC).isoformat(timespec="seconds"), "masks": str(folder.absolute())}
    (target / "provenance.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    _finish(target, cell, plan["data"], masks, dataset, experiment, results)
    return trial


def finish_interrupted(results: ResultsFolder) -> None:
    """Move scores that were complete when their process was killed to their place."""
    for path in results.folder.glob(f"running/{FOREIGN}-*"):
        results.publish(path.name)


def cells_of(results: ResultsFolder) -> list[dict]:
    """The planned cells of all such rows of a folder: no experiment names them."""
    cells = []
    for path in sorted(results.folder.glob(f"records/{FOREIGN}-*/trial.yaml")):
        record = results.read_record(path.parent.name)
        if record is not None and isinstance(record.get("cell"), dict):
            cells.append(record["cell"] | {"method_file": ""})
    return cells


def bring_up_to_date(experiment: Experiment, results: ResultsFolder) -> list[str]:
    """Score the stored masks again whose evaluation block or scoring code has changed. Returns why those that cannot be
    stay as they are: other test cases than these, damaged masks."""
    evaluation = experiment.evaluation.model_dump(mode="json")
    reasons = []
    for cell in cells_of(results):
        trial = cell.pop("trial")
        if cell_state(trial, "", evaluation, results)[0] == "done":
            continue
        dataset, stored = prepare(experiment.data), results.read_record(trial)
        if stored["data"].get("fingerprint") != dataset.test_fingerprint:
            reasons.append(f"{cell['display']}: its masks are of other test cases; `score` it anew")
            continue
        record = results.record(trial)
        try:
            found = {i: read_prediction(record / "predictions" / f"{i}.npz") for i in dataset.test_ids}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            reasons.append(f"{cell['display']}: its masks cannot be read ({error}); `score` it anew")
            continue
        target = results.unpublished(trial)
        structures = np.arange(1, dataset.classes + 1).reshape(-1, 1, 1, 1)
        masks = {case_id: (of_each * structures).max(0).astype(np.uint8) for case_id, of_each in found.items()}
        (target / "provenance.json").write_bytes((record / "provenance.json").read_bytes())
        own = {key: value for key, value in cell.items() if key != "method_file"}
        _finish(target, {"trial": trial} | own, stored["data"], masks, dataset, experiment, results)
    return reasons


def _finish(target: Path, cell: dict, data: dict, masks: dict[str, np.ndarray], dataset: Dataset,
            experiment: Experiment, results: ResultsFolder) -> None:  # fmt: skip
    """Score the masks, write what makes `target` a record, and move it to its place."""
    (target / "predictions").mkdir()
    rows, digest = [], hashlib.sha256()
    for case_id, labels in masks.items():
        digest.update(f"{case_id} {labels.shape}".encode() + labels.tobytes())
        write_prediction(target / "predictions" / f"{case_id}.npz", labels, dataset.classes)
        rows += score(labels, dataset.native(case_id), dataset.classes, experiment.evaluation)
    (target / "cases.csv").write_text(csv_text(rows), encoding="utf-8")
    content = {
        "format": FORMAT, "trial": cell["trial"], "state": "done", "reason": None, "cell": cell, "data": data,
        "labelled": None, "unlabelled": None, "test": list(masks), "masks": digest.hexdigest(), "training": None,
        "evaluation": experiment.evaluation.model_dump(mode="json"), "code": code_fingerprint(""),
    }  # fmt: skip
    write_text(target / "trial.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    results.publish(cell["trial"])


def _masks(folder: Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """The mask of every test case on the case's own grid, (H,W,D) uint8."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give one with a mask for every test case, <case>.nii.gz")
    files, problems = by_stem(folder.iterdir())
    there = f", which holds {shorten_list(sorted(files), 3)}" if files else ""
    problems += [f"no {case_id}.nii.gz in {folder}{there}" for case_id in dataset.test_ids if case_id not in files]
    masks = {}
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
        labels, own = read_label(path, source.reading, values)
        if differences := own.differences(grid):
            raise DataError(f"{path}: not on the grid of its case: {', '.join(differences)}")
    if labels.shape != case.image.shape:
        raise DataError(f"{path}: {labels.shape} voxels, but {case.id} has {case.image.shape}")
    return labels
