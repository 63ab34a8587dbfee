"""The training batches, as a function of (seed, step) alone."""

from collections.abc import Callable

import numpy as np

from data.augment import crop_patch
from data.cache import Dataset
from data.case import DataError
from data.randomness import generator

# An extra array is one more input that a method asks for. Its function gets the arrays of the batch by name, and a
# random generator for it alone. The batch has no labels of unlabelled cases.
ExtraArray = Callable[[dict[str, np.ndarray], np.random.Generator], np.ndarray]


class PatchStream:
    """The batches of a training: `stream[step]` depends on (seed, step) alone.

    The order of the cases is that of the UA-MT release. An epoch is one permutation of the labelled cases, cut into
    groups of `labelled_patches`. An incomplete last group is dropped; with fewer cases than `labelled_patches`, further
    permutations are appended. The unlabelled cases come as permutations, too, which start anew with each epoch. Labels
    of unlabelled cases are never opened.

    For supervised methods the release keeps the incomplete group. This differs only if the batch does not divide the
    number of labelled cases.

    Args:
        dataset: anything with `image(case_id)` and `label(case_id)`, which return arrays (H, W, D).
        labelled: the labelled cases.
        unlabelled: the unlabelled cases.
        labelled_patches: labelled patches in a batch, B_l.
        unlabelled_patches: unlabelled patches in a batch, B_u.
        patch: (h, w, d) of a patch, in voxels of the training grid.
        augmentation: a key of `data.augment.AUGMENTATIONS`.
        seed: of the training.
        extra_arrays: functions that compute further arrays of a batch, by name.

    Raises:
        DataError: the batch has labelled or unlabelled patches, but there is no such case.

    Source:
        UA-MT release, `dataloaders/la_heart.py` (TwoStreamBatchSampler).

    Example:
        >>> class Blank:
        ...     def image(self, case_id):
        ...         return np.zeros((20, 20, 20), np.float32)
        ...
        ...     def label(self, case_id):
        ...         return np.zeros((20, 20, 20), np.uint8)
        >>> stream = PatchStream(Blank(), ["a", "b"], ["c", "d", "e"], 2, 2, (16, 16, 16), "uamt_exact", seed=0)
        >>> stream[5]["labelled_images"].shape
        (2, 1, 16, 16, 16)
        >>> sorted(stream.cases(5)[0])
        ['a', 'b']
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
                f"a batch has {labelled_patches} labelled and {unlabelled_patches} unlabelled patches, but there are "
                f"{len(labelled)} labelled and {len(unlabelled)} unlabelled ones among the training cases: change "
                "`labelled`"
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

        Returns:
            "labelled_images" (B_l, 1, h, w, d), float32; "labels" (B_l, h, w, d), uint8; "unlabelled_images"
            (B_u, 1, h, w, d), float32; and the extra arrays by name.
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
        """The labelled and the unlabelled cases of a step, in the order of its patches."""
        groups = max(len(self.labelled) // self.labelled_patches, 1)
        epoch, group = divmod(step, groups)
        labelled_rng = generator(self.seed, "labelled order", epoch)
        unlabelled_rng = generator(self.seed, "unlabelled order", epoch)
        return (
            _group(self.labelled, self.labelled_patches, group, labelled_rng),
            _group(self.unlabelled, self.unlabelled_patches, group, unlabelled_rng),
        )


def _group(ids: list[str], size: int, index: int, rng: np.random.Generator) -> list[str]:
    """Group `index` (0, 1, …) of `size` ids, in an endless sequence of permutations."""
    order: list[int] = []
    while len(order) < (index + 1) * size:
        order.extend(rng.permutation(len(ids)))
    return [ids[i] for i in order[index * size : (index + 1) * size]]
