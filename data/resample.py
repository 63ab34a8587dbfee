"""Resampling of volumes to another grid of the same physical extent.

The outer faces of the two volumes coincide, not the centres of their corner voxels. So neither halving nor doubling the
resolution shifts the image.
"""

import numpy as np
from scipy import ndimage

from data.case import Case


def grid_shape(shape: tuple[int, ...], native: tuple[float, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """How many voxels a volume has after resampling.

    Args:
        shape: voxels of the volume along each axis.
        native: mm of its voxels along each axis.
        spacing: mm of the new voxels along each axis.

    Returns:
        Voxels along each axis, rounded, at least one.

    Example:
        >>> grid_shape((128, 128, 80), native=(0.625, 0.625, 0.625), spacing=(1.25, 1.25, 2.5))
        (64, 64, 20)
    """
    return tuple(max(round(dim * old / new), 1) for dim, old, new in zip(shape, native, spacing, strict=True))


def resample(volume: np.ndarray, shape: tuple[int, ...], order: int = 1) -> np.ndarray:
    """Resample a volume to a grid of the same extent.

    The volume is constant beyond the centres of its outermost voxels. If more than two voxels along an axis become one,
    they are averaged: interpolation would use two of them and ignore the others.

    Args:
        volume: (H, W, D), of floating-point numbers.
        shape: voxels of the new grid.
        order: of the spline interpolation, as for `scipy.ndimage.zoom`; 1 is linear.

    Returns:
        float32, of this shape.

    Example:
        >>> volume = np.array([0.0, 2.0, 4.0, 6.0]).reshape(4, 1, 1)
        >>> resample(volume, (2, 1, 1)).ravel().tolist()
        [1.0, 5.0]
    """
    for axis, (new, old) in enumerate(zip(shape, volume.shape, strict=True)):
        if old > 2 * new:
            volume = _averaged(volume, new, axis)
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume, factors, output=np.float32, order=order, mode="nearest", grid_mode=True)


def _averaged(volume: np.ndarray, count: int, axis: int) -> np.ndarray:
    """The mean of the volume over `count` equal parts of an axis. A voxel on a border counts by its share."""
    integral = np.insert(np.cumsum(volume, axis, dtype=np.float64), 0, 0, axis)
    borders = np.linspace(0, volume.shape[axis], count + 1)
    before = np.floor(borders).astype(int).clip(max=volume.shape[axis] - 1)
    along = np.reshape(borders - before, [-1 if a == axis else 1 for a in range(volume.ndim)])
    at_borders = integral.take(before, axis) + along * volume.take(before, axis)
    return np.diff(at_borders, axis=axis) * (count / volume.shape[axis])


def resample_image(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resample an image, channel by channel.

    Args:
        image: (H, W, D), or (H, W, D, M) with several channels.
        shape: voxels of the new grid.

    Returns:
        float32, of this shape, with as many channels.

    Example:
        >>> resample_image(np.zeros((8, 8, 4, 2), np.float32), (4, 4, 4)).shape
        (4, 4, 4, 2)
    """
    if image.ndim == 3:
        return resample(image, shape)
    return np.stack([resample(image[..., channel], shape) for channel in range(image.shape[3])], axis=-1)


def resample_label(label: np.ndarray, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Resample a label to a grid of the same extent, class by class.

    Each class is interpolated linearly as a binary mask, and each voxel gets the class with the highest value. A tie
    goes to the lower class. With one class this is the threshold p > 0.5.

    Args:
        label: (H, W, D), integers 0..C; 0 is background.
        shape: voxels of the new grid.
        classes: the number C of foreground classes.

    Returns:
        uint8, of this shape.

    Example:
        >>> label = np.array([0, 0, 1, 1, 3, 3]).reshape(6, 1, 1)
        >>> resample_label(label, (3, 1, 1), classes=3).ravel().tolist()
        [0, 1, 3]
    """
    result = np.zeros(shape, np.uint8)
    highest = resample((label == 0).astype(np.float32), shape)
    for value in range(1, classes + 1):
        share = resample((label == value).astype(np.float32), shape)
        result[share > highest] = value
        np.maximum(highest, share, out=highest)
    return result


def resample_case(case: Case, spacing: tuple[float, float, float], classes: int) -> Case:
    """Resample image and label of a case.

    Args:
        case: on any grid.
        spacing: mm of the new voxels along each axis.
        classes: the number C of foreground classes.

    Returns:
        A new case of the same id.

    Example:
        >>> case = Case("a", np.zeros((8, 8, 4), np.float32), None, (1.0, 1.0, 2.0))
        >>> resample_case(case, (2.0, 2.0, 2.0), classes=1).image.shape
        (4, 4, 4)
    """
    shape = grid_shape(case.shape, case.spacing, spacing)
    label = None if case.label is None else resample_label(case.label, shape, classes)
    return Case(case.id, resample_image(case.image, shape), label, spacing)
