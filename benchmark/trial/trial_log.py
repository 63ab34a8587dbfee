"""What a trial shows while it goes on: curves, pictures and results, sent to all its loggers.

They are for watching. Reports read records alone.
"""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmark.planning.experiment import Execution
from benchmark.records.results_folder import TUNED, ResultsFolder
from benchmark.trial.loggers.process import LoggerProcess
from benchmark.trial.loggers.protocol import Logger, Run
from benchmark.trial.loggers.tensorboard import TensorBoard
from benchmark.trial.pictures import TrainingCase, largest_slice, map_picture, picture_steps
from benchmark.trial.specification import Trial
from benchmark.trial.training import TrainingState
from data.cache import Dataset

CASES = 3  # test cases of which one slice is shown
NOT_CURVES = ("step", "seconds")


class TrialLog:
    """Everything that the loggers of one trial get.

    Args:
        loggers: none where nothing is logged.
        iterations: steps of the training.

    Attributes:
        problems: after `close`, what went wrong, a line each.
    """

    def __init__(self, loggers: list[Logger], iterations: int):
        self.problems: list[str] = []
        self._loggers = loggers
        self._iterations = iterations
        self._rows = self._step = 0
        self._results: dict[str, float] = {}
        self._case: TrainingCase | None = None

    def start(self, run: Run) -> None:
        for logger in self._loggers:
            logger.start(run)

    def add_losses(self, history: list[dict[str, float]]) -> None:
        """The rows since the last call."""
        for before, row in pairwise([{"seconds": float("inf")}, *history][self._rows :]):
            values = {name: value for name, value in row.items() if name not in NOT_CURVES}
            if (seconds := row["seconds"] - before["seconds"]) > 0:
                values["iterations a second"] = 1 / seconds
            for logger in self._loggers:
                logger.scalars(row["step"], values)
            self._step = row["step"] + 1
        self._rows = len(history)

    def add_pictures(self, state: TrainingState, trial: Trial, dataset: Dataset) -> None:
        """Pictures of the training, if it has some after so many steps. Called before the first step and after each.

        Where the method cannot predict there are none. The test says why.
        """
        if not self._loggers:
            return
        steps = picture_steps(self._iterations)
        pictures = {f"training, {name}": map_picture(logged) for name, logged in state.images.items()}
        if state.step in steps:
            with suppress(Exception):  # code of a plug-in
                self._case = self._case or TrainingCase(dataset, trial.labelled[0], trial.training)
                name = f"training, label orange, prediction blue/{trial.labelled[0]}"
                pictures[name] = self._case.picture(state.method)
        if pictures:
            state.flush()
            self.add_losses(state.history)  # first: Weights & Biases takes no earlier steps afterwards
        for name, picture in pictures.items():
            self._add_picture(state.step, name, picture)
        state.method.want_images(state.step == 0 or state.step + 1 in steps)

    def add_slice(self, case_id: str, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
        """A test case at the end; arrays are (H, W, D)."""
        if self._loggers:
            name = f"truth orange, prediction blue/{case_id}"
            self._add_picture(self._iterations, name, largest_slice(image, truth, predicted))

    def _add_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        for logger in self._loggers:
            logger.image(step, name, picture)

    def add_result(self, measures: dict[str, float]) -> None:
        self._results = measures

    def flush(self) -> None:
        for logger in self._loggers:
            if isinstance(logger, TensorBoard):
                logger.flush()

    def close(self) -> None:
        step = self._iterations if self._results else self._step
        for logger in self._loggers:
            logger.end(step, self._results)
        for logger in self._loggers:  # they have ended side by side
            if isinstance(logger, LoggerProcess):
                logger.wait()
                self.problems += [logger.problem] if logger.problem else []


def open_log(trial: Trial, results: ResultsFolder, execution: Execution, trained: bool) -> TrialLog:
    """The log of a trial.

    Args:
        trial: what is logged.
        results: its results folder.
        execution: says which loggers there are.
        trained: stored weights are only scored again. That opens no further run of Weights & Biases or MLflow.
    """
    loggers: list[Logger] = [TensorBoard(results.tensorboard(trial.id))] if execution.tensorboard else []
    if not trained:
        loggers += [LoggerProcess(name) for name in execution.log_to]
    return TrialLog(loggers, trial.training.iterations)


def run_of(trial: Trial, results: ResultsFolder, first_step: int | None) -> Run:
    """What loggers hear of a trial."""
    cell, folder = trial.cell, Path(results.folder).resolve()
    of_experiment = folder.name in ("tuning", TUNED)  # a part of an experiment's folder
    project = f"{folder.parent.name}-{folder.name}" if of_experiment else folder.name
    settings = {"method": cell.display, "labelled": cell.labelled, "draw": cell.draw, "seed": cell.seed}
    return Run(trial.id, project, str(folder), settings | trial.settings, first_step)
