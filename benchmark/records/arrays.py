"""The arrays of a results folder: pictures of the test cases, and predicted masks."""

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmark.records.files import write_atomically
from benchmark.records.folder import ResultsFolder


def write_case(results: ResultsFolder, case_id: str, image: np.ndarray, label: np.ndarray, content: str) -> None:
    """cases/<id>.npz, once for the case's `content` (a hash): the image (H,W,D) as uint8 between its 0.5th and 99.5th
    percentile, the truth as uint8."""
    path = results.folder / "cases" / f"{case_id}.npz"
    damaged = suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # or not there: it is written
    with damaged, np.load(path, allow_pickle=False) as stored:
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


def read_prediction(path: Path) -> np.ndarray:
    """Predicted masks (C,H,W,D), boolean, before postprocessing."""
    with np.load(path, allow_pickle=False) as stored:
        shape = tuple(int(n) for n in stored["shape"])
        return np.unpackbits(stored["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
