"""A test case's image, truth and predictions on a coarser grid, as the bytes that the page's viewer reads."""

import base64
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.volumes import largest_component, read_masks, read_picture

FINEST = 1.25  # mm; finer volumes are averaged down to about this
MARGIN = 20.0  # mm kept around truth and predictions
REMOVED = 128  # added to the structure of a voxel that keeping the largest component alone takes away


@dataclass(frozen=True)
class Volumes:
    """One case: `stack` is image, truth and each prediction, (2 + predictions, D, W, H), uint8.

    A voxel of truth or prediction is 0 or its structure, plus REMOVED where postprocessing takes it away. spacing is mm
    along (H, W, D); missing lists the predictions that cannot be read (their volumes are empty).
    """

    stack: np.ndarray
    spacing: tuple[float, ...]
    missing: list[int]


def read_volumes(picture: Path, predictions: Sequence[Path], native: Sequence[float], classes: int) -> Volumes | None:
    """The volumes of one case, None where its picture cannot be read; `native` is mm a voxel of what is stored."""
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
    stack = stack[:, *_around(stack[1:].any(axis=0), spacing)]
    return Volumes(np.ascontiguousarray(stack.transpose(0, 3, 2, 1)), spacing, missing)


def packed(data: bytes) -> str:
    """gzip in base64, which browsers undo by themselves; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode("ascii")


def block_size(native: Sequence[float]) -> tuple[int, ...]:
    """How many stored voxels along each axis make one of the viewer's, which is about FINEST long."""
    return tuple(max(round(FINEST / mm), 1) for mm in native)


def block_sums(volume: np.ndarray, block: Sequence[int]) -> np.ndarray:
    """Sums over blocks of voxels; beyond its far faces the volume goes on as it ends there."""
    volume = np.pad(volume, [(0, -length % size) for length, size in zip(volume.shape, block, strict=True)], "edge")
    parts = (volume[tuple(map(slice, start, volume.shape, block))] for start in np.ndindex(*block))
    return sum(part.astype(np.uint32) for part in parts)


def _structures(masks: Iterable[np.ndarray], block: Sequence[int], mark: int = 0) -> np.ndarray:
    """One volume of the structures (1, 2, …; 0 elsewhere), each where its mask fills more than half of a block."""
    sums = [block_sums(mask, block) for mask in masks]
    volume = np.zeros(sums[0].shape, np.uint8)
    for structure, voxels in enumerate(sums, start=1):
        volume[2 * voxels > np.prod(block)] = structure + mark
    return volume


def _around(mask: np.ndarray, spacing: Sequence[float]) -> tuple[slice, ...]:
    """The box of what is in the mask with MARGIN on all sides; everything where it is empty."""
    if not mask.any():
        return (slice(None),) * 3
    box = []
    for axis, mm in enumerate(spacing):
        found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        margin = round(MARGIN / mm)
        box.append(slice(max(found[0] - margin, 0), found[-1] + 1 + margin))
    return tuple(box)
