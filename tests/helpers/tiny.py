"""Experiments small enough for tests: a few phantoms of 16 voxels a side, a V-Net of two channels, a few steps."""

import sys
import types
from pathlib import Path

import pytest
import yaml

from benchmark.planning.experiment import Experiment
from benchmark.planning.plan import make_plan, write_plan
from benchmark.planning.trials import make_trials
from benchmark.records import source_code
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.run import run_trial
from benchmark.trial.specification import Trial
from data.cache import prepare
from methods.shared import registry

VALUES = {
    "name": "tiny",
    "data": {"source": "phantom", "train": 4, "test": 1, "size": [16, 16, 16]},
    "methods": ["dtml"],
    "labelled": [2],
    "seeds": [7],
    # fp32 is the stricter test of "identical": bf16 hides differences in the last bits.
    "training": {"iterations": 3, "patch": [16, 16, 16], "width": 2, "threads": 1, "precision": "fp32"},
    "evaluation": {"stride": [16, 16, 16]},
    "execution": {"device": "cpu", "data_workers": 0, "checkpoint_minutes": 1000},
}

# Some methods run a single patch through a network, whose deepest level must then be more than one voxel.
LARGE = (32, 16, 16)

PLUGIN = '''
from methods.shared.method import Info, Method, Passes
from methods.shared.registry import register


@register("{name}")
class Plugin(Method):
    """A method of the tests."""

    info = Info(title="Plugin", year=2000, source="tests", fidelity="adapted", passes=Passes(train=4))

    def __init__(self, settings, backbone, schedule):
        super().__init__(settings, backbone, schedule)
        self.network = backbone()

    def training_step(self, batch, step, phase):
        total = self.network(batch.images).logits.square().mean()
        {in_step}
        return {{"total": total}}

    def predict(self, images):
        {in_predict}
'''


def merged(**changes) -> dict:
    """VALUES with `changes`, which are merged into its blocks."""
    values = dict(VALUES)
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) and isinstance(values.get(key), dict) else value
    return values


def write_experiment(folder: Path, **changes) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(merged(**changes)))
    return path


def experiment(**changes) -> Experiment:
    return Experiment(**merged(**changes))


def trials(planned: Experiment) -> list[Trial]:
    return make_trials(planned, prepare(planned.data))


def one_trial(name: str, **changes) -> tuple[Trial, Experiment]:
    """The trial of one method, or of the baseline at two labelled cases."""
    planned = experiment(methods=[name], **changes)
    return next(t for t in trials(planned) if t.method == name and t.cell.role != "ceiling"), planned


def new_results(folder: Path) -> ResultsFolder:
    results = ResultsFolder(folder)
    results.create()
    return results


def run(trial: Trial, results: ResultsFolder, planned: Experiment) -> list:
    """Run a trial to its end in this process; returns its signs of life."""
    return list(run_trial(trial, results, planned.execution))


def finished(folder: Path, **changes) -> Path:
    """A results folder with a record of each planned cell, run one after the other in this process without Ray."""
    return finish(experiment(**changes), folder)


def finish(planned: Experiment, folder: Path) -> Path:
    results = new_results(folder)
    plan = make_plan(planned, results)
    write_plan(plan)
    for found in plan.trials:
        run(found.trial, results, planned)
    return folder


def write_plugin(
    folder: Path, name: str, in_step: str = "pass", in_predict: str = "return self.network(images).logits.sigmoid()"
) -> Path:
    """A file that registers a method; also where it is there already, and then as changed code is noticed."""
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(name=name, in_step=in_step, in_predict=in_predict))
    source_code._source_hash.cache_clear()  # two versions may be written within one tick of the file system's clock
    return path


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    registry.names()
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """From now on reports have tables and a page, but no figures, which take seconds to draw."""
    patch.setattr("reports.report.draw_all", lambda *arguments: ([], []))


@pytest.fixture
def no_drawing(monkeypatch):
    """Reports have no figures."""
    draw_nothing(monkeypatch)


def trials_in_this_process(trials, results, execution, on_progress, address, say=print) -> bool:
    """What `run_trials` of the scheduler does, without Ray."""
    for trial in trials:
        for progress in run_trial(trial, results, execution):
            on_progress(progress)
    return True


@pytest.fixture
def no_ray(monkeypatch):
    """Trials run one after another in this process, which costs no start of Ray."""
    scheduler = types.ModuleType("benchmark.cluster.scheduler")
    scheduler.run_trials = trials_in_this_process
    monkeypatch.setitem(sys.modules, "benchmark.cluster.scheduler", scheduler)
