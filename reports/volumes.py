"""Reads the images, truths and predictions of test cases that a results folder stores."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

UNREADABLE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def read_picture(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read a test case.

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
    return (image, label) if image.ndim == 3 and image.shape == label.shape else None


def read_masks(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read a prediction before any postprocessing.

    Args:
        path: records/TRIAL/predictions/CASE.npz of a results folder.
        shape: the expected shape, (C, H, W, D).

    Returns:
        One boolean mask per structure, (C, H, W, D). None if the file cannot be read or has another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            if tuple(stored["shape"]) != shape:
                return None
            return np.unpackbits(stored["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    except UNREADABLE:
        return None
