"""Augmentation of places: a random patch of a volume or slice, rotated and flipped in the (x, y) plane.

All published left-atrium codes share one augmentation (UA-MT release, `dataloaders/la_heart.py`): rotate the volume by
a random multiple of 90 degrees, then *always* flip it along x or y, then crop. Of the eight symmetries of a square only
the four reflections occur, each with probability 1/4. So networks never see the orientation that they are tested on.
`uamt_exact` reproduces this; `d4` draws all eight symmetries, and `crop` none, as the Pancreas-CT protocols do.

`acdc_2d` is that of the ACDC protocol (SSL4MIS, `dataloaders/dataset.py`, RandomGenerator). A slice is rotated by a
multiple of 90 degrees and flipped (probability 1/2), or rotated by up to 20 degrees (1/4), or neither. Then the whole
slice is resized to the patch. Slices of test cases are resized in the same way.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Augmentation:
    """What is drawn: a rotation by k * 90 degrees (k in 0..3), then a flip, then a crop, each uniformly.

    Args:
        turns: whether there is a rotation.
        flips: the axes from which the flip is drawn: 0 for x, 1 for y, None for no flip.
        skips_last_start: whether the last place at which a patch fits is never drawn, as in the released codes.
        degrees: of a small rotation, which takes the place of turns and flips in some patches; 0 for none.
        resizes: whether the whole slice is resized to the patch, instead of cropped.
    """

    turns: bool = True
    flips: tuple[int | None, ...] = (None,)
    skips_last_start: bool = True
    degrees: int = 0
    resizes: bool = False


AUGMENTATIONS = {
    "uamt_exact": Augmentation(flips=(0, 1)),
    "d4": Augmentation(flips=(None, 0), skips_last_start=False),
    "crop": Augmentation(turns=False),
    "acdc_2d": Augmentation(flips=(0, 1), degrees=20, resizes=True),
}


@dataclass(frozen=True)
class Placement:
    """Where a patch lies: the rotation, the flip, the small rotation in degrees, and its first voxel after these.

    The first voxel is negative if the patch starts in the padding.
    """

    quarter_turns: int
    flip: int | None
    degrees: int
    start: tuple[int, ...]


def place_patch(
    shape: tuple[int, ...], patch: tuple[int, ...], augmentation: str, rng: np.random.Generator
) -> Placement:
    """Draw the place of a patch.

    Args:
        shape: voxels of the volume (H, W, D), or of the slice (H, W).
        patch: voxels of the patch along the same axes.
        augmentation: a key of `AUGMENTATIONS`.
        rng: decides rotation, flip and place.

    Example:
        >>> place_patch((20, 18, 16), (16, 16, 16), "crop", np.random.default_rng(0)).quarter_turns
        0
    """
    drawn = AUGMENTATIONS[augmentation]
    quarter_turns, flip, degrees = 0, None, 0
    symmetric, tilted = True, False
    if drawn.degrees:
        symmetric, tilted = rng.random() > 0.5, rng.random() > 0.5
    if symmetric:
        quarter_turns = int(rng.integers(4)) if drawn.turns else 0
        flip = drawn.flips[rng.integers(len(drawn.flips))]
    elif tilted:
        degrees = int(rng.integers(-drawn.degrees, drawn.degrees))
    if drawn.resizes:
        return Placement(quarter_turns, flip, degrees, (0,) * len(patch))
    if quarter_turns % 2:
        shape = (shape[1], shape[0], *shape[2:])
    start = tuple(_random_start(dim, size, drawn.skips_last_start, rng) for dim, size in zip(shape, patch, strict=True))
    return Placement(quarter_turns, flip, degrees, start)


def place_beside(
    placement: Placement, shape: tuple[int, ...], patch: tuple[int, ...], rng: np.random.Generator
) -> Placement:
    """Draw a second patch of the same volume that overlaps the first by half or more along each axis.

    Args:
        placement: of the first patch.
        shape, patch: as for `place_patch`.
        rng: decides the shift, which is uniform as far as the volume reaches.

    Example:
        >>> first = Placement(0, None, 0, (2, 2, 0))
        >>> second = place_beside(first, (20, 18, 16), (16, 16, 16), np.random.default_rng(0))
        >>> second.start[2]
        0
    """
    if placement.quarter_turns % 2:
        shape = (shape[1], shape[0], *shape[2:])
    start = []
    for first, dim, size in zip(placement.start, shape, patch, strict=True):
        low, high = min(0, first), max(dim - size, first)
        shift = int(rng.integers(-(size // 2), size // 2 + 1))
        start.append(min(max(first + shift, low), high))
    return Placement(placement.quarter_turns, placement.flip, placement.degrees, tuple(start))


def cut_patch(volume: np.ndarray, placement: Placement, out: np.ndarray, resizes: bool = False) -> None:
    """Fill an array with the patch of a volume.

    The volume is rotated and flipped as a view, and cropped afterwards. So a patch need not be square in (x, y), and of
    a memory-mapped volume only the patch is read.

    Args:
        volume: (H, W, D) or a slice (H, W); images of several channels have them as a further, last axis.
        placement: of the patch.
        out: of the patch's size, with the same further axis.
        resizes: whether the whole volume is resized to `out`, with the nearest voxel, instead of cropped.

    Example:
        >>> out = np.zeros((2, 2))
        >>> cut_patch(np.array([[1.0, 2.0], [3.0, 4.0]]), Placement(1, None, 0, (0, 0)), out)
        >>> out.tolist()
        [[2.0, 4.0], [1.0, 3.0]]
    """
    volume = _rotate_and_flip(volume, placement.quarter_turns, placement.flip)
    if placement.degrees:
        volume = ndimage.rotate(volume, placement.degrees, order=0, reshape=False)
    if resizes:
        factors = [new / old for new, old in zip(out.shape, volume.shape, strict=True)]
        ndimage.zoom(volume, factors, output=out, order=0)
    else:
        _crop(volume, placement.start, out)


def crop_patch(
    image: np.ndarray,
    label: np.ndarray | None,
    patch: tuple[int, ...],
    augmentation: str,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut a random patch out of an image and its label.

    An axis that is shorter than the patch is padded with (patch - dim) // 2 + 3 zeros on each side, as in the UA-MT
    release. The release also pads an axis of equal length, and further axes if one is padded. With the published
    volumes and patch this does not occur.

    Args:
        image: (H, W, D), float32, or a slice (H, W).
        label: of the same shape, uint8, or None.
        patch: voxels of the patch along each axis.
        augmentation: a key of `AUGMENTATIONS`.
        rng: decides rotation, flip and place.

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
    placement, resizes = place_patch(image.shape, patch, augmentation, rng), AUGMENTATIONS[augmentation].resizes
    image_patch = np.empty(patch, np.float32)
    cut_patch(image, placement, image_patch, resizes)
    if label is None:
        return image_patch, None
    label_patch = np.empty(patch, np.uint8)
    cut_patch(label, placement, label_patch, resizes)
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
        for first, size, dim in zip(start, patch.shape, volume.shape, strict=False)  # channels are left as they are
    ]
    if any(high - low < size for (low, high), size in zip(inside, patch.shape, strict=False)):
        patch[...] = 0
    source = tuple(slice(low, high) for low, high in inside)
    target = tuple(slice(low - first, high - first) for (low, high), first in zip(inside, start, strict=True))
    patch[target] = volume[source]
