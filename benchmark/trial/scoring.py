"""From a trained method to the figures of a case."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from benchmark.records.case_values import CHECKPOINT, POSTPROCESSINGS
from benchmark.records.protocol import Evaluation, Training
from benchmark.trial.inference import label_map, predict_volume
from benchmark.trial.metrics import case_metrics, largest_components
from data.augment import AUGMENTATIONS
from data.cache import Dataset
from data.case import Case
from methods.shared.method import Method


def predict_labels(
    method: Method,
    dataset: Dataset,
    case_id: str,
    training: Training,
    evaluation: Evaluation,
    window_batch: int,
    max_windows: int | None = None,
    alive: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Predicted labels (H,W,D) of a case on its own grid, before postprocessing; the method is in eval mode.

    `alive` is called before each batch of windows, for whoever watches.
    """
    device = next(method.parameters()).device
    image = dataset.image(case_id)

    def predict(images: Tensor) -> Tensor:
        alive()
        return method.predict(images)

    probabilities = predict_volume(
        predict, image, dataset.classes, training.patch, evaluation.stride, window_batch, device, max_windows,
        AUGMENTATIONS[training.augmentation].resizes,
    )  # fmt: skip
    return label_map(probabilities, dataset.native_shape(case_id), training.head)


def postprocessed(labels: np.ndarray, classes: int, evaluation: Evaluation) -> np.ndarray:
    """Labels (H,W,D) as the headline figures score them."""
    return largest_components(labels, classes) if evaluation.postprocessing == "largest_component" else labels


def score_case(labels: np.ndarray, case: Case, classes: int, evaluation: Evaluation) -> list[dict]:
    """The rows of cases.csv for one case: every metric, with and without the largest component alone."""
    rows = []
    for name, masks in zip(POSTPROCESSINGS, (labels, largest_components(labels, classes)), strict=True):
        scores = case_metrics(masks, case.label, classes, case.spacing, evaluation.empty, evaluation.nsd_tolerance)
        rows += [{"checkpoint": CHECKPOINT, "postprocessing": name, "case": case.id, **metric} for metric in scores]
    return rows
