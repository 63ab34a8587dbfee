"""Scores the stored predictions of a record once more with medpy itself, for whoever doubts our metrics."""

from collections.abc import Iterator

import numpy as np

from benchmark.records.arrays import read_masks
from benchmark.records.case_values import CaseValue, of_last, read_case_values
from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.metrics import largest_components
from data.cache import Dataset


def differences(folder: ResultsFolder, trial: str, dataset: Dataset) -> Iterator[tuple[CaseValue, float]]:
    """Every stored score that medpy can compute, and what medpy computes from the stored prediction.

    Args:
        folder: a results folder.
        trial: id of a finished trial.
        dataset: its data set, for the truth and the voxel sizes.

    Yields:
        A value of cases.csv and medpy's. Where a mask is empty, medpy raises, and nothing is compared.

    Raises:
        ResultsError: there is no finished record of this trial, or it cannot be read.
    """
    from medpy.metric import binary

    record = folder.finished_record(trial)
    if record is None:
        raise ResultsError(f"{trial} is no finished trial of {folder.folder}: see `status {folder.folder}`")
    values = of_last(read_case_values(folder.record(trial) / "cases.csv", len(record.test), dataset.classes))
    metrics = {"dice": binary.dc, "jaccard": binary.jc, "asd": binary.asd, "hd95": binary.hd95, "assd": binary.assd}
    masks: dict[str, dict[str, np.ndarray]] = {}
    for value in values:
        if value.metric not in metrics:
            continue
        truth = dataset.native(value.case)
        if value.case not in masks:
            path = folder.record(trial) / "predictions" / f"{value.case}.npz"
            if (predicted := read_masks(path)) is None:
                raise ResultsError(f"{path} cannot be read: train the trial again")
            labels = (predicted * np.arange(1, dataset.classes + 1).reshape(-1, 1, 1, 1)).max(0)
            masks = {value.case: {"none": labels, "largest_component": largest_components(labels, dataset.classes)}}
        prediction = masks[value.case][value.postprocessing] == value.structure
        reference = truth.label == value.structure
        if prediction.any() and reference.any():
            spacing = {"mm": {"voxelspacing": truth.spacing}}.get(value.unit, {})
            yield value, float(metrics[value.metric](prediction, reference, **spacing))
