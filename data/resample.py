"""Bringing volumes from one grid to another of the same physical extent.

A grid is aligned with another by *extent*: the outer faces of the two volumes coincide, not the centres of their corner
voxels. So halving and doubling the resolution does not shift the image, and the two directions are consistent.
"""

import numpy as np
from scipy import ndimage

from data.case import Case


def grid_shape(shape: tuple[int, ...], native: tuple[float, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """The number of voxels along each axis that a volume of `native` mm voxels has at `spacing` mm."""
    return tuple(max(round(dim * old / new), 1) for dim, old, new in zip(shape, native, spacing, strict=True))


def resample(volume: np.ndarray, shape: tuple[int, ...], order: int = 1) -> np.ndarray:
    """A float volume on a grid of `shape` voxels and the same extent, float32; `order` as in `scipy.ndimage.zoom`.

    Beyond the centres of the outermost voxels the volume is taken as constant. Along axes on which more than two voxels
    become one, these are averaged: interpolation would look at two and miss the others.
    """
    for axis, (new, old) in enumerate(zip(shape, volume.shape, strict=True)):
        if old > 2 * new:
            volume = _averaged(volume, new, axis)
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume, factors, output=np.float32, order=order, mode="nearest", grid_mode=True)


def _averaged(volume: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The mean of the volume over each of `count` equal parts of an axis; voxels on a border count by their share."""
    integral = np.insert(np.cumsum(volume, axis, dtype=np.float64), 0, 0, axis)
    borders = np.linspace(0, volume.shape[axis], count + 1)
    before = np.floor(borders).astype(int).clip(max=volume.shape[axis] - 1)
    along = np.reshape(borders - before, [-1 if a == axis else 1 for a in range(volume.ndim)])
    at_borders = integral.take(before, axis) + along * volume.take(before, axis)
    return np.diff(at_borders, axis=axis) * (count / volume.shape[axis])


def resample_label(label: np.ndarray, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """A label (0..classes) on a grid of `shape` voxels, uint8.

    Each voxel gets the class whose linearly interpolated indicator is largest; a tie goes to the lower class,
    background first. With one class that is the threshold p > 0.5.
    """
    result = np.zeros(shape, np.uint8)
    highest = resample((label == 0).astype(np.float32), shape)
    for value in range(1, classes + 1):
        share = resample((label == value).astype(np.float32), shape)
        result[share > highest] = value
        np.maximum(highest, share, out=highest)
    return result


def resample_case(case: Case, spacing: tuple[float, float, float], classes: int) -> Case:
    """The case on a grid of `spacing` mm along each axis."""
    shape = grid_shape(case.image.shape, case.spacing, spacing)
    label = None if case.label is None else resample_label(case.label, shape, classes)
    return Case(case.id, resample(case.image, shape), label, spacing)
