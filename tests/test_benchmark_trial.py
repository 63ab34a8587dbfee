"""Whole trials: stopped anywhere and resumed they end as if nothing had happened, and failures leave a record."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import tiny

from benchmark.planning.experiment import Execution
from benchmark.planning.plan import make_plan, write_plan
from benchmark.records.arrays import read_masks
from benchmark.records.numerics import Numerics
from benchmark.records.states import cell_state
from benchmark.trial import failures
from benchmark.trial import run as trial_module
from benchmark.trial.run import run_trial, write_failure
from benchmark.trial.setup import data_workers
from benchmark.trial.specification import Trial
from data.cache import prepare
from methods.shared import registry
from methods.shared.networks.backbone import Backbone
from methods.shared.schedules import Schedule

ITERATIONS = tiny.VALUES["training"]["iterations"]
EACH_STEP = {"device": "cpu", "data_workers": 0, "checkpoint_minutes": 0}  # a checkpoint after each step


@pytest.fixture(autouse=True)
def _sign_each_step(monkeypatch):
    """A trial yields at most once a second, and can be stopped only where it yields."""
    monkeypatch.setattr(trial_module, "REPORT_SECONDS", 0.0)


def outcome(results, trial):
    """What a stopped and resumed trial must have in common with an unbroken one."""
    record = results.record(trial.id)
    stored = yaml.safe_load((record / "trial.yaml").read_text())
    assert stored["state"] == "done" and stored["trial"] == trial.id
    with (record / "history.csv").open() as file:
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return {
        "weights": torch.load(record / "weights.pt", weights_only=True),
        "history": history,
        "cases": (record / "cases.csv").read_text(),
        "predictions": {path.name: read_masks(path) for path in (record / "predictions").iterdir()},
    }


def assert_same(found, expected):
    assert found["weights"].keys() == expected["weights"].keys()
    different = [key for key in found["weights"] if not torch.equal(found["weights"][key], expected["weights"][key])]
    assert different == []
    assert found["history"] == expected["history"] and len(found["history"]) == ITERATIONS
    assert found["cases"] == expected["cases"]
    assert all(np.array_equal(mask, expected["predictions"][name]) for name, mask in found["predictions"].items())


def resumed_at(results, trial):
    return json.loads((results.record(trial.id) / "provenance.json").read_text())["resumed_at_step"]


def advance(signs, stage, step):
    """Drive a trial until it says that it is there."""
    for progress in signs:
        if progress.stage.split()[0] == stage and progress.step == step:
            return
    raise AssertionError(f"the trial ended before {stage}, step {step}")


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_a_stopped_trial_ends_as_an_unbroken_one(name, tmp_path):
    trial, planned = tiny.one_trial(name, training={"patch": tiny.LARGE})
    unbroken = tiny.new_results(tmp_path / "unbroken")
    assert tiny.run(trial, unbroken, planned)[-1].stage == "done"
    expected = outcome(unbroken, trial)

    closed = tiny.new_results(tmp_path / "closed")  # Ctrl-C: the generator is closed and saves a checkpoint
    signs = run_trial(trial, closed, planned.execution)
    advance(signs, "training", 1)
    signs.close()
    assert closed.read_record(trial.id) is None
    assert cell_state(closed, trial.id, trial.wanted).state == "interrupted"
    assert tiny.run(trial, closed, planned)[-1].stage == "done"
    assert resumed_at(closed, trial) == 1
    assert_same(outcome(closed, trial), expected)

    # Killed: what lies on disk at that moment is all there is.
    before, killed = tiny.new_results(tmp_path / "before"), tiny.new_results(tmp_path / "killed")
    signs = run_trial(trial, before, Execution(**EACH_STEP))
    advance(signs, "training", 2)
    shutil.copytree(before.running(trial.id), killed.running(trial.id))
    assert tiny.run(trial, killed, planned)[-1].stage == "done"
    assert resumed_at(killed, trial) == 2
    assert_same(outcome(killed, trial), expected)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The supervised V-Net, undisturbed."""
    trial, planned = tiny.one_trial("vnet")
    results = tiny.new_results(tmp_path_factory.mktemp("unbroken"))
    tiny.run(trial, results, planned)
    return trial, planned, outcome(results, trial)


