"""Two operations on binary masks that every package uses. This module imports nothing of the project."""

import numpy as np
from scipy import ndimage


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...] | None:
    """The smallest box that holds all true voxels.

    Args:
        mask: boolean array of any number of dimensions.
        margin: voxels added on every side, as far as the array reaches.

    Returns:
        One slice for each axis, or None if no voxel is true.

    Example:
        >>> mask = np.zeros((5, 5), bool)
        >>> mask[1:3, 2] = True
        >>> bounding_box(mask)
        (slice(1, 3, None), slice(2, 3, None))
        >>> bounding_box(mask, margin=2)
        (slice(0, 5, None), slice(0, 5, None))
    """
    box = []
    for axis, size in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        if not len(found):
            return None
        box.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, size)))
    return tuple(box)


def largest_component(mask: np.ndarray, connectivity: int | None = None) -> np.ndarray:
    """Keep the largest connected component of a mask and remove all others.

    Args:
        mask: boolean array of any number of dimensions.
        connectivity: how many coordinates two neighbours may differ in. The default is the number of dimensions:
            26 neighbours in 3D, 8 in 2D. 1 means face neighbours.

    Returns:
        A boolean array of the same shape; all False if the mask is empty. Of two equally large components the
        one that comes first in memory order stays.

    Example:
        >>> largest_component(np.array([True, False, True, True]))
        array([False, False,  True,  True])
    """
    kept = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if box is not None:
        structure = ndimage.generate_binary_structure(mask.ndim, connectivity or mask.ndim)
        components, _ = ndimage.label(mask[box], structure)
        kept[box] = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return kept
