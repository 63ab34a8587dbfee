"""TensorBoard event files beside the records: each trial's curves while it trains, and a few slices at its end.

`tensorboard --logdir RESULTS/tensorboard` shows them. They are for watching; reports read records alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

SLICES = 3  # test cases of which one slice is shown
TRUTH, PREDICTION = (230, 159, 0), (86, 180, 233)  # orange and blue, as in the report
SMALLEST = 400  # pixels of a picture's longer side: TensorBoard shows pictures as large as they are


class EventFile:
    """What one trial writes, once there is something to write; with no folder, nothing. What cannot be written is left
    out: no trial fails for it."""

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._writer: SummaryWriter | None = None
        self._rows = 0

    @contextmanager
    def _optional(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._folder = None  # nothing more: the file may be torn

    def _open(self, **options) -> SummaryWriter:
        self._folder.parent.mkdir(exist_ok=True)  # a results folder that was moved away is not made anew
        return SummaryWriter(str(self._folder), **options)

    def add_losses(self, history: list[dict[str, float]]) -> None:
        """The rows since the last call. The first call of a resumed training writes all, in place of what was there."""
        if self._folder is None:
            return
        with self._optional():
            if self._writer is None:
                self._writer = self._open(purge_step=0)
            for row in history[self._rows :]:
                for name, value in row.items():
                    if name not in ("step", "seconds"):
                        self._writer.add_scalar(name, value, row["step"])
            for before, row in pairwise(history[max(self._rows - 1, 0) :]):
                if (seconds := row["seconds"] - before["seconds"]) > 0:
                    self._writer.add_scalar("iterations a second", 1 / seconds, row["step"])
            self._rows = len(history)

    def add_slice(self, case_id: str, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, step: int) -> None:
        """The axial slice with most of the truth, with both outlines; arrays are (H,W,D)."""
        if self._folder is None:
            return
        z = int((truth > 0).sum((0, 1)).argmax())
        picture = outlined(image[..., z].T, truth[..., z].T, predicted[..., z].T)  # upright, as in the report
        with self._optional():
            if self._writer is None:
                self._writer = self._open()
            self._writer.add_image(f"truth orange, prediction blue/{case_id}", picture, step, dataformats="HWC")

    def add_result(self, settings: dict[str, Any], measures: dict[str, float]) -> None:
        """What TensorBoard's page of hyperparameters compares trials by."""
        if self._folder is None:
            return
        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in settings.items()}
        with self._optional():
            if self._writer is None:
                self._writer = self._open()
            for summary in hparams(plain, measures):
                self._writer.file_writer.add_summary(summary)
            for name, value in measures.items():
                self._writer.add_scalar(name, value)

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def outlined(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A slice (H,W) as RGB (kH,kW,3) uint8, k times enlarged, with the inner borders of both masks of any class."""
    enlarged = -(-SMALLEST // max(image.shape))
    image, truth, predicted = (of.repeat(enlarged, 0).repeat(enlarged, 1) for of in (image, truth, predicted))
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in ((truth > 0, TRUTH), (predicted > 0, PREDICTION)):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    return picture
