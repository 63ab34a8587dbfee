"""The process that runs trials, one after another, and what it reports."""

import os
from collections.abc import Iterator
from contextlib import suppress

from benchmark.cluster.connection import ray  # first, as it sets what Ray reads when it is imported

# isort: split
from pydantic import BaseModel
from ray import tune

from benchmark.cluster import node_check, plugin_files
from benchmark.cluster.node_check import UnfitNodeError
from benchmark.planning.experiment import Execution
from benchmark.records.files import StorageError
from benchmark.records.locks import trial_lock
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.failures import failure_reason
from benchmark.trial.run import run_trial, write_failure
from benchmark.trial.setup import check_data
from benchmark.trial.specification import Progress, Trial
from data.case import DataError

FINAL = {"done", "failed", "diverged", "stopped"}
STARTED = "started"  # the first sign of life: on which node


class Work(BaseModel):
    """What every trial of a run needs, for its workers."""

    demands: str  # `Demands` as JSON
    is_shared: bool  # several machines work on the results folder
    results: str
    execution: Execution
    plugins: plugin_files.Texts
    folder: str | None  # working directory of the run, where that is this machine's
    scratch: str | None  # a folder for temporary files that the run removes, where it is on this machine

    def begin(self) -> None:
        """Make this process like that of the run.

        Raises:
            UnfitNodeError: its machine cannot be.
        """
        if problem := node_check.find_problem(self.demands):
            raise UnfitNodeError(node_id(), problem)
        if self.folder is not None:
            with suppress(OSError):  # it may have been removed
                os.chdir(self.folder)
        plugin_files.unpack(self.plugins, self.scratch)


def node_id() -> str:
    return ray.get_runtime_context().get_node_id()


class TrialActor(tune.Trainable):
    """One process that runs trial after trial: a new one would import torch again.

    Everything happens in `step`: Tune loses the reason of what fails in a constructor or in `reset_config`.
    """

    @classmethod
    def default_resource_request(cls, config: dict) -> tune.PlacementGroupFactory:
        """What the trial of a configuration asks for, and of which nodes."""
        labels = {"bundle_label_selector": [config["labels"]]} if config["labels"] else {}
        return tune.PlacementGroupFactory([config["bundle"]], **labels)

    def setup(self, config: dict, trials: dict[str, tuple[str, dict]], work: str) -> None:
        self._trials, self._work, self._node = trials, work, node_id()
        self._steps = self._signs(config["trial"])

    def reset_config(self, new_config: dict) -> bool:
        self._steps.close()
        self._steps = self._signs(new_config["trial"])
        return True

    def _signs(self, name: str) -> Iterator[Progress]:
        yield Progress(trial=name, stage=STARTED, step=0, iterations=0)
        work = Work.model_validate_json(self._work)
        work.begin()
        text, run_facts = self._trials[name]
        trial, results = Trial.model_validate_json(text), ResultsFolder(work.results)
        try:
            check_data(trial)
        except DataError as error:
            if work.is_shared:
                raise UnfitNodeError(self._node, str(error)) from error
            with trial_lock(results, trial.id):
                yield write_failure(trial, results, "failed", failure_reason(error, trial))
            return
        yield from run_trial(trial, results, work.execution, run_facts)

    def step(self) -> dict:
        try:
            progress = next(self._steps)
        except StorageError as error:
            progress = Progress(trial=self.config["trial"], stage="stopped", step=0, iterations=0, reason=str(error))
        return {"progress": progress.model_dump(), "node": self._node, "done": progress.stage in FINAL}

    def cleanup(self) -> None:
        self._steps.close()  # an interrupted trial saves its checkpoint
