"""Signed distance maps: the regression target of distance heads, and the way back from a map to a mask."""

import numpy as np
import torch
from torch import Tensor

from data.masks import bounding_box

STEEPNESS = 1500  # k of the inverse transform (DTC and DTML releases; "as large as possible" in DTML, Eq. 2)


def signed_distance_map(mask: np.ndarray) -> np.ndarray:
    """Normalised signed distance map of one binary patch (H,W,D): negative inside, positive outside, within [-1, 1].

    outside / max(outside) - inside / max(inside), and exactly 0 on the inner boundary, the foreground voxels with a
    background voxel among their 6 neighbours (DTML, Eq. 1, as the DTC release computes it).
    A patch without foreground is 1 everywhere and one without background -1, so that the inverse transform is right
    there (the release gives 0, probability 0.5, and a division by zero; neither occurs in left-atrium crops).
    """
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
    """Squared distance of each voxel (H,W,D) to the nearest of `sources`, of which there is one at least; integers.

    Exact: the distances along one axis, then along each other the lower envelope of parabolas, found by trying all
    shifts. In small integers, on blocks that fit a cache, and only where there are sources, that is faster than the
    feature transform of scipy.
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
    """Extra arrays: signed distance maps (B_l,C,H,W,D) of the labelled patches, one channel a class."""

    def __init__(self, classes: int):
        self.classes = classes

    def __call__(self, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        maps = [
            [signed_distance_map(label == value) for value in range(1, self.classes + 1)] for label in arrays["labels"]
        ]
        return np.asarray(maps, np.float32)


def distance_to_mask(distance: Tensor, shift: float = 0.0) -> Tensor:
    """Smooth inverse transform T(z - shift) = sigmoid(-1500 (z - shift)): probability of foreground.

    The sign is that of the releases; DTML, Eq. 2, prints +k, which is wrong for maps that are negative inside.
    """
    return torch.sigmoid(-STEEPNESS * (distance - shift))


def distance_loss(distance: Tensor, target: Tensor, norm: str) -> Tensor:
    """L_dis: mean squared ("l2", the paper's words) or mean absolute ("l1", the released code) difference."""
    difference = distance - target
    return difference.square().mean() if norm == "l2" else difference.abs().mean()


def active_fraction(distance: Tensor) -> Tensor:
    """Share of voxels where T still passes a gradient, |1500 z| < 7. Logged: training through T lives on these."""
    return (distance.detach().abs() < 7 / STEEPNESS).float().mean()
