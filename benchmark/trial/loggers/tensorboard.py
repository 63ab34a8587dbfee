"""TensorBoard event files beside the records. `tensorboard --logdir RESULTS/tensorboard` shows them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from benchmark.trial.loggers.protocol import Run


class TensorBoard:
    """The event files of one trial, made once there is something to write. What cannot be written is left out: no trial
    fails for it."""

    def __init__(self, folder: Path):
        self._folder: Path | None = folder
        self._writer: SummaryWriter | None = None
        self._run: Run | None = None
        self._written = 0  # steps that earlier sessions wrote

    def _write(self, write: Callable[[SummaryWriter], None]) -> None:
        if self._folder is None:
            return
        try:
            if self._writer is None:
                self._folder.parent.mkdir(exist_ok=True)  # a results folder that was moved away is not made anew
                # What an interrupted session wrote from the first step of this one on does not count.
                self._writer = SummaryWriter(str(self._folder), purge_step=self._run.first_step)
            write(self._writer)
        except OSError:
            self._folder = self._writer = None  # nothing more: the file may be torn

    def start(self, run: Run) -> None:
        self._run = run
        if run.first_step and self._folder.exists():
            self._written = run.first_step

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if step >= self._written:
            for name, value in values.items():
                self._write(lambda writer, name=name, value=value: writer.add_scalar(name, value, step))

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        self._write(lambda writer: writer.add_image(name, picture, step, dataformats="HWC"))

    def end(self, step: int, results: dict[str, float]) -> None:
        """TensorBoard's page of hyperparameters compares trials by the results."""
        if results:
            self.scalars(step, results)
            settings = self._run.settings.items()
            plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in settings}
            for summary in hparams(plain, results):
                self._write(lambda writer, summary=summary: writer.file_writer.add_summary(summary))
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

    def flush(self) -> None:
        """Bring everything to the disk: a checkpoint that is written now counts on it."""
        if self._writer is not None:
            self._write(SummaryWriter.flush)
