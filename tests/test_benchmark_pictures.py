"""Pictures of a training show what it predicts, and change nothing."""

import random
import shutil

import numpy as np
import pytest
import torch
from helpers import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from benchmark.records.protocol import Training
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial import run
from benchmark.trial.pictures import PREDICTION, TRUTH, TrainingCase, grey, map_picture, picture_steps
from methods.shared import registry
from methods.shared.method import Method, MethodSettings
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule
from methods.shared.step_log import LoggedImage

TRAINING = "training, label orange, prediction blue"


class Cases:
    """One case with a bright cuboid, which is its label."""

    classes = 1

    def __init__(self, shape, where):
        self.labels = np.zeros(shape, np.uint8)
        self.labels[where] = 1

    def image(self, case_id):
        return 2 * self.labels.astype(np.float32)

    def label(self, case_id):
        return self.labels


class Careless(Method):
    """Its prediction changes whatever it can."""

    def __init__(self):
        super().__init__(MethodSettings(), Backbone(classes=1, width=2), Schedule(iterations=4))
        self.block = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.Dropout(0.5))
        self.register_buffer("calls", torch.zeros(()))

    def predict(self, images):
        self.calls += 1
        self.train()
        torch.rand(3)
        self.block(images)
        return (images > 1).float()


def events(folder):
    return EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()


def shares(picture):
    return {colour: float(np.all(picture == colour, axis=2).mean()) for colour in (TRUTH, PREDICTION)}


@pytest.mark.parametrize(
    ("shape", "where"),
    [
        ((40, 40, 32), np.s_[2:12, 20:30, 25:30]),  # at a border
        ((10, 40, 12), np.s_[2:8, 20:30, 3:6]),  # smaller than the patch
        ((40, 40, 32), np.s_[:0]),  # no foreground
    ],
)
def test_a_picture_shows_the_patch_around_the_label(shape, where):
    cases = Cases(shape, where)
    case = TrainingCase(cases, "A", Training(patch=(16, 16, 16)))
    h, w, d = (min(n, 16) for n in shape)
    assert case.image.shape == case.label.shape == (h, w, d)
    assert case.label.sum() == cases.labels.sum(), "all of a label that fits into the patch"
    picture = case.picture(Careless())
    times = -(-400 // max(h, w))
    assert picture.shape == (times * w, times * 2 * h, 3) and picture.dtype == np.uint8
    assert (shares(picture)[PREDICTION] > 0) == bool(cases.labels.any()), "label and prediction agree: blue is on top"
    assert not shares(picture[:, : times * h])[PREDICTION], "the plain slice is on the left"


@pytest.mark.parametrize("benchmark", [True, False])
def test_a_picture_leaves_everything_as_it_was(benchmark, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    method = Careless().train()
    method.block[2].eval()  # as a method may do for a phase
    case = TrainingCase(Cases((16, 16, 16), np.s_[4:8, 4:8, 4:8]), "A", Training(patch=(16, 16, 16)))
    state = {name: value.clone() for name, value in method.state_dict().items()}
    modes = [module.training for module in method.modules()]
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    case.picture(method)
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert [module.training for module in method.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    assert torch.backends.cudnn.benchmark is benchmark and torch.is_grad_enabled()


def test_a_map_is_shown_where_it_varies_most():
    volume = torch.zeros(2, 8, 6, 4)
    volume[0, 3, 2, 1], volume[1, 0, 0, 3] = 5.0, 50.0
    picture = map_picture(LoggedImage(volume, torch.zeros(1, 8, 6, 4)))
    map_ = picture[:, 400:]
    assert picture.shape == (300, 800, 3) and map_.max() > 0
    assert np.array_equal(map_, grey(volume[0, ..., 1].T.numpy())), "upright, and of the first channel"


@pytest.mark.parametrize(("iterations", "steps"), [(6000, {0, 1500, 3000, 4500, 6000}), (2, {0, 1, 2}), (1, {0, 1})])
def test_a_training_of_any_length_has_pictures_of_its_start_and_end(iterations, steps):
    assert picture_steps(iterations) == steps


def test_a_trial_shows_a_training_case_and_the_maps_of_its_method_and_learns_the_same(tmp_path):
    trained, shown = {}, {}
    for tensorboard in (True, False):
        trial, planned = tiny.one_trial(
            "ua_mt", training={"iterations": 4, "patch": tiny.LARGE}, execution={"tensorboard": tensorboard},
            data={"validation": ["train-003"]},
        )  # fmt: skip
        results = tiny.new_results(tmp_path / str(tensorboard))
        last = tiny.run(trial, results, planned)[-1]
        assert (last.stage, last.process_changed, last.notes) == ("done", False, [])
        trained[tensorboard] = torch.load(results.record(trial.id) / "weights.pt", weights_only=True)
        if tensorboard:
            shown = events(results.tensorboard(trial.id))
    assert trained[True].keys() == trained[False].keys()
    assert all(torch.equal(value, trained[False][name]) for name, value in trained[True].items())
    pictures = {tag: [image.step for image in shown.Images(tag)] for tag in shown.Tags()["images"]}
    assert pictures == {
        f"{TRAINING}/{trial.labelled[0]}": [0, 1, 2, 3, 4],
        "training, uncertainty": [1, 2, 3, 4],
        "truth orange, prediction blue/train-003": [4],
    }
    assert trial.labelled[0] in ("train-000", "train-001", "train-002")
    assert "validation dice" in shown.Tags()["scalars"] and "test dice" not in shown.Tags()["scalars"]


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_an_interrupted_trial_goes_on_with_the_same_curves_and_pictures(tmp_path, monkeypatch, how):
    monkeypatch.setattr(run, "REPORT_SECONDS", 0.0)
    trial, planned = tiny.one_trial("vnet", execution={"checkpoint_iterations": 1})
    results = tiny.new_results(tmp_path / "results")
    signs = run.run_trial(trial, results, planned.execution)
    while next(signs).step < 2:
        pass
    if how == "killed":  # what lies on disk at that moment is all there is
        left = shutil.copytree(results.folder, tmp_path / "left")
    signs.close()
    results = ResultsFolder(left) if how == "killed" else results
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    shown = events(results.tensorboard(trial.id))
    assert [event.step for event in shown.Scalars("total")] == [0, 1, 2]
    assert [image.step for image in shown.Images(f"{TRAINING}/{trial.labelled[0]}")] == [0, 1, 2, 3]


def test_a_method_that_cannot_predict_fails_in_its_test(tmp_path, own_registry):
    plugin = tiny.write_plugin(tmp_path, "speechless", in_predict="raise ValueError('no prediction')")
    registry.load_plugin(plugin)
    trial, planned = tiny.one_trial("speechless", plugins=[str(plugin)])
    results = tiny.new_results(tmp_path / "results")
    signs = tiny.run(trial, results, planned)
    assert signs[-1].stage == "failed" and "no prediction" in signs[-1].reason
    assert any(sign.stage == "training" and sign.step == 3 for sign in signs), "it was trained"
