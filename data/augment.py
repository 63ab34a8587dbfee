"""A random patch of a volume, turned and mirrored in the (x, y) plane.

All published left-atrium codes share one augmentation (UA-MT release, `dataloaders/la_heart.py`): rotate the volume by
a random multiple of 90 degrees, then *always* flip it along x or y, then crop. A rotation followed by one flip reverses
the orientation, so of the eight symmetries of the square only the four reflections ever occur, each with probability
1/4: networks never see the orientation they are tested on. `uamt_exact` reproduces this; `d4` draws all eight.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Augmentation:
    """What may be drawn: a rotation by k * 90 degrees (k in 0..3, uniformly), then one of `flips`, then a crop."""

    flips: tuple[int | None, ...]  # the axis to flip along (0: x, 1: y, None: no flip), drawn uniformly
    skips_last_start: bool  # the releases' off-by-one: the last offset at which a patch fits is never drawn


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
    """One random patch of an image (H, W, D) and of its label: float32 and uint8 (or None), contiguous copies.

    `out`: arrays of the patch's size to write them into, as a batch has them; by default new ones.

    The volume is rotated and flipped as a view and cropped afterwards, so a patch need not be square in (x, y), and of
    a memory-mapped volume only the patch is read. Along an axis where the volume is smaller than the patch it counts as
    padded with zeros by (patch - dim) // 2 + 3 voxels on each side, the UA-MT release's formula.
    (The release also pads where the two are equal, and with any axis padded all others that exceed the patch by at most
    four voxels; with the published volumes and patch none of this happens.)
    """
    chosen = AUGMENTATIONS[augmentation]
    turns = int(rng.integers(4))
    flip = chosen.flips[rng.integers(len(chosen.flips))]
    image = _turned(image, turns, flip)
    start = tuple(
        _random_start(dim, size, chosen.skips_last_start, rng) for dim, size in zip(image.shape, patch, strict=True)
    )
    image_patch, label_patch = out or (np.empty(patch, np.float32), np.empty(patch, np.uint8))
    _crop(image, start, image_patch)
    if label is None:
        return image_patch, None
    _crop(_turned(label, turns, flip), start, label_patch)
    return image_patch, label_patch


def _turned(volume: np.ndarray, turns: int, flip: int | None) -> np.ndarray:
    volume = np.rot90(volume, turns)
    return volume if flip is None else np.flip(volume, flip)


def _random_start(dim: int, size: int, skips_last: bool, rng: np.random.Generator) -> int:
    """Where the patch starts along one axis, in voxels of the volume; negative where it starts in the padding."""
    padding = (size - dim) // 2 + 3 if dim < size else 0
    room = dim + 2 * padding - size
    return int(rng.integers(max(room, 1) if skips_last else room + 1)) - padding


def _crop(volume: np.ndarray, start: tuple[int, ...], patch: np.ndarray) -> None:
    """Fill `patch` with `volume[start : start + patch.shape]`, with zeros where that lies outside of the volume."""
    inside = [
        (max(first, 0), min(first + size, dim))
        for first, size, dim in zip(start, patch.shape, volume.shape, strict=True)
    ]
    if any(high - low < size for (low, high), size in zip(inside, patch.shape, strict=True)):
        patch[...] = 0
    source = tuple(slice(low, high) for low, high in inside)
    target = tuple(slice(low - first, high - first) for (low, high), first in zip(inside, start, strict=True))
    patch[target] = volume[source]
