"""What the plan refuses: patches larger than cases, one method twice, one name for two rows."""

import json
import math

from benchmark.planning.experiment import Experiment, ExperimentError
from benchmark.records.protocol import SMALLEST_PATCH
from benchmark.trial.specification import Trial
from data.augment import AUGMENTATIONS
from data.cache import Dataset
from methods.shared import registry


def check_patch(experiment: Experiment, dataset: Dataset) -> None:
    """Refuse a patch more than twice as large as any case."""
    if AUGMENTATIONS[experiment.training.augmentation].resizes:
        return
    shapes = [dataset.image(case_id).shape for case_id in (*dataset.train_ids, *dataset.test_ids)]
    patch = experiment.training.patch
    largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))[: len(patch)]
    if any(p > 2 * n for p, n in zip(patch, largest, strict=True)):
        raise ExperimentError(
            f"training.patch {list(patch)} is more than twice as large as any case of {dataset.name} along some axis "
            f"(largest: {list(largest)}{_at(dataset.spacing)}): "
            f"it would hold mostly padding; {_smaller_patch_or_voxels(dataset, largest)}"
        )


def _smaller_patch_or_voxels(dataset: Dataset, largest: tuple[int, ...]) -> str:
    """What to do about a patch that is too large. If even the smallest patch is, voxels must be smaller."""
    if all(2 * n >= SMALLEST_PATCH for n in largest):
        return "choose a smaller one"
    spacing = dataset.spacing or dataset.native(dataset.train_ids[0]).spacing
    now = (spacing if isinstance(spacing, tuple) else (spacing,) * 3)[: len(largest)]
    needed = SMALLEST_PATCH // 2
    finer = [
        mm if n >= needed else math.floor(1000 * mm * n / needed) / 1000  # rounded down: not one voxel too few
        for mm, n in zip(now, largest, strict=True)
    ]
    sizes = ", ".join(f"{mm:g}" for mm in finer)
    return (
        f"no patch has fewer than {SMALLEST_PATCH} voxels along an axis: set data.spacing to [{sizes}] or less, so "
        f"that cases have at least {needed} voxels there"
    )


def _at(spacing: float | tuple[float, ...] | None) -> str:
    sizes = spacing if isinstance(spacing, tuple) else (spacing,)
    return "" if spacing is None else f" at data.spacing {' x '.join(f'{mm:g}' for mm in sizes)}"


def check_methods(experiment: Experiment) -> None:
    """Refuse the same method with the same settings twice: both would be one row."""
    seen: dict[str, str] = {}
    for number, entry in enumerate(experiment.methods):
        settings = registry.settings_of(entry.name, entry.settings).model_dump(mode="json")
        earlier = seen.setdefault(json.dumps([entry.name, settings], sort_keys=True), f"methods.{number}")
        if earlier != f"methods.{number}":
            raise ExperimentError(f"methods.{number}: {entry.name!r} with these settings is {earlier} too: remove one")


def check_names(experiment: Experiment, trials: list[Trial]) -> None:
    """Refuse one display name for two methods or settings: rows are told apart by it."""
    meaning: dict[str, tuple] = {}
    for trial in trials:
        identity = (trial.method, json.dumps(trial.settings, sort_keys=True))
        if meaning.setdefault(trial.cell.display, identity) != identity:
            raise ExperimentError(
                f"two methods are displayed as {trial.cell.display!r}: give one of them a `display` of its own"
            )
    if experiment.reference is not None and experiment.reference not in meaning:
        same = [trial.cell.display for trial in trials if trial.method == experiment.reference]
        advice = f"write {same[0]!r}" if same else f"choose one of {', '.join(meaning)}"
        raise ExperimentError(f"reference {experiment.reference!r} is no display name of a planned method: {advice}")
