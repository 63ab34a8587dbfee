"""Scores the weights that were stored during a training, and those of its end, so that one of them can be chosen.

As in the test of the last weights, everything is predicted before the first truth is opened.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from benchmark.records.arrays import labels_of, read_masks, write_prediction
from benchmark.records.case_values import POSTPROCESSINGS
from benchmark.records.files import ResultsError, csv_text, remove, write_atomically, write_text
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import (
    TEST,
    VALIDATION,
    Point,
    curve_text,
    iterations_before_the_end,
    missing_weights,
    weights_file,
    with_choices,
)
from benchmark.trial.finite import DivergedError
from benchmark.trial.inference import fold_batch_norm
from benchmark.trial.metrics import largest_components, overlap
from benchmark.trial.scoring import predict_labels, score_case
from benchmark.trial.specification import Progress, Trial
from benchmark.trial.testing import Say, stored_prediction
from data.cache import Dataset
from methods.shared.method import Method

PREDICTIONS = "selection"  # of a record that is put together, until all are scored


def store_weights(method: Method, running: Path, iteration: int) -> None:
    """Keep the weights of an iteration before the end, as a whole or not at all. Changes nothing of the training."""
    path = weights_file(running, iteration)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda partial: torch.save(method.state_dict(), partial))


def scorable(trial: Trial, results: ResultsFolder, note: Callable[[str], None]) -> Trial:
    """The trial of a record that is scored again. It chooses among no checkpoints if the record lacks their weights,
    which `note` is told."""
    evaluation = trial.evaluation
    if not missing_weights(results.record(trial.id), evaluation.checkpoints, trial.training.iterations):
        return trial
    note("the record lacks weights of before the end: only the last are scored")
    return trial.model_copy(update={"evaluation": evaluation.model_copy(update={"checkpoints": None})})


def predict_checkpoints(
    method: Method, dataset: Dataset, trial: Trial, folder: Path, window_batch: int,
    alive: Callable[[], None], say: Say, note: Callable[[str], None],
) -> Iterator[Progress]:  # fmt: skip
    """Predict test and validation cases with each of the stored weights. The method ends with one of them.

    Args:
        method: with the weights of the end, whose test cases are predicted already.
        dataset: of the trial.
        trial: says which cases, and every how many iterations.
        folder: in which the record is put together. It holds the weights.
        window_batch: windows in one call of `predict`.
        alive: called before each batch of windows.
        say: makes a sign of life of a stage.
        note: told of weights whose predictions are not finite. They are not chosen.
    """
    iterations = _candidates(trial)
    for number, iteration in enumerate(iterations, start=1):
        last = iteration == trial.training.iterations
        if not last:
            _load(method, weights_file(folder, iteration))
        folded = fold_batch_norm(method)
        target = _predictions(folder, iteration)
        target.mkdir(parents=True)
        try:
            for case_id in [*trial.validation, *([] if last else trial.test)]:
                yield say(f"selecting {number}/{len(iterations)}")
                labels = predict_labels(
                    folded, dataset, case_id, trial.training, trial.evaluation, window_batch, alive=alive
                )
                write_prediction(target / f"{case_id}.npz", labels, dataset.classes)
        except DivergedError as error:
            remove(target)
            note(f"the weights of iteration {iteration} are not chosen: {error}")


def score_checkpoints(dataset: Dataset, trial: Trial, folder: Path, rows: list[dict], say: Say) -> Iterator[Progress]:
    """Write checkpoints.csv of a record, and add the values of the chosen checkpoints to its cases.csv.

    Args:
        dataset: of the trial.
        trial: says which cases.
        folder: in which the record is put together, with the predictions.
        rows: of cases.csv, of the last checkpoint.
        say: makes a sign of life of a stage.

    Raises:
        ResultsError: a prediction cannot be read back.
    """
    iterations = [i for i in sorted(_candidates(trial)) if _predictions(folder, i).is_dir()]
    points = []
    for number, iteration in enumerate(iterations, start=1):
        yield say(f"selecting {number}/{len(iterations)}")
        for kind, case_ids in ((TEST, trial.test), (VALIDATION, trial.validation)):
            dice = [
                _dice(dataset, case_id, _labels(dataset, trial, folder, iteration, case_id)) for case_id in case_ids
            ]
            points += [
                Point(iteration, kind, postprocessing, _mean(of_case[place] for of_case in dice))
                for place, postprocessing in enumerate(POSTPROCESSINGS)
                if case_ids
            ]
    points = with_choices(points)
    write_text(folder / "checkpoints.csv", curve_text(points))
    scored = {trial.training.iterations: rows}
    added = []
    for point in filter(lambda point: point.chosen, points):
        if point.iteration not in scored:
            yield say(f"scoring iteration {point.iteration}")
            scored[point.iteration] = [
                row
                for case_id in trial.test
                for row in score_case(
                    _labels(dataset, trial, folder, point.iteration, case_id), dataset.native(case_id),
                    dataset.classes, trial.evaluation,
                )
            ]  # fmt: skip
        added += [
            row | {"checkpoint": point.chosen}
            for row in scored[point.iteration]
            if row["postprocessing"] == point.postprocessing
        ]
    write_text(folder / "cases.csv", csv_text([*rows, *added]))
    remove(folder / PREDICTIONS)


def _candidates(trial: Trial) -> list[int]:
    """The iterations whose weights can be chosen. The end stands first, because the method has its weights."""
    every, end = trial.evaluation.checkpoints, trial.training.iterations
    return [end, *iterations_before_the_end(every, end)]


def _load(method: Method, path: Path) -> None:
    try:
        device = next(method.parameters()).device
        method.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:  # garbage makes torch.load raise nearly anything
        raise ResultsError(f"{path} cannot be read: remove it, and `run` trains the trial again") from error


def _predictions(folder: Path, iteration: int) -> Path:
    return folder / PREDICTIONS / str(iteration)


def _labels(dataset: Dataset, trial: Trial, folder: Path, iteration: int, case_id: str) -> np.ndarray:
    """What the weights of an iteration predict, (H, W, D). Those of the end are in the record already."""
    path = _predictions(folder, iteration) / f"{case_id}.npz"
    if iteration == trial.training.iterations and case_id in trial.test:
        path = stored_prediction(folder, case_id)
    masks = read_masks(path, (dataset.classes, *dataset.native_shape(case_id)))
    if masks is None:
        raise ResultsError(f"{path} cannot be read: run the same command again")
    return labels_of(masks)


def _dice(dataset: Dataset, case_id: str, labels: np.ndarray) -> tuple[float, ...]:
    """Mean Dice over structures under each postprocessing, in the order of POSTPROCESSINGS."""
    truth, structures = dataset.native(case_id).label, range(1, dataset.classes + 1)
    return tuple(
        _mean(overlap(predicted == value, truth == value)["dice", ""] for value in structures)
        for predicted in (labels, largest_components(labels, dataset.classes))
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
