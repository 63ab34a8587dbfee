"""Signed distance maps: the regression target of distance heads, and the way back from a map to a mask."""

import numpy as np
import torch
from torch import Tensor

from data.masks import bounding_box

DEAD_FRACTION = 1e-4  # of `active_fraction`: below it a network learns nothing; living ones have twice that and more
STEEPNESS = 1500  # k of the inverse transform (DTC and DTML releases; "as large as possible" in DTML, Eq. 2)


def signed_distance_map(mask: np.ndarray) -> np.ndarray:
    """The normalised signed distance map of one mask: outside / max(outside) - inside / max(inside).

    `outside` is the distance of a background voxel to the foreground, `inside` that of a foreground voxel to the
    background. The inner boundary is exactly 0: the foreground voxels with a background voxel among their 6 neighbours.

    A mask without foreground gives 1 everywhere, and one without background -1, so that `distance_to_mask` is right for
    them. The release gives 0 and a division by zero. Neither case occurs in crops of the left atrium.

    Args:
        mask: (H, W, D) or (H, W), boolean or 0 and 1.

    Returns:
        of the same shape, float32, within [-1, 1]: negative inside, positive outside.

    Source:
        DTML, Eq. 1, as the DTC release computes it (`utils/util.py`, `compute_sdf`).

    Example:
        >>> mask = np.zeros((7, 1, 1), bool)
        >>> mask[1:6] = True
        >>> signed_distance_map(mask).ravel().tolist()
        [1.0, 0.0, -0.6666666865348816, -1.0, -0.6666666865348816, 0.0, 1.0]
    """
    if mask.ndim == 2:
        return signed_distance_map(mask[..., None])[..., 0]
    mask = mask.astype(bool)
    if not mask.any():
        return np.ones(mask.shape, np.float32)
    if mask.all():
        return -np.ones(mask.shape, np.float32)
    outside = _squared_distances(mask)
    # Whatever is inside has its nearest background within one voxel of the box around the foreground.
    box = bounding_box(mask, margin=1)
    inside = _squared_distances(~mask[box])
    # Squared distances are small integers, so roots and quotients are looked up.
    shrunk = _roots(int(inside.max()))
    shrunk[1] = 0  # at distance 1 from the background: the inner boundary
    distance = _roots(int(outside.max()))[outside]
    distance[box] -= shrunk[inside]
    return distance


def _roots(largest: int) -> np.ndarray:
    """sqrt(i / largest) for i = 0 .. largest, float32."""
    return (np.sqrt(np.arange(largest + 1)) / np.sqrt(largest)).astype(np.float32)


def _squared_distances(sources: np.ndarray) -> np.ndarray:
    """The squared distance of each voxel to the nearest voxel of a mask, as exact integers.

    It computes distances along one axis first. Along each further axis the result is the lower envelope of parabolas,
    which is found by trying all shifts. This is faster than scipy's feature transform: the integers are small, blocks
    fit a processor's cache, and lines without a source are skipped.

    Args:
        sources: (H, W, D), boolean, with at least one true voxel.
    """
    far = sum((n - 1) ** 2 for n in sources.shape) + 1
    dtype = np.uint16 if far + (max(sources.shape) - 1) ** 2 < 2**16 else np.int32
    rows, columns, _ = bounding_box(sources)
    lines = np.ascontiguousarray(np.moveaxis(sources[rows, columns], 2, 0))
    along = np.where(lines, 0, lines.shape[0]).astype(np.int32)
    for i in range(1, len(along)):
        np.minimum(along[i], along[i - 1] + 1, out=along[i])
    for i in range(len(along) - 2, -1, -1):
        np.minimum(along[i], along[i + 1] + 1, out=along[i])
    squared = np.where(along < len(along), along * along, far).astype(dtype)  # (D, h, w)
    squared = _lower_envelope(np.moveaxis(squared, 1, 0), sources.shape[0], rows.start, far)  # (H, D, w)
    squared = _lower_envelope(np.moveaxis(squared, 2, 0), sources.shape[1], columns.start, far)  # (W, H, D)
    return np.moveaxis(squared, 0, 1)