@pytest.mark.parametrize("step", range(1, ITERATIONS + 1))
def test_a_trial_may_be_stopped_at_any_step(unbroken, tmp_path, step):
    trial, planned, expected = unbroken
    results = tiny.new_results(tmp_path)
    signs = run_trial(trial, results, planned.execution)
    advance(signs, "training", step)
    signs.close()
    tiny.run(trial, results, planned)
    assert resumed_at(results, trial) == step
    assert_same(outcome(results, trial), expected)


def test_a_trial_may_be_stopped_at_each_step_in_turn(unbroken, tmp_path):
    trial, planned, expected = unbroken
    results = tiny.new_results(tmp_path)
    for step in range(1, ITERATIONS + 1):
        signs = run_trial(trial, results, planned.execution)
        advance(signs, "training", step)
        signs.close()
    tiny.run(trial, results, planned)
    assert_same(outcome(results, trial), expected)


def test_a_trial_may_be_stopped_before_its_first_step_and_during_the_test(unbroken, tmp_path):
    trial, planned, expected = unbroken
    results = tiny.new_results(tmp_path)
    run_trial(trial, results, planned.execution).close()
    signs = run_trial(trial, results, planned.execution)
    advance(signs, "testing", ITERATIONS)
    signs.close()
    assert results.read_record(trial.id) is None
    tiny.run(trial, results, planned)
    assert resumed_at(results, trial) == ITERATIONS, "the test is repeated, not the training"
    assert_same(outcome(results, trial), expected)


