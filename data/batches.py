"""The training batches, as a function of (seed, step) alone."""

from collections.abc import Callable

import numpy as np

from data.augment import crop_patch
from data.cache import Dataset
from data.case import DataError
from data.randomness import generator

# An extra array is one more input that a method asks for. Its function gets the batch's arrays, which hold labels of
# the labelled cases alone, and a random generator of its own.
ExtraArray = Callable[[dict[str, np.ndarray], np.random.Generator], np.ndarray]


class PatchStream:
    """A map-style source of batches: `stream[step]` depends on (seed, step) alone, whatever was asked for before.

    The order of the cases is that of the UA-MT release: an epoch is one permutation of the labelled cases, cut into
    groups of `labelled_patches` (an incomplete last group is dropped; where there are fewer cases than that, further
    permutations are appended), and beside it runs a stream of permutations of the unlabelled cases, started afresh with
    each epoch. The labels of unlabelled cases are never opened. (For supervised rows the release keeps the incomplete
    group; that differs only where the batch does not divide the number of labelled cases.)

    patch: in voxels of the training grid. Raises DataError where there are no cases of a kind that a batch asks for.
    """

    def __init__(
        self,
        dataset: Dataset,
        labelled: list[str],
        unlabelled: list[str],
        labelled_patches: int,
        unlabelled_patches: int,
        patch: tuple[int, int, int],
        augmentation: str,
        seed: int,
        extra_arrays: dict[str, ExtraArray] | None = None,
    ):
        if not labelled or (unlabelled_patches and not unlabelled):
            raise DataError(
                f"a batch of {labelled_patches} labelled and {unlabelled_patches} unlabelled patches needs such cases, "
                f"but there are {len(labelled)} labelled and {len(unlabelled)} unlabelled ones"
            )
        self.dataset = dataset
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.labelled_patches = labelled_patches
        self.unlabelled_patches = unlabelled_patches
        self.patch = tuple(patch)
        self.augmentation = augmentation
        self.seed = seed
        self.extra_arrays = extra_arrays or {}

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step (0, 1, …).

        `labelled_images` float32 (B_l, 1, H, W, D), `labels` uint8 (B_l, H, W, D), `unlabelled_images` float32
        (B_u, 1, H, W, D), and the extra arrays by name.
        """
        labelled, unlabelled = self.cases(step)
        labelled_rng = generator(self.seed, "labelled crops", step)
        unlabelled_rng = generator(self.seed, "unlabelled crops", step)
        batch = {
            "labelled_images": np.empty((len(labelled), 1, *self.patch), np.float32),
            "labels": np.empty((len(labelled), *self.patch), np.uint8),
            "unlabelled_images": np.empty((len(unlabelled), 1, *self.patch), np.float32),
        }
        for i, case_id in enumerate(labelled):
            image, label = self.dataset.image(case_id), self.dataset.label(case_id)
            out = batch["labelled_images"][i, 0], batch["labels"][i]
            crop_patch(image, label, self.patch, self.augmentation, labelled_rng, out)
        for i, case_id in enumerate(unlabelled):
            out = batch["unlabelled_images"][i, 0], None
            crop_patch(self.dataset.image(case_id), None, self.patch, self.augmentation, unlabelled_rng, out)
        extra = {
            # The stream keeps its first name, "view": another one would change the random numbers of plug-ins.
            name: compute(batch, generator(self.seed, f"view {name}", step))
            for name, compute in self.extra_arrays.items()
        }
        return batch | extra

    def cases(self, step: int) -> tuple[list[str], list[str]]:
        """The ids of a step's labelled and unlabelled cases, in the order of its patches."""
        groups = max(len(self.labelled) // self.labelled_patches, 1)
        epoch, group = divmod(step, groups)
        labelled_rng = generator(self.seed, "labelled order", epoch)
        unlabelled_rng = generator(self.seed, "unlabelled order", epoch)
        return (
            _group(self.labelled, self.labelled_patches, group, labelled_rng),
            _group(self.unlabelled, self.unlabelled_patches, group, unlabelled_rng),
        )


def _group(ids: list[str], size: int, index: int, rng: np.random.Generator) -> list[str]:
    """The `index`-th `size` ids of an endless stream of permutations."""
    order: list[int] = []
    while len(order) < (index + 1) * size:
        order.extend(rng.permutation(len(ids)))
    return [ids[i] for i in order[index * size : (index + 1) * size]]
