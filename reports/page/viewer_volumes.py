"""A test case's image, truth and predictions on a coarser grid, as the page's case viewer reads them."""

import base64
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.records.arrays import read_masks, read_picture
from data.masks import bounding_box, largest_component

FINEST = 1.25  # mm; finer volumes are averaged down to about this
MARGIN = 20.0  # mm kept around truth and predictions
REMOVED = 128  # added to the structure's number in voxels that postprocessing removes; viewer.js has the same number


@dataclass(frozen=True)
class Volumes:
    """The volumes of one test case.

    A voxel of the truth or a prediction is 0 for background or the number of its structure. REMOVED is added where
    postprocessing removes the voxel.

    Attributes:
        stack: image, truth and each prediction, (2 + predictions, D, W, H) uint8.
        spacing: mm along H, W and D.
        missing: positions of predictions that cannot be read; their volumes are empty.
    """

    stack: np.ndarray
    spacing: tuple[float, ...]
    missing: list[int]


def read_volumes(picture: Path, predictions: Sequence[Path], native: Sequence[float], classes: int) -> Volumes | None:
    """Read one test case and reduce it to the viewer's grid, cropped around truth and predictions.

    Args:
        picture: file of image and truth.
        predictions: one file per method.
        native: voxel size of the stored volumes in mm.
        classes: number of structures.

    Returns:
        The volumes, or None if `picture` cannot be read.
    """
    read = read_picture(picture)
    if read is None:
        return None
    image, label = read
    block = block_size(native)
    means = block_sums(image, block) / np.prod(block)
    stack = [np.rint(means).astype(np.uint8), _structures((label == n + 1 for n in range(classes)), block)]
    missing = []
    for number, path in enumerate(predictions):
        masks = read_masks(path, (classes, *image.shape))
        if masks is None:
            missing.append(number)
            stack.append(np.zeros_like(stack[0]))
        else:
            kept = _structures(map(largest_component, masks), block)
            stack.append(np.where(kept, kept, _structures(masks, block, REMOVED)))
    stack = np.stack(stack)
    spacing = tuple(float(mm) * voxels for mm, voxels in zip(native, block, strict=True))
    stack = _cropped(stack, [round(MARGIN / mm) for mm in spacing])
    return Volumes(np.ascontiguousarray(stack.transpose(0, 3, 2, 1)), spacing, missing)


def packed(data: bytes) -> str:
    """Compress data for the page: gzip in base64, which browsers can undo. The same bytes give the same text."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def block_size(native: Sequence[float]) -> tuple[int, ...]:
    """How many stored voxels along each axis make one of the viewer's voxels, which is about FINEST long."""
    return tuple(max(round(FINEST / mm), 1) for mm in native)


def block_sums(volume: np.ndarray, block: Sequence[int]) -> np.ndarray:
    """Sums over blocks of voxels. The last voxels along an axis are repeated to complete the last block."""
    volume = np.pad(volume, [(0, -length % size) for length, size in zip(volume.shape, block, strict=True)], "edge")
    parts = (volume[tuple(map(slice, start, volume.shape, block))] for start in np.ndindex(*block))
    return sum(part.astype(np.uint32) for part in parts)


def _structures(masks: Iterable[np.ndarray], block: Sequence[int], mark: int = 0) -> np.ndarray:
    """Number the structures from 1 in one volume. A structure fills a block if it has more than half of its voxels."""
    sums = [block_sums(mask, block) for mask in masks]
    volume = np.zeros(sums[0].shape, np.uint8)
    for structure, voxels in enumerate(sums, start=1):
        volume[2 * voxels > np.prod(block)] = structure + mark
    return volume


def _cropped(stack: np.ndarray, margin: Sequence[int]) -> np.ndarray:
    """Crop volumes (2 + predictions, H, W, D) to what is segmented and `margin` voxels along each axis."""
    box = bounding_box(stack[1:].any(axis=0))
    if box is None:
        return stack
    wider = [slice(max(axis.start - voxels, 0), axis.stop + voxels) for axis, voxels in zip(box, margin, strict=True)]
    return stack[:, *wider]