def test_a_trial_resumed_from_the_checkpoint_before_the_last_ends_the_same(unbroken, tmp_path):
    trial, planned, expected = unbroken
    before, killed = tiny.new_results(tmp_path / "before"), tiny.new_results(tmp_path / "killed")
    signs = run_trial(trial, before, Execution(**EACH_STEP))
    advance(signs, "training", 2)
    shutil.copytree(before.running(trial.id), killed.running(trial.id))
    first, newest = sorted(killed.running(trial.id).glob("checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:1000])
    tiny.run(trial, killed, planned)
    assert resumed_at(killed, trial) == 1
    assert_same(outcome(killed, trial), expected)


@pytest.mark.parametrize(
    ("asked", "name", "device", "workers"),
    [("auto", "dtc", "cpu", 1), ("auto", "dtc", "cuda", 4), ("auto", "ua_mt", "cuda", 1), (0, "dtc", "cuda", 0)],
)
def test_more_data_workers_compute_distance_maps_for_a_gpu(asked, name, device, workers):
    method = registry.get(name)(registry.settings_of(name, {}), Backbone(width=2), Schedule(3))
    assert data_workers(Execution(data_workers=asked), method, torch.device(device)) == workers


def test_data_workers_window_batches_and_checkpoints_decide_no_number(unbroken, tmp_path):
    trial, planned, expected = unbroken
    other = Execution(device="cpu", data_workers=1, window_batch=1, checkpoint_minutes=0)
    results = tiny.new_results(tmp_path)
    list(run_trial(trial, results, other))
    assert_same(outcome(results, trial), expected)


def test_a_trial_in_bf16_is_resumed_exactly(tmp_path):
    trial, planned = tiny.one_trial(
        "dtml", training={"precision": "bf16", "patch": [48, 16, 16]}, data={"size": [48, 16, 16]}
    )
    unbroken, stopped = tiny.new_results(tmp_path / "unbroken"), tiny.new_results(tmp_path / "stopped")
    tiny.run(trial, unbroken, planned)
    signs = run_trial(trial, stopped, planned.execution)
    advance(signs, "training", 2)
    signs.close()
    tiny.run(trial, stopped, planned)
    assert resumed_at(stopped, trial) == 2
    assert_same(outcome(stopped, trial), outcome(unbroken, trial))


def test_a_checkpoint_of_another_source_of_a_plug_in_is_not_resumed(tmp_path, own_registry):
    path = tiny.write_plugin(tmp_path, "changing")
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("changing", plugins=[str(path)], baseline=None)
    results = tiny.new_results(tmp_path / "results")
    signs = run_trial(trial, results, planned.execution)
    advance(signs, "training", 2)
    signs.close()
    tiny.write_plugin(tmp_path, "changing", in_step="total = 2 * total")
    again, _ = tiny.one_trial("changing", plugins=[str(path)], baseline=None)  # the next run plans it again
    assert again.id == trial.id and again.numerics != trial.numerics
    assert tiny.run(again, results, planned)[-1].stage == "done"
    assert resumed_at(results, trial) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("versions", "step"),
    [({"training": 0}, 0), ({"preparation": 0}, 0), ({"method": 0}, 0), ({"scoring": 0}, 2), ({}, 2)],
    ids=str,
)
def test_a_checkpoint_is_resumed_unless_a_version_of_what_decides_weights_has_changed(
    tmp_path, monkeypatch, versions, step
):
    trial, planned = tiny.one_trial("vnet")
    earlier = trial.model_copy(update={"numerics": trial.numerics.model_copy(update=versions)})
    results = tiny.new_results(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.trial.setup._check_numerics", lambda trial: None)  # as code of that version would
        signs = run_trial(earlier, results, planned.execution)
        advance(signs, "training", 2)
        signs.close()
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    assert resumed_at(results, trial) == step
    assert results.read_record(trial.id).numerics == trial.numerics


@pytest.mark.parametrize("versions", [{"training": 0}, {"preparation": 0}, {"method": 0}, {"scoring": 0}], ids=str)
def test_a_trial_is_not_run_by_other_code_than_planned_it(tmp_path, versions):
    trial, planned = tiny.one_trial("vnet")
    other = trial.model_copy(update={"numerics": trial.numerics.model_copy(update=versions)})
    last = tiny.run(other, tiny.new_results(tmp_path), planned)[-1]
    assert last.stage == "failed" and "the code changed after the run had begun (numerics of " in last.reason


def test_a_plug_in_that_was_edited_after_planning_is_not_run(tmp_path, own_registry):
    path = tiny.write_plugin(tmp_path, "edited")
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("edited", plugins=[str(path)], baseline=None)
    tiny.write_plugin(tmp_path, "edited", in_step="total = 2 * total")
    last = tiny.run(trial, tiny.new_results(tmp_path / "results"), planned)[-1]
    assert last.stage == "failed" and "source of the plug-in: edited.py" in last.reason


def test_a_record_finished_but_not_moved_is_published_without_training(unbroken, tmp_path, monkeypatch):
    trial, planned, expected = unbroken
    results = tiny.new_results(tmp_path)

    def stop(*arguments):
        raise KeyboardInterrupt

    signs = run_trial(trial, results, planned.execution)
    advance(signs, "testing", ITERATIONS)
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "rename", stop)  # the move of the record to its place
        with pytest.raises(KeyboardInterrupt):
            list(signs)
    assert results.read_record(trial.id) is None
    assert [progress.stage for progress in tiny.run(trial, results, planned)] == ["done"]
    assert_same(outcome(results, trial), expected)


def stop_before_publishing(results, monkeypatch, call):
    """Kill a process at the moment when a record is finished and not yet in its place."""

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(results), "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            call()


def test_a_failure_finished_but_not_moved_is_not_called_done(unbroken, tmp_path, monkeypatch):
    trial, planned, _ = unbroken
    results = tiny.new_results(tmp_path)
    results.running(trial.id).mkdir(parents=True)
    stop_before_publishing(results, monkeypatch, lambda: write_failure(trial, results, "failed", "OSError: disk full"))
    last = tiny.run(trial, results, planned)[-1]
    assert last.stage == results.read_record(trial.id).state


def test_what_a_record_holds(unbroken, tmp_path):
    trial, planned, _ = unbroken
    results = tiny.new_results(tmp_path)
    signs = tiny.run(trial, results, planned)
    assert [sign.stage for sign in signs] == ["training"] * ITERATIONS + ["testing 1/1", "scoring 1/1", "done"]
    assert all(sign.trial == trial.id and sign.iterations == ITERATIONS for sign in signs)
    record = results.record(trial.id)
    assert {path.name for path in record.iterdir()} == {
        "trial.yaml", "cases.csv", "history.csv", "provenance.json", "weights.pt", "predictions",
    }  # fmt: skip
    assert not results.running(trial.id).exists()
    assert (results.folder / "cases" / "test-000.npz").exists()
    stored = results.read_record(trial.id)
    assert (stored.state, stored.reason, stored.cell) == ("done", None, trial.cell)
    assert stored.labelled == trial.labelled and stored.test == ["test-000"]
    assert stored.training.model_dump() == planned.training.model_dump()
    assert stored.evaluation == planned.evaluation
    assert stored.numerics == trial.numerics and isinstance(stored.numerics, Numerics)
    facts = json.loads((record / "provenance.json").read_text())
    for name in ("git_revision", "packages", "host", "device", "started", "seconds_training", "peak_memory_bytes"):
        assert name in facts
    assert facts["packages"]["numpy"] == np.__version__ and facts["threads"] == 1
    assert facts["source"].keys() == {"methods", "data", "benchmark"}


def test_a_trial_at_another_resolution_is_graded_on_the_cases_own_grid(tmp_path):
    trial, planned = tiny.one_trial("vnet", data={"size": [32, 32, 32], "spacing": 2.5}, training={"iterations": 1})
    results = tiny.new_results(tmp_path)
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    dataset = prepare(planned.data)
    case = dataset.native("test-000")
    assert case.label.shape != dataset.image("test-000").shape
    assert read_masks(results.record(trial.id) / "predictions" / "test-000.npz").shape == (1, *case.label.shape)
    with (results.record(trial.id) / "cases.csv").open() as file:
        counts = {float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "reference"}
    assert counts == {np.count_nonzero(case.label)}


def test_a_trial_goes_to_its_worker_as_plain_json():
    trial, _ = tiny.one_trial("dtml", training={"iterations": 5})
    assert Trial.model_validate_json(trial.model_dump_json()) == trial


# A network that dies without an error.

LOGS_A_SHARE = "return {'total': total, 'share': torch.tensor(0.0 if step >= SINCE else 0.5)}"


@pytest.mark.slow
@pytest.mark.parametrize(("since", "iterations", "dead"), [(18, 20, True), (19, 20, False), (0, 20, True)])
def test_a_dead_network_is_said_once_and_its_record_is_marked(tmp_path, own_registry, since, iterations, dead):
    path = tiny.write_plugin(tmp_path, "dying", LOGS_A_SHARE.replace("SINCE", str(since)))
    text = path.read_text().replace("    def __init__", "    dead_below = {'share': 0.1}\n\n    def __init__")
    path.write_text("import torch\n" + text)
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("dying", plugins=[str(path)], baseline=None, training={"iterations": iterations})
    results = tiny.new_results(tmp_path / "results")
    signs = tiny.run(trial, results, planned)
    assert signs[-1].stage == "done"
    said = [note for sign in signs for note in sign.notes]
    assert len(said) == dead and all(note.startswith("dead network: share has a median of 0 over") for note in said)
    assert all("after step" in note for note in said)
    found = cell_state(results, trial.id, trial.wanted)
    assert found.state == "done" and bool(found.collapsed) == dead
    stored = results.read_record(trial.id)
    assert stored.collapsed == found.collapsed and (not dead or "last 2 steps, below 0.1" in stored.collapsed)


def test_a_network_that_recovers_is_not_marked_in_the_end(tmp_path, own_registry):
    path = tiny.write_plugin(tmp_path, "dying", LOGS_A_SHARE.replace("step >= SINCE", "step < 5"))
    text = path.read_text().replace("    def __init__", "    dead_below = {'share': 0.1}\n\n    def __init__")
    path.write_text("import torch\n" + text)
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("dying", plugins=[str(path)], baseline=None, training={"iterations": 20})
    results = tiny.new_results(tmp_path / "results")
    [note] = [note for sign in tiny.run(trial, results, planned) for note in sign.notes]
    assert "after step 2. The training goes on" in note
    assert results.read_record(trial.id).collapsed == ""


def test_the_plan_holds_the_shapes_of_the_test_cases(tmp_path):
    planned = make_plan(tiny.experiment(data={"spacing": 2.5}), tiny.new_results(tmp_path))
    write_plan(planned)
    scored_on = planned.dataset.source.read("test-000").label.shape
    assert planned.folder.read_plan().shapes == {"test-000": list(scored_on)}
    assert planned.dataset.image("test-000").shape != scored_on, "the training grid is another one"


# Failures.


@pytest.fixture
def plugged_in(tmp_path, own_registry):
    """plugged_in(in_step): the trial and experiment of a method that does this in each step."""

    def make(in_step="pass", **more):
        path = tiny.write_plugin(tmp_path, "strange", in_step, **more)
        registry.load_plugin(path)
        return tiny.one_trial("strange", plugins=[str(path)], baseline=None)

    return make


DIVERGES = "total = total * (float('nan') if step == 1 else 1)"
NO_MEMORY = (
    "the machine's memory is too small: raise execution.memory_gib, so that fewer trials run at a time, or lower "
    "execution.window_batch, training.patch (now [16, 16, 16]), training.batch_size (now 4) or training.width (now 2); "
    "those of training change the protocol"
)
RAISES = "if step == 1: raise ValueError('two\\nlines')"


def line_of(trial, words):
    """FILE:LINE of these words in the method's file."""
    lines = Path(trial.cell.method_file).read_text().splitlines()
    return f"{trial.cell.method_file}:{next(n for n, line in enumerate(lines, start=1) if words in line)}"


@pytest.mark.parametrize(
    ("in_step", "state", "reason"),
    [
        (DIVERGES, "diverged", "loss total is nan at step 1"),
        (RAISES, "failed", "ValueError: two lines (PLACE)"),
        ("raise KeyboardInterrupt if step > 99 else MemoryError", "failed", NO_MEMORY),
    ],
)
def test_a_trial_that_fails_leaves_a_record_that_says_why(plugged_in, tmp_path, in_step, state, reason):
    trial, planned = plugged_in(in_step)
    results = tiny.new_results(tmp_path / "results")
    last = tiny.run(trial, results, planned)[-1]
    reason = reason.replace("PLACE", line_of(trial, in_step))
    assert (last.stage, last.reason) == (state, reason)
    record = results.read_record(trial.id)
    assert (record.state, record.reason, record.cell) == (state, reason, trial.cell)
    assert [path.name for path in results.record(trial.id).iterdir()] == ["trial.yaml"]


@pytest.mark.parametrize("in_step", [DIVERGES, RAISES])
def test_a_failure_never_replaces_what_was_achieved(plugged_in, tmp_path, in_step):
    trial, planned = plugged_in()
    results = tiny.new_results(tmp_path / "results")
    tiny.run(trial, results, planned)
    before = outcome(results, trial)
    again, _ = plugged_in(in_step)  # now the record is stale, and another training fails
    assert tiny.run(again, results, planned)[-1].stage in ("failed", "diverged")
    assert_same(outcome(results, trial), before)


def test_a_failed_trial_that_is_tried_again_replaces_its_record(plugged_in, tmp_path):
    trial, planned = plugged_in(RAISES)
    results = tiny.new_results(tmp_path / "results")
    tiny.run(trial, results, planned)
    trial, planned = plugged_in()
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    assert results.read_record(trial.id).state == "done" and (results.record(trial.id) / "weights.pt").exists()


def test_a_failure_that_is_mended_outside_goes_on_from_the_checkpoint(plugged_in, tmp_path):
    fault = tmp_path / "fault"
    fault.touch()
    trial, planned = plugged_in(f"if step == 2 and __import__('os').path.exists({str(fault)!r}): raise OSError('full')")
    results = tiny.new_results(tmp_path / "results")
    assert list(run_trial(trial, results, Execution(**EACH_STEP)))[-1].stage == "failed"
    fault.unlink()
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    assert resumed_at(results, trial) == 2


def test_a_method_that_cannot_predict_fails_in_the_test_and_keeps_its_training(plugged_in, tmp_path):
    trial, planned = plugged_in(in_predict="raise ValueError('cannot')")
    results = tiny.new_results(tmp_path / "results")
    assert tiny.run(trial, results, planned)[-1].reason == f"ValueError: cannot ({line_of(trial, 'raise')})"
    plugged_in(in_predict="raise ValueError('still')")
    assert list(results.running(trial.id).glob("checkpoint-*")), "training took hours: a retry should not repeat it"


def test_an_error_in_a_data_worker_is_one_short_line(tmp_path, own_registry):
    path = tiny.write_plugin(tmp_path, "viewer")
    path.write_text(
        path.read_text() + "    def extra_arrays(self):\n        return {'bad': bad}\n\n\n"
        "def bad(arrays, rng):\n    raise ValueError('no such view')\n"
    )
    registry.load_plugin(path)
    trial, planned = tiny.one_trial("viewer", plugins=[str(path)], execution={"data_workers": 1})
    results = tiny.new_results(tmp_path / "results")
    last = tiny.run(trial, results, planned)[-1]
    assert (last.stage, last.reason) == ("failed", "ValueError: no such view")


@pytest.mark.slow
def test_another_version_of_scoring_does_not_cost_a_resumed_trial_its_steps(tmp_path, monkeypatch):
    trial, planned = tiny.one_trial("vnet", training={"iterations": 6})
    results = tiny.new_results(tmp_path)
    monkeypatch.setattr("benchmark.trial.run.REPORT_SECONDS", 0)
    steps = run_trial(trial, results, planned.execution)
    assert [next(steps).step for _ in range(3)] == [1, 2, 3]
    steps.close()
    monkeypatch.setattr("benchmark.records.numerics.SCORING", 1000)
    again, _ = tiny.one_trial("vnet", training={"iterations": 6})
    assert again.numerics.scoring == 1000
    assert next(run_trial(again, results, planned.execution)).step == 4


def test_a_record_says_the_most_that_any_session_had(tmp_path, monkeypatch):
    trial, planned = tiny.one_trial("vnet", training={"iterations": 4})
    results, execution = tiny.new_results(tmp_path), planned.execution
    peaks = iter([500, 300, 200])  # at the end of training, twice at that of inference

    def session(sharing):
        return run_trial(trial, results, execution, {"trials_sharing_the_machine": sharing})

    first = session(4)
    assert next(first).step == 1
    first.close()
    monkeypatch.setattr("benchmark.trial.provenance.peak_memory", lambda device: next(peaks))
    second = session(2)  # trains to the end, and is stopped as it tests
    while not next(second).stage.startswith("testing"):
        pass
    second.close()
    assert list(session(1))[-1].stage == "done"
    facts = json.loads((results.record(trial.id) / "provenance.json").read_text())
    assert (facts["trials_sharing_the_machine"], facts["peak_memory_bytes"]) == (4, 500)
    assert facts["resumed_at_step"] == 4


def test_what_trained_anew_knows_nothing_of_earlier_sessions(tmp_path):
    trial, planned = tiny.one_trial("vnet", training={"iterations": 2})
    results = tiny.new_results(tmp_path)
    results.running(trial.id).mkdir(parents=True)
    (results.running(trial.id) / "sessions.json").write_text('{"trials_sharing_the_machine": 9}')
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    facts = json.loads((results.record(trial.id) / "provenance.json").read_text())
    assert facts["trials_sharing_the_machine"] == 1


def test_scoring_weights_again_keeps_what_their_training_cost(tmp_path, monkeypatch):
    trial, planned = tiny.one_trial("vnet", training={"iterations": 1})
    results = tiny.new_results(tmp_path)
    monkeypatch.setattr("benchmark.trial.provenance.peak_memory", lambda device: 111)
    tiny.run(trial, results, planned)
    monkeypatch.setattr("benchmark.trial.provenance.peak_memory", lambda device: 7)
    evaluation = trial.evaluation.model_copy(update={"empty": "exclude"})
    tiny.run(trial.model_copy(update={"evaluation": evaluation}), results, planned)
    assert results.read_record(trial.id).evaluation.empty == "exclude"
    facts = json.loads((results.record(trial.id) / "provenance.json").read_text())
    assert facts["peak_memory_bytes"] == 111
    assert facts["scored_again"]["trials_sharing_the_machine"] == 1


def test_a_trace_of_a_few_steps_is_written_where_it_is_asked_for(tmp_path):
    trial, planned = tiny.one_trial("vnet", training={"iterations": 6}, execution={"profile_steps": 2})
    results = tiny.new_results(tmp_path)
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    with gzip.open(results.trace(trial.id), "rt") as file:
        names = [event["name"] for event in json.load(file)["traceEvents"] if "name" in event]
    assert sum(name.startswith("ProfilerStep") for name in names) >= 2 and "aten::convolution" in names


def test_fp16_without_a_gpu_fails_with_what_to_do(tmp_path):
    trial, planned = tiny.one_trial("vnet", training={"precision": "fp16"})
    last = tiny.run(trial, tiny.new_results(tmp_path), planned)[-1]
    assert last.stage == "failed" and "training.precision fp16 is for GPUs" in last.reason


def test_the_reason_of_a_failure_is_told_where_the_method_itself_cannot_be_imported(monkeypatch):
    def damaged(name):
        raise ImportError("methods/vnet.py is damaged on this node")

    trial, _ = tiny.one_trial("vnet")
    monkeypatch.setattr(failures.registry, "get", damaged)
    assert failures.failure_reason(ValueError("first"), trial) == "ValueError: first"
