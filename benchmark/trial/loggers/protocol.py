"""What a logger does. docs/guides/logging.md has an example."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Run:
    """What a logger hears of its trial at the start.

    Args:
        trial: id of the trial.
        project: name of the results folder.
        folder: absolute path of the results folder.
        settings: method, labelled cases, draw, seed and the method's settings, as plain values by name.
        first_step: where this session of the trial begins. Above 0, an earlier session was interrupted. None: stored
            weights are only scored again.
    """

    trial: str
    project: str
    folder: str
    settings: dict[str, Any] = field(default_factory=dict)
    first_step: int | None = 0


class Logger(Protocol):
    """Takes the curves and pictures of one trial. Each trial has a logger of its own."""

    def start(self, run: Run) -> None:
        """Called first."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Losses and other numbers of one training step (0, 1, …). A resumed trial sends all of its steps again."""

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture (H, W, 3), uint8, after so many steps."""

    def end(self, step: int, results: dict[str, float]) -> None:
        """Called last. `results` are mean metrics over the test cases; empty if the trial did not end."""
