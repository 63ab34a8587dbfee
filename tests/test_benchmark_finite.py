"""What is not finite, or no probability, never counts as done: in a trial, in the contract, in new scans."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from helpers import tiny
from helpers.command_line import one_line_error
from helpers.scan_folder import write_folder

from benchmark.contract.checks import CHECKS, check
from benchmark.planning.experiment import Execution
from benchmark.records.states import cell_state
from benchmark.trial.checkpoints import load_checkpoint, save_checkpoint
from benchmark.trial.finite import DivergedError, check_finite
from benchmark.trial.run import run_trial
from benchmark.trial.training import build_method, initial_state, make_stream, train
from data.cache import prepare
from methods.shared import registry

pytestmark = pytest.mark.usefixtures("own_registry")
CPU = torch.device("cpu")
LAST = tiny.VALUES["training"]["iterations"] - 1

# What a training step may do to itself while its loss stays finite.
SILENT = {
    "a gradient that is NaN": "w = next(self.parameters()); total = total + (w.sum() - w.sum().detach()).abs().sqrt()",
    "a gradient that overflows": "w = next(self.parameters()); total = total + (w.sum() - w.sum().detach()) * 1e38 * 9",
    "a weight that is infinite": "next(self.parameters()).data.fill_(float('inf'))",
    "a weight that is NaN in one place": "next(self.parameters()).data.view(-1)[0] = float('nan')",
    "a running variance that is NaN": (
        "next(b for name, b in self.named_buffers() if name.endswith('running_var')).data.fill_(float('nan'))"
    ),
}


@pytest.fixture
def plugged_in(tmp_path):
    """plugged_in(in_step): the trial, its results folder and the experiment of a method that does this."""

    def make(in_step="pass", **more):
        path = tiny.write_plugin(tmp_path, "faulty", in_step, **more)
        registry.load_plugin(path)
        trial, planned = tiny.one_trial("faulty", plugins=[str(path)], baseline=None)
        return trial, tiny.new_results(tmp_path / "results"), planned

    return make


def reason_of(trial, results, planned, state):
    """Why the trial ended in this state, the same in its last sign, its record and its cell."""
    last = tiny.run(trial, results, planned)[-1]
    record = results.read_record(trial.id)
    cell = cell_state(results, trial.id, trial.wanted)
    assert (last.stage, record.state, cell.state) == (state,) * 3, last.reason
    assert last.reason == record.reason == cell.reason and "\n" not in last.reason
    assert not (results.record(trial.id) / "weights.pt").exists()
    return last.reason


@pytest.mark.slow
@pytest.mark.parametrize("fault", SILENT.values(), ids=SILENT.keys())
def test_a_fault_in_the_last_step_is_divergence_though_every_loss_is_finite(plugged_in, fault):
    reason = reason_of(*plugged_in(f"if step == {LAST}: {fault}"), "diverged")
    assert f"tensors of weights, buffers and optimisers are not finite after {LAST + 1} steps; the first is " in reason


@pytest.mark.slow
@pytest.mark.parametrize("fault", SILENT.values(), ids=SILENT.keys())
def test_a_fault_before_a_checkpoint_leaves_the_last_good_one(plugged_in, fault):
    trial, results, planned = plugged_in(f"if step == {LAST}: {fault}")
    each_step = Execution(device="cpu", data_workers=0, checkpoint_minutes=0)
    assert list(run_trial(trial, results, each_step))[-1].stage == "diverged"
    found = sorted(path.name for path in results.running(trial.id).glob("checkpoint-*"))
    assert found == [f"checkpoint-{step:08d}.pt" for step in (LAST - 1, LAST)]


def test_a_stop_keeps_the_last_good_checkpoint(plugged_in, monkeypatch):
    monkeypatch.setattr("benchmark.trial.run.REPORT_SECONDS", 0.0)
    trial, results, planned = plugged_in(f"if step == {LAST - 1}: {SILENT['a weight that is infinite']}")
    signs = run_trial(trial, results, Execution(device="cpu", data_workers=0, checkpoint_iterations=1))
    assert next(signs).step == 1
    signs.close()
    assert [path.name for path in results.running(trial.id).glob("checkpoint-*")] == ["checkpoint-00000001.pt"]


def begun(name="vnet"):
    planned = tiny.experiment(training={"iterations": 3})
    dataset = prepare(planned.data)
    method = build_method(name, registry.settings_of(name, {}), planned.training, dataset.classes, 7, CPU)
    stream = make_stream(method, dataset, dataset.train_ids[:2], [], planned.training, 7)
    state = initial_state(method, planned.training)
    return state, train(state, stream, planned.training, 7, CPU, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_optimiser_that_is_not_finite_is_no_checkpoint(tmp_path, value):
    state, steps = begun()
    next(steps)
    save_checkpoint(state, tmp_path, {})
    next(steps)
    optimizer = state.optimizers["train"]
    optimizer.state[optimizer.param_groups[0]["params"][5]]["momentum_buffer"].view(-1)[0] = value
    with pytest.raises(
        DivergedError, match="^1 of .* after 2 steps; the first is momentum_buffer of .*optimiser train"
    ):
        save_checkpoint(state, tmp_path, {})
    again, _ = begun()
    load_checkpoint(again, tmp_path, {})
    assert again.step == 1


def test_a_buffer_may_be_infinite_if_it_began_so_and_counts_are_no_matter():
    class Noting(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("lowest", torch.tensor(float("inf")))
            self.register_buffer("count", torch.tensor(3))

    check_finite(Noting(), {}, 1, except_for=["lowest"])
    with pytest.raises(DivergedError, match="^1 of 4 tensors .* the first is lowest"):
        check_finite(Noting(), {}, 1)


def test_a_method_whose_buffer_began_infinite_is_trained(plugged_in, tmp_path):
    trial, results, planned = plugged_in()
    path = Path(trial.cell.method_file)
    build = "self.network = backbone()"
    note = "self.register_buffer('lowest', torch.tensor(float('inf')))"
    path.write_text("import torch\n" + path.read_text().replace(build, f"{build}\n        {note}"))
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("faulty", plugins=[str(path)], baseline=None)
    assert tiny.run(trial, results, planned)[-1].stage == "done"


# What predict() gives.

GOOD = "self.network(images).logits.sigmoid()"
NO_NUMBERS = {
    "NaN": f"return {GOOD} * float('nan')",
    "infinite": f"return {GOOD} / 0",
    "NaN in one voxel": f"p = {GOOD}; p[0, 0, 0, 0, 0] = float('nan'); return p",
}
NO_PROBABILITIES = {
    "logits": ("return self.network(images).logits", "gives values from -"),
    "per cent": (f"return 100 * {GOOD}", "gives values from "),
    "above 1 in one voxel": (f"p = {GOOD}; p[0, 0, 1, 2, 3] = 1.5; return p", " to 1.5"),
    "below 0 in one voxel": (f"p = {GOOD}; p[0, 0, 1, 2, 3] = -0.25; return p", "from -0.25 to "),
    "background too": (f"return {GOOD}.repeat(1, 2, 1, 1, 1)", "returns shape (4, 2, 16, 16, 16), not (4, 1, 16"),
    "without channels": (f"return {GOOD}[:, 0]", "returns shape (4, 16, 16, 16), not "),
    "one for all voxels": (f"return {GOOD}.mean((2, 3, 4), True)", "returns shape (4, 1, 1, 1, 1), not "),
    "no tensor": (f"return list({GOOD})", "returns a list"),
    "complex numbers": (f"return {GOOD} * 1j", "returns complex numbers"),
}


@pytest.mark.parametrize("in_predict", NO_NUMBERS.values(), ids=NO_NUMBERS.keys())
def test_probabilities_that_are_no_numbers_are_divergence(plugged_in, in_predict):
    assert "predict() gives probabilities that are infinite or not a number" in reason_of(
        *plugged_in(in_predict=in_predict), "diverged"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("in_predict", "words"), NO_PROBABILITIES.values(), ids=NO_PROBABILITIES.keys())
def test_what_is_no_probability_is_the_methods_error_with_its_line(plugged_in, in_predict, words):
    trial, results, planned = plugged_in(in_predict=in_predict)
    reason = reason_of(trial, results, planned, "failed")
    lines = Path(trial.cell.method_file).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if "def predict" in text)
    assert words in reason and reason.endswith(f"({trial.cell.method_file}:{line})")


@pytest.mark.parametrize("in_predict", [f"return {GOOD} * 0 + 1 + 1e-4", f"return ({GOOD} > 0.5).float() - 1e-4"])
def test_a_probability_may_leave_its_range_by_rounding(plugged_in, in_predict):
    trial, results, planned = plugged_in(in_predict=in_predict)
    assert tiny.run(trial, results, planned)[-1].stage == "done"


# The contract.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_step": f"if step == 1: {SILENT['a weight that is infinite']}"}, "not finite after 2 steps"),
        ({"in_predict": NO_NUMBERS["NaN in one voxel"]}, "infinite or not a number"),
        ({"in_predict": NO_PROBABILITIES["above 1 in one voxel"][0]}, "to 1.5: return probabilities"),
    ],
)
def test_the_contract_says_the_same(tmp_path, monkeypatch, changes, words):
    registry.load_plugin(tiny.write_plugin(tmp_path, "faulty", **changes))
    title = "takes several classes"
    monkeypatch.setattr("benchmark.contract.checks.CHECKS", {title: CHECKS[title]})
    monkeypatch.setattr("benchmark.contract.checks.SETTINGS", {})
    [outcome] = check("faulty")
    assert outcome.state == "broken" and words in outcome.reason


# New scans, and stored weights that are scored again.


@pytest.fixture
def segmenting(tmp_path, monkeypatch, command, no_ray):
    """A finished trial of a plug-in on a folder of scans: its record, its plug-in, and a call of `predict`."""
    monkeypatch.chdir(tmp_path)
    tiny.draw_nothing(monkeypatch)
    write_folder(tmp_path / "scans")
    plugin = tiny.write_plugin(tmp_path, "faulty")
    values = tiny.merged(methods=["faulty"], plugins=["faulty.py"], baseline=None)
    values |= {"data": {"source": "folder", "root": "scans", "spacing": 0.6}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    outcome = command("run", "mine.yaml", "--results", "results")
    assert outcome[0] == 0, outcome
    [record] = (tmp_path / "results/records").iterdir()
    return record, plugin, lambda: command("predict", record, "scans/imagesTs", "--to", "segmented", "--trust")


@contextmanager
def unwritten(folder: Path):
    yield
    assert not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize(
    ("in_predict", "words"),
    [
        (NO_NUMBERS["NaN"], "D.nii.gz: predict() gives probabilities that are infinite or not a number"),
        (NO_PROBABILITIES["logits"][0], "return probabilities, sigmoids of logits ("),
    ],
)
def test_new_scans_are_not_segmented_by_what_is_no_probability(segmenting, tmp_path, in_predict, words):
    record, plugin, predict = segmenting
    tiny.write_plugin(tmp_path, "faulty", in_predict=in_predict)
    with unwritten(tmp_path / "segmented"):
        assert words in one_line_error(predict())


def test_segmenting_by_other_code_than_the_record_s_is_said_in_one_line(segmenting, tmp_path):
    record, plugin, predict = segmenting
    code, out, _ = predict()
    assert code == 0 and "other code" not in out
    plugin.write_text(plugin.read_text() + "\n# a comment changes nothing\n")
    assert "other code" not in predict()[1]
    plugin.write_text(plugin.read_text() + "\nSCALE = 2\n")
    (line,) = [line for line in predict()[1].splitlines() if "other code" in line]
    assert line.startswith(str(record)) and "source of the plug-in: faulty.py" in line
    stored = yaml.safe_load((record / "trial.yaml").read_text())
    stored["numerics"] |= {"training": 0, "method": None}
    (record / "trial.yaml").write_text(yaml.safe_dump(stored))
    assert "(numerics of training: version 0, now version 1)" in predict()[1]


def test_new_scans_are_not_segmented_by_weights_that_are_not_finite(segmenting, tmp_path):
    record, _, predict = segmenting
    weights = torch.load(record / "weights.pt", weights_only=True)
    next(iter(weights.values())).view(-1)[0] = float("nan")
    torch.save(weights, record / "weights.pt")
    with unwritten(tmp_path / "segmented"):
        assert "1 of " in one_line_error(predict()) and "weights.pt are not finite" in one_line_error(predict())
