"""New scans, segmented by a finished trial."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from pydantic import ValidationError

from benchmark.experiment import Evaluation, ExperimentError, Training, load_experiment
from benchmark.inference import fold_batch_norm, label_map, predict_volume
from benchmark.records import Results, ResultsError
from benchmark.scoring import postprocessed
from benchmark.training import build_method, configure_torch
from benchmark.trial import choose_device, load_weights
from data.case import DataError, DataProblems
from data.resample import grid_shape, resample
from data.scans import Reading, read_image, stem_of, suffix_of, write_labels
from methods import registry

SAME = 0.01  # of a voxel's side: what counts as the spacing that a network was trained at


def predict_scans(record: Path, images: Path, to: Path) -> Iterator[tuple[Path, Path]]:
    """Segment a scan, or each of a folder, and write <name>.nii.gz on the scan's own grid; yields (scan, labels).

    The scan is read and resampled as the trial's own cases were. Raises ResultsError for a folder that is no finished
    record, DataError for scans that cannot be read, before any is segmented.
    """
    trial = _trial(record)
    data = trial["data"]
    try:
        training, evaluation = Training(**trial["training"]), Evaluation(**trial["evaluation"])
        reading, values = Reading(**data["reading"]), list(data["class_names"].values())
        spacing = np.broadcast_to(data["spacing"] or data["native_spacing"], 3).astype(float)
        cell = trial["cell"]
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ResultsError(f"{record} is of an older version of the harness: train it again with this one") from error
    files = _scans(images)
    problems = []
    for file in files:
        try:
            read_image(file, reading)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataProblems(problems) if len(problems) > 1 else DataError(problems[0])

    experiment = Results(record.parent.parent).experiment_file
    if experiment.exists():  # for its plug-ins
        load_experiment(experiment)
    configure_torch(training)
    place = choose_device("auto")
    settings = registry.settings_of(cell["method"], cell["settings"])
    method = build_method(cell["method"], settings, training, len(values), cell["seed"], place)
    load_weights(record, method, place)
    method = fold_batch_norm(method)
    to.mkdir(parents=True, exist_ok=True)
    for file in files:
        image, geometry = read_image(file, reading)
        own = geometry.array_spacing
        same = all(math.isclose(a, b, rel_tol=SAME) for a, b in zip(own, spacing, strict=True))
        grid = image if same else resample(image, grid_shape(image.shape, own, spacing))
        with torch.inference_mode():
            probabilities = predict_volume(
                method.predict, grid, len(values), training.patch, evaluation.stride, 4, place
            )
        labels = postprocessed(label_map(probabilities, image.shape), len(values), evaluation)
        target = to / f"{stem_of(file)}.nii.gz"
        write_labels(target, labels, geometry, values)
        yield file, target


def _trial(record: Path) -> dict:
    try:
        trial = yaml.safe_load((record / "trial.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ResultsError(f"{record} is no record: give a folder RESULTS/records/TRIAL ({error})") from error
    if not isinstance(trial, dict) or trial.get("state") != "done" or not (record / "weights.pt").exists():
        raise ResultsError(f"{record} is no finished trial with weights: choose one that `status` shows as done")
    return trial


def _scans(images: Path) -> list[Path]:
    if images.is_dir():
        files = sorted(path for path in images.iterdir() if suffix_of(path) and not path.name.startswith("."))
        if not files:
            raise ExperimentError(f"{images} holds no scan")
        return files
    if not images.is_file() or not suffix_of(images):
        raise ExperimentError(f"{images}: give a scan (NIfTI, NRRD, MetaImage, h5) or a folder of them")
    return [images]
