"""The training batches, as a function of (seed, step) alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from data.augment import AUGMENTATIONS, Placement, cut_patch, place_beside, place_patch
from data.cache import Dataset
from data.case import DataError
from data.randomness import generator

# An extra array is one more input that a method asks for. Its function gets the arrays of the batch by name, and a
# random generator for it alone. The batch has no labels of unlabelled cases.
ExtraArray = Callable[[dict[str, np.ndarray], np.random.Generator], np.ndarray]
Item = tuple[str, int | None]  # a case, and in 2D the number of a slice


class PatchStream:
    """The batches of a training: `stream[step]` depends on (seed, step) alone.

    The order of the cases is that of the UA-MT release. An epoch is one permutation of the labelled cases, cut into
    groups of `labelled_patches`. An incomplete last group is dropped; with fewer cases than `labelled_patches`, further
    permutations are appended. The unlabelled cases come as permutations, too, which start anew with each epoch. Labels
    of unlabelled cases are never opened.

    For supervised methods the release keeps the incomplete group. This differs only if the batch does not divide the
    number of labelled cases.

    Args:
        dataset: anything with `image(case_id)` and `label(case_id)`, which return arrays (H, W, D). With `channels` M
            above 1, images are (H, W, D, M).
        labelled: the labelled cases.
        unlabelled: the unlabelled cases.
        labelled_patches: labelled patches in a batch, B_l.
        unlabelled_patches: unlabelled patches in a batch, B_u.
        patch: (h, w, d) of a patch, in voxels of the training grid; (h, w) for slices of the last axis. Then slices
            take the place of cases in the order.
        augmentation: a key of `data.augment.AUGMENTATIONS`.
        seed: of the training.
        extra_arrays: functions that compute further arrays of a batch, by name.
        overlapping: whether a batch has a second crop of each volume, which overlaps the first.

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
        patch: tuple[int, ...],
        augmentation: str,
        seed: int,
        extra_arrays: dict[str, ExtraArray] | None = None,
        overlapping: bool = False,
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
        self.overlapping = overlapping
        self._labelled_items, self._unlabelled_items = self._items(labelled), self._items(unlabelled)
        channels = getattr(dataset, "channels", 1)
        self._channels = (channels,) if channels > 1 else ()  # the further axis of images

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step (0, 1, …).

        Returns:
            "labelled_images" (B_l, M, h, w, d), float32; "labels" (B_l, h, w, d), uint8; "unlabelled_images"
            (B_u, M, h, w, d), float32; "labelled_ids" and "unlabelled_ids", lists of cases; "labelled_origins"
            (B_l, 3) and "unlabelled_origins" (B_u, 3), int64: the first voxel of each patch in its rotated and flipped
            volume; with overlapping crops "overlapping_images" (B_l + B_u, M, h, w, d) and their "shifts"
            (B_l + B_u, n), int64;
            and the extra arrays by name. In 2D there is no d, and origins have the slice as third number.
        """
        labelled, unlabelled = self._order(step)
        labelled_rng = generator(self.seed, "labelled crops", step)
        unlabelled_rng = generator(self.seed, "unlabelled crops", step)
        labels = np.empty((len(labelled), *self.patch), np.uint8)
        labelled_images, labelled_places = self._images(labelled, labelled_rng, labels)
        unlabelled_images, unlabelled_places = self._images(unlabelled, unlabelled_rng)
        batch = {"labelled_images": labelled_images, "labels": labels, "unlabelled_images": unlabelled_images}
        extra = {
            # The stream keeps its first name, "view": another one would change the random numbers of plug-ins.
            name: compute(batch, generator(self.seed, f"view {name}", step))
            for name, compute in self.extra_arrays.items()
        }
        about = {
            "labelled_ids": [case_id for case_id, _ in labelled],
            "unlabelled_ids": [case_id for case_id, _ in unlabelled],
            "labelled_origins": self._origins(labelled, labelled_places),
            "unlabelled_origins": self._origins(unlabelled, unlabelled_places),
        }
        if self.overlapping:
            about |= self._second_crops([*labelled, *unlabelled], [*labelled_places, *unlabelled_places], step)
        return batch | about | extra

    def cases(self, step: int) -> tuple[list[str], list[str]]:
        """The labelled and the unlabelled cases of a step, in the order of its patches."""
        labelled, unlabelled = self._order(step)
        return [case_id for case_id, _ in labelled], [case_id for case_id, _ in unlabelled]

    def _order(self, step: int) -> tuple[list[Item], list[Item]]:
        groups = max(len(self._labelled_items) // self.labelled_patches, 1)
        epoch, group = divmod(step, groups)
        labelled_rng = generator(self.seed, "labelled order", epoch)
        unlabelled_rng = generator(self.seed, "unlabelled order", epoch)
        return (
            _group(self._labelled_items, self.labelled_patches, group, labelled_rng),
            _group(self._unlabelled_items, self.unlabelled_patches, group, unlabelled_rng),
        )

    def _items(self, case_ids: list[str]) -> list[Item]:
        """What an epoch goes through: the cases, or all their slices in 2D."""
        if len(self.patch) == 3:
            return [(case_id, None) for case_id in case_ids]
        return [(case_id, z) for case_id in case_ids for z in range(self.dataset.image(case_id).shape[2])]

    def _images(
        self, items: list[Item], rng: np.random.Generator, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[Placement]]:
        """The patches of these items (B, M, ...) and their places. The labels are written into `labels`."""
        patches, places = np.empty((len(items), *(self._channels or (1,)), *self.patch), np.float32), []
        for i, item in enumerate(items):
            image = _slice(self.dataset.image(item[0]), item)
            places.append(place_patch(image.shape[: len(self.patch)], self.patch, self.augmentation, rng))
            self._cut(image, places[-1], self._channels_last(patches[i]))
            if labels is not None:
                self._cut(_slice(self.dataset.label(item[0]), item), places[-1], labels[i])
        return patches, places

    def _second_crops(self, items: list[Item], places: list[Placement], step: int) -> dict[str, np.ndarray]:
        rng = generator(self.seed, "overlapping crops", step)
        patches = np.empty((len(items), *(self._channels or (1,)), *self.patch), np.float32)
        shifts = np.empty((len(items), len(self.patch)), np.int64)
        for i, (item, place) in enumerate(zip(items, places, strict=True)):
            image = _slice(self.dataset.image(item[0]), item)
            beside = place_beside(place, image.shape[: len(self.patch)], self.patch, rng)
            self._cut(image, beside, self._channels_last(patches[i]))
            shifts[i] = np.subtract(beside.start, place.start)
        return {"overlapping_images": patches, "shifts": shifts}

    def _cut(self, volume: np.ndarray, place: Placement, out: np.ndarray) -> None:
        cut_patch(volume, place, out, AUGMENTATIONS[self.augmentation].resizes)

    def _channels_last(self, patch: np.ndarray) -> np.ndarray:
        """A view of a patch (M, ...) as its volume is stored: without channels, or with them last."""
        return np.moveaxis(patch, 0, -1) if self._channels else patch[0]

    def _origins(self, items: list[Item], places: list[Placement]) -> np.ndarray:
        rows = [[*place.start, *([] if z is None else [z])] for (_, z), place in zip(items, places, strict=True)]
        return np.array(rows, np.int64).reshape(len(items), 3)


def _slice(volume: np.ndarray, item: Item) -> np.ndarray:
    return volume if item[1] is None else volume[:, :, item[1]]


def _group(items: list[Item], size: int, index: int, rng: np.random.Generator) -> list[Item]:
    """Group `index` (0, 1, …) of `size` items, in an endless sequence of permutations."""
    order: list[int] = []
    while len(order) < (index + 1) * size:
        order.extend(rng.permutation(len(items)))
    return [items[i] for i in order[index * size : (index + 1) * size]]
