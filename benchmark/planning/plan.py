"""From an experiment to its plan: which trials there are, which are done, and which are left to run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import yaml

from benchmark.planning.experiment import Experiment
from benchmark.planning.trials import absolute, make_trials
from benchmark.records import models
from benchmark.records.files import storage_error, write_text
from benchmark.records.models import FORMAT
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import TO_RUN, cell_state
from benchmark.trial import external_masks
from benchmark.trial.specification import Trial
from data.cache import Dataset, prepare


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, the state of its cell (see `benchmark.records.states`) and the reason."""

    trial: Trial
    state: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """An experiment with its data set and all its trials. A run makes it once and passes it on."""

    experiment: Experiment
    dataset: Dataset
    folder: ResultsFolder
    trials: list[PlannedTrial]

    def to_run(self, also: Iterable[str] = ()) -> list[PlannedTrial]:
        """The trials that are left to run, and those in the states `also`."""
        return [planned for planned in self.trials if planned.state in TO_RUN.union(also)]

    def reread(self) -> "Plan":
        """The same plan with the states that the results folder shows now.

        Raises:
            ResultsError: a record of another format came in meanwhile, which must not be written over.
        """
        self.folder.check_format()
        return replace(self, trials=_with_states([planned.trial for planned in self.trials], self.folder))


def make_plan(experiment: Experiment, folder: ResultsFolder, dataset: Dataset | None = None) -> Plan:
    """All trials of an experiment with their states.

    Args:
        experiment: what is to be run.
        folder: its results folder.
        dataset: the experiment's data set, if it is prepared already; else it is prepared here.

    Raises:
        ExperimentError, MethodError, DataError: something in the experiment is wrong.
        ResultsError: the folder holds a plan or records of another format, which must not be written over.
    """
    folder.check_format()
    dataset = dataset or prepare(experiment.data)
    return Plan(experiment, dataset, folder, _with_states(make_trials(experiment, dataset), folder))


def _with_states(trials: list[Trial], folder: ResultsFolder) -> list[PlannedTrial]:
    found = [(trial, cell_state(folder, trial.id, trial.wanted)) for trial in trials]
    return [PlannedTrial(trial, state.state, state.reason) for trial, state in found]


def write_plan(plan: Plan) -> None:
    """plan.json, from which reports know what was planned, and experiment.yaml, from which it can be planned again.

    Rows of masks that other tools made are planned, too, if the folder holds them.
    """
    experiment, folder = plan.experiment, plan.folder
    stored = models.StoredPlan(
        format=FORMAT,
        experiment=experiment.name,
        title=experiment.title or experiment.name,
        reference=experiment.reference,
        tuned=experiment.tuned,
        data=plan.trials[0].trial.data_summary,
        training=experiment.training.model_dump(),
        evaluation=experiment.evaluation,
        report=experiment.report,
        shapes={case_id: list(plan.dataset.native_shape(case_id)) for case_id in plan.dataset.test_ids},
        cells=[planned.trial.cell for planned in plan.trials] + external_masks.cells_of(folder),
    )
    content = experiment.model_dump(mode="json")
    if "$" not in content["data"].get("root", "$"):  # else it is of the machine that reads it
        content["data"] = absolute(content["data"])
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        folder.write_plan(stored)
        write_text(folder.experiment_file, text)
    except OSError as error:
        if (full := storage_error(folder.folder, error)) is None:
            raise
        raise full from error
