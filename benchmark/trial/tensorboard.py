"""TensorBoard event files beside the records: each trial's curves while it trains, and a few slices at its end.

`tensorboard --logdir RESULTS/tensorboard` shows them. They are for watching; reports read records alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from scipy import ndimage
from torch.utils.tensorboard import SummaryWriter

SLICES = 3  # test cases of which one slice is shown
TRUTH, PREDICTION = (0, 158, 115), (230, 159, 0)  # green and orange that colour-blind readers tell apart


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
            self._rows = len(history)

    def add_slice(self, case_id: str, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, step: int) -> None:
        """The axial slice with most of the truth, with both outlines; arrays are (H,W,D)."""
        if self._folder is None:
            return
        z = int((truth > 0).sum((0, 1)).argmax())
        picture = outlined(image[..., z], truth[..., z], predicted[..., z])
        with self._optional():
            if self._writer is None:
                self._writer = self._open()
            self._writer.add_image(f"truth green, prediction orange/{case_id}", picture, step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def outlined(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """A slice (H,W) as RGB (H,W,3) uint8 with the inner borders of both masks, whichever the class."""
    low, high = np.percentile(image, (0.5, 99.5))
    grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for mask, colour in ((truth > 0, TRUTH), (predicted > 0, PREDICTION)):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    return picture
