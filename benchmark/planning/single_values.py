"""Whether a method would normalise a single value a channel. Such a training fails, so the plan refuses it.

Batch norm needs two values a channel. With small patches the deepest level of a network has one voxel. Some methods
pass a single patch through it. A training step on tensors without data finds them.
"""

from functools import cache

import numpy as np
import torch

from benchmark.planning.experiment import ExperimentError
from benchmark.records.protocol import Training
from benchmark.trial.failures import SINGLE_VALUE
from benchmark.trial.training import new_method, to_batch
from data.randomness import generator
from methods.shared import registry

LARGEST = 32  # voxels of a side: no network here halves a patch more than five times
STEPS = 100  # of the schedule that is tried, at its first and its last step

META = torch.device("meta")

Patch = tuple[int, ...]


def check_single_values(name: str, settings: dict, training: Training, classes: int, channels: int = 1) -> None:
    """Refuse a protocol under which a built-in method would fail at a normalisation layer.

    A plug-in's training step may do anything, so it is not tried here. Its trial fails with the same message.

    Args:
        name: of the method.
        settings: of the method, as an experiment gives them.
        training: the protocol.
        classes: foreground classes.
        channels: of an image.

    Raises:
        ExperimentError: with a batch size and a patch that would do.
    """
    if max(training.patch) > LARGEST or not registry.get(name).__module__.startswith("methods."):
        return

    def fails(batch_size: int, patch: Patch) -> str | None:
        frozen = registry.settings_of(name, settings).model_dump_json()
        changed = {"batch_size": batch_size, "patch": tuple(patch), "precision": "fp32", "iterations": STEPS}
        tried = training.model_copy(update=changed)
        return _single_value(name, frozen, tried.model_dump_json(), classes, channels)

    size, patch = training.batch_size, training.patch
    if (found := fails(size, patch)) is None:
        return
    ways = []
    if larger := [count for count in range(size + 1, 2 * size + 3) if _takes(name, settings, count)]:
        ways += [f"training.batch_size to {count}" for count in larger if fails(count, patch) is None][:1]
    longer = (2 * patch[0], *patch[1:])
    ways += [f"training.patch to {list(longer)}"] * (fails(size, longer) is None)
    raise ExperimentError(
        f"training.patch {list(patch)} with training.batch_size {size}: {name} gives a normalisation layer a single "
        f"value a channel ({found}), which cannot be trained; raise {' or '.join(ways) or 'both'}"
    )


def _takes(name: str, settings: dict, batch_size: int) -> bool:
    try:
        registry.get(name).patches(registry.settings_of(name, settings), batch_size)
    except registry.MethodError:
        return False
    return True


@cache
def _single_value(name: str, settings: str, protocol: str, classes: int, channels: int) -> str | None:
    """What torch says of the single value; None if there is none, or if that cannot be told without data."""
    method_class, training = registry.get(name), Training.model_validate_json(protocol)
    chosen = method_class.Settings.model_validate_json(settings)
    labelled, unlabelled = method_class.patches(chosen, training.batch_size)
    arrays = {
        "labelled_images": np.zeros((labelled, channels, *training.patch), np.float32),
        "labels": np.zeros((labelled, *training.patch), np.uint8),
        "unlabelled_images": np.zeros((unlabelled, channels, *training.patch), np.float32),
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            with torch.device("meta"):
                method = new_method(name, chosen, training, classes, channels).train()
            extra = {key: compute(arrays, generator(0, key)) for key, compute in method.extra_arrays().items()}
            batch = to_batch({key: torch.as_tensor(array) for key, array in (arrays | extra).items()}, META)
            for step in (0, STEPS - 1):
                for phase in method.phases:
                    method.training_step(batch, step, phase)
        except Exception as error:  # whatever cannot be computed without data
            return str(error).partition(", got ")[2] if str(error).startswith(SINGLE_VALUE) else None
    return None
