"""The arrays of a results folder: pictures of the test cases, and predicted masks."""

import math
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmark.records.files import write_atomically
from benchmark.records.results_folder import ResultsFolder

# What numpy and zipfile raise for damaged files. MemoryError: a header may claim any size.
UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, EOFError, IndexError, OverflowError, MemoryError, NotImplementedError,
    RuntimeError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def write_case(results: ResultsFolder, case_id: str, image: np.ndarray, label: np.ndarray, content: str) -> None:
    """Write cases/<id>.npz, unless it is there with the same `content`, a hash of the case.

    The image (H,W,D) is scaled from its 0.5th and 99.5th percentile to uint8. The truth is uint8.
    """
    path = results.folder / "cases" / f"{case_id}.npz"
    with suppress(*UNREADABLE), np.load(path, allow_pickle=False) as stored:
        if str(stored["content"]) == content:
            return
    low, high = np.percentile(image, (0.5, 99.5))
    scaled = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, image=scaled, label=label, content=content)

    write_atomically(path, write)


def write_prediction(path: Path, labels: np.ndarray, classes: int) -> None:
    """Predicted masks, bit-packed: `masks` packs (C,H,W,D) booleans, `shape` is that shape."""
    masks = labels[None] == np.arange(1, classes + 1).reshape(-1, 1, 1, 1)
    np.savez_compressed(path, masks=np.packbits(masks), shape=masks.shape)


def labels_of(masks: np.ndarray) -> np.ndarray:
    """Masks (C,H,W,D), of structures that do not overlap, as labels (H,W,D) with 0 for background and 1..C.

    Example:
        >>> labels_of(np.array([[True, False, False], [False, False, True]]).reshape(2, 3, 1, 1)).ravel().tolist()
        [1, 0, 2]
    """
    structures = np.arange(1, len(masks) + 1).reshape(-1, 1, 1, 1)
    return (masks * structures).max(0).astype(np.uint8)


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the picture of a test case.

    Args:
        path: cases/CASE.npz of a results folder.

    Returns:
        The image, (H, W, D) uint8, and the truth, (H, W, D) with 0 for background and 1 to C for structures.
        None if the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            image, label = stored["image"], stored["label"]
    except UNREADABLE:
        return None
    fits = image.ndim == 3 and image.shape == label.shape and image.size and image.dtype == label.dtype == np.uint8
    return (image, label) if fits else None


def read_masks(path: Path, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
    """Read a prediction before any postprocessing.

    Args:
        path: records/TRIAL/predictions/CASE.npz of a results folder.
        shape: the expected shape, (C, H, W, D); None takes any.

    Returns:
        One boolean mask for each structure, (C, H, W, D). None if the file cannot be read or has another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found, packed = tuple(int(n) for n in stored["shape"]), stored["masks"]
            voxels = math.prod(found)
            if shape not in (None, found) or len(found) != 4 or min(found) < 1 or voxels > 8 * packed.size:
                return None
            return np.unpackbits(packed, count=voxels).reshape(found).astype(bool)
    except UNREADABLE:
        return None
