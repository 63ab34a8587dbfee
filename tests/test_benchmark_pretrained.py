"""Networks that begin with weights of a file: known by content, copied into the results folder, refused if unfit."""

import pytest
import torch
import yaml
from helpers import tiny

from benchmark.planning import pretrained
from benchmark.planning.experiment import ExperimentError
from benchmark.planning.experiment_file import read_experiment
from benchmark.planning.trials import make_trials
from data.cache import prepare


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """weights.pt of a finished V-Net, as a record holds it."""
    folder = tiny.finished(tmp_path_factory.mktemp("before"), methods=["vnet"], baseline=None)
    return next(folder.glob("records/*/weights.pt"))


def written(folder, file, **changes):
    """An experiment file in `folder` whose networks begin with `file`."""
    path = folder / "experiment.yaml"
    values = tiny.merged(methods=["mean_teacher"], **changes)
    values["training"] = values["training"] | {"pretrained": str(file)}
    path.write_text(yaml.safe_dump(values))
    return path


def trial_of(experiment):
    trials = make_trials(experiment, prepare(experiment.data))
    return next(trial for trial in trials if trial.method == "mean_teacher")


def test_networks_begin_with_the_weights_and_the_record_says_so(tmp_path, weights):
    experiment = read_experiment(written(tmp_path, weights, training={"learning_rate": 1e-12}))
    results = tiny.new_results(tmp_path / "results")
    pretrained.keep(experiment, results)
    trial = trial_of(experiment)
    tiny.run(trial, results, experiment)
    assert "begin with" in " ".join(results.read_provenance(trial.id)["notes"])
    before = torch.load(weights, weights_only=True)
    after = torch.load(results.record(trial.id) / "weights.pt", weights_only=True)
    for key, value in before.items():
        if key.endswith("weight") and ".encoder." in f".{key}":
            torch.testing.assert_close(after[key.replace("network.", "student.")], value, atol=1e-6, rtol=0)


def test_the_id_follows_the_content_and_not_the_path(tmp_path, weights):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    ids = {trial_of(read_experiment(written(tmp_path, file))).id for file in (weights, copy)}
    assert len(ids) == 1
    copy.write_bytes(weights.read_bytes() + b" ")
    assert trial_of(read_experiment(written(tmp_path, copy))).id not in ids
    assert tiny.one_trial("mean_teacher")[0].id not in ids


def test_a_folder_goes_on_without_the_original(tmp_path, weights):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    experiment = read_experiment(written(tmp_path, copy))
    results = tiny.new_results(tmp_path / "results")
    pretrained.keep(experiment, results)
    copy.unlink()
    pretrained.keep(experiment, results)
    assert list(tiny.run(trial_of(experiment), results, experiment))[-1].stage == "done"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_bytes(b"no weights"), "has changed"),
    ],
)
def test_a_file_that_is_gone_or_changed_is_said(tmp_path, weights, spoil, words):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    experiment = read_experiment(written(tmp_path, copy))
    spoil(copy)
    with pytest.raises(ExperimentError, match=words):
        pretrained.keep(experiment, tiny.new_results(tmp_path / "results"))


def test_a_missing_file_is_refused_as_the_experiment_is_read(tmp_path):
    with pytest.raises(ExperimentError, match="training.pretrained: .*nowhere.pt cannot be read: No such file"):
        read_experiment(written(tmp_path, "nowhere.pt"))


@pytest.mark.parametrize(
    ("content", "words"),
    [({"encoder.first": torch.zeros(1)}, "has no encoder.blocks"), ("text", "no file of weights")],
)
def test_other_weights_fail_the_trial_in_one_line(tmp_path, content, words):
    file = tmp_path / "other.pt"
    torch.save(content, file)
    experiment = read_experiment(written(tmp_path, file))
    results = tiny.new_results(tmp_path / "results")
    pretrained.keep(experiment, results)
    last = list(tiny.run(trial_of(experiment), results, experiment))[-1]
    assert last.stage == "failed" and words in last.reason