def _lower_envelope(values: np.ndarray, size: int, start: int, far: int) -> np.ndarray:
    """min over k of values[k] + (i - start - k)^2 along the first axis, i = 0 .. size - 1; `far` where no smaller."""
    count, block = len(values), 1024
    shape = (size, *values.shape[1:])
    values = values.reshape(count, -1)
    result = np.empty((size, values.shape[1]), values.dtype)
    for first in range(0, values.shape[1], block):
        source = np.ascontiguousarray(values[:, first : first + block])
        target = np.full((size, source.shape[1]), far, values.dtype)
        raised = np.empty_like(source)
        for shift in range(max(size - start, start + count)):
            if shift % 8 == 0 and shift**2 >= target.max():
                break
            np.add(source, values.dtype.type(shift**2), out=raised)
            for low in {start + shift, start - shift}:
                inside = slice(max(low, 0), min(low + count, size))
                if inside.start < inside.stop:
                    part = raised[inside.start - low : inside.stop - low]
                    np.minimum(target[inside], part, out=target[inside])
        result[:, first : first + block] = target
    return result.reshape(shape)


class SignedDistanceMaps:
    """An extra array: the signed distance maps of the labelled patches, (B_l, C, H, W, D), one channel a class.

    Args:
        classes: the number C of foreground classes.

    Example:
        >>> labels = np.zeros((2, 4, 4, 4), np.uint8)
        >>> labels[:, :2] = 1
        >>> SignedDistanceMaps(classes=1)({"labels": labels}, np.random.default_rng()).shape
        (2, 1, 4, 4, 4)
    """

    def __init__(self, classes: int):
        self.classes = classes

    def __call__(self, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        maps = [
            [signed_distance_map(label == value) for value in range(1, self.classes + 1)] for label in arrays["labels"]
        ]
        return np.asarray(maps, np.float32)


def distance_to_mask(distance: Tensor, shift: float = 0.0) -> Tensor:
    """Foreground probabilities from distance maps: T(z - shift) = sigmoid(-1500 (z - shift)).

    The sign is that of the releases. DTML, Eq. 2, prints +k, which is wrong for maps that are negative inside.

    Args:
        distance: z, of any shape, in (-1, 1), negative inside.
        shift: where the probability is 0.5.

    Returns:
        Probabilities of the same shape.

    Source:
        DTML, Eq. 2; DTC release.

    Example:
        >>> [round(p, 3) for p in distance_to_mask(torch.tensor([-0.01, 0.0, 0.01])).tolist()]
        [1.0, 0.5, 0.0]
    """
    return torch.sigmoid(-STEEPNESS * (distance - shift))


def distance_loss(distance: Tensor, target: Tensor, norm: str) -> Tensor:
    """The regression loss L_dis of distance maps.

    Args:
        distance: predicted maps, of any shape.
        target: true maps, of the same shape.
        norm: "l2" for the mean squared difference (DTML's paper), "l1" for the mean absolute one (its code).

    Returns:
        A scalar.

    Example:
        >>> maps = torch.tensor([0.5, -0.5])
        >>> distance_loss(maps, torch.zeros(2), "l2").item(), distance_loss(maps, torch.zeros(2), "l1").item()
        (0.25, 0.5)
    """
    difference = distance - target
    return difference.square().mean() if norm == "l2" else difference.abs().mean()


def active_fraction(distance: Tensor) -> Tensor:
    """The share of voxels at which `distance_to_mask` passes a gradient: those with |1500 z| < 7.

    Methods that train through T learn from these voxels alone, therefore they log it.

    Args:
        distance: z, of any shape.

    Returns:
        A scalar in 0..1, without gradient.

    Example:
        >>> active_fraction(torch.tensor([0.0, 0.001, 0.5, -0.5])).item()
        0.5
    """
    return (distance.detach().abs() < 7 / STEEPNESS).float().mean()
