"""Augmentation: a random patch of a volume, rotated and flipped in the (x, y) plane.

All published left-atrium codes share one augmentation (UA-MT release, `dataloaders/la_heart.py`): rotate the volume by
a random multiple of 90 degrees, then *always* flip it along x or y, then crop. Of the eight symmetries of a square only
the four reflections occur, each with probability 1/4. So networks never see the orientation that they are tested on.
`uamt_exact` reproduces this; `d4` draws all eight symmetries.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """What is drawn: a rotation by k * 90 degrees (k in 0..3), then a flip, then a crop, each uniformly.

    Args:
        flips: the axes from which the flip is drawn: 0 for x, 1 for y, None for no flip.
        skips_last_start: whether the last place at which a patch fits is never drawn, as in the released codes.
    """

    flips: tuple[int | None, ...]
    skips_last_start: bool


AUGMENTATIONS = {
    "uamt_exact": Augmentation(flips=(0, 1), skips_last_start=True),
    "d4": Augmentation(flips=(None, 0), skips_last_start=False),
}


def crop_patch(
    image: np.ndarray,
    label: np.ndarray | None,
    patch: tuple[int, int, int],
    augmentation: str,
    rng: np.random.Generator,
    out: tuple[np.ndarray, np.ndarray | None] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut a random patch out of an image and its label.

    The volume is rotated and flipped as a view, and cropped afterwards. So a patch need not be square in (x, y), and of
    a memory-mapped volume only the patch is read.

    An axis that is shorter than the patch is padded with (patch - dim) // 2 + 3 zeros on each side, as in the UA-MT
    release. The release also pads an axis of equal length, and further axes if one is padded. With the published
    volumes and patch this does not occur.

    Args:
        image: (H, W, D), float32.
        label: (H, W, D), uint8, or None.
        patch: (h, w, d) of the patch, in voxels.
        augmentation: a key of `AUGMENTATIONS`.
        rng: decides rotation, flip and place.
        out: arrays of the patch's size to write into. By default new ones are made.

    Returns:
        The patch of the image, float32, and that of the label, uint8 or None. Both are copies.

    Source:
        UA-MT release, `dataloaders/la_heart.py` (RandomRotFlip, RandomCrop).

    Example:
        >>> image, label = np.zeros((20, 18, 12), np.float32), np.zeros((20, 18, 12), np.uint8)
        >>> patch, patch_label = crop_patch(image, label, (16, 16, 16), "uamt_exact", np.random.default_rng(0))
        >>> patch.shape, patch_label.dtype
        ((16, 16, 16), dtype('uint8'))
    """
    drawn = AUGMENTATIONS[augmentation]
    quarter_turns = int(rng.integers(4))
    flip = drawn.flips[rng.integers(len(drawn.flips))]
    image = _rotate_and_flip(image, quarter_turns, flip)
    start = tuple(
        _random_start(dim, size, drawn.skips_last_start, rng) for dim, size in zip(image.shape, patch, strict=True)
    )
    image_patch, label_patch = out or (np.empty(patch, np.float32), np.empty(patch, np.uint8))
    _crop(image, start, image_patch)
    if label is None:
        return image_patch, None
    _crop(_rotate_and_flip(label, quarter_turns, flip), start, label_patch)
    return image_patch, label_patch


def _rotate_and_flip(volume: np.ndarray, quarter_turns: int, flip: int | None) -> np.ndarray:
    volume = np.rot90(volume, quarter_turns)
    return volume if flip is None else np.flip(volume, flip)


def _random_start(dim: int, size: int, skips_last: bool, rng: np.random.Generator) -> int:
    """The first voxel of the patch along one axis. It is negative if the patch starts in the padding."""
    padding = (size - dim) // 2 + 3 if dim < size else 0
    room = dim + 2 * padding - size
    return int(rng.integers(max(room, 1) if skips_last else room + 1)) - padding


def _crop(volume: np.ndarray, start: tuple[int, ...], patch: np.ndarray) -> None:
    """Fill `patch` with `volume[start : start + patch.shape]`, and with zeros outside of the volume."""
    inside = [
        (max(first, 0), min(first + size, dim))
        for first, size, dim in zip(start, patch.shape, volume.shape, strict=True)
    ]
    if any(high - low < size for (low, high), size in zip(inside, patch.shape, strict=True)):
        patch[...] = 0
    source = tuple(slice(low, high) for low, high in inside)
    target = tuple(slice(low - first, high - first) for (low, high), first in zip(inside, start, strict=True))
    patch[target] = volume[source]
