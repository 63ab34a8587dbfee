"""Images, truths and predictions of test cases as a results folder stores them."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from scipy import ndimage

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Image (H,W,D) uint8 and truth (H,W,D) with 0..C; None where the file cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            image, label = stored["image"], stored["label"]
    except UNREADABLE:
        return None
    return (image, label) if image.ndim == 3 and image.shape == label.shape else None


def read_masks(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Predicted masks (C,H,W,D) before postprocessing; None where the file cannot be read or has another shape."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if tuple(stored["shape"]) != shape:
                return None
            return np.unpackbits(stored["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    except UNREADABLE:
        return None


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Only the largest 26-connected component of a mask, as benchmark/trial/metrics.py keeps it before scoring."""
    kept = np.zeros_like(mask)
    if mask.any():
        box = ndimage.find_objects(mask.astype(np.uint8))[0]
        components, _ = ndimage.label(mask[box], np.ones((3, 3, 3)))
        kept[box] = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
    return kept
