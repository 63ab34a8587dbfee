"""Checkpoints chosen from one run: the last, the best on validation cases, the best on test cases."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny
from rich.console import Console

from benchmark.command_line import run_commands
from benchmark.planning.experiment import Execution
from benchmark.planning.experiment_file import load_experiment
from benchmark.planning.plan import make_plan
from benchmark.records.case_values import BEST_ON_TEST, BEST_ON_VALIDATION, CHECKPOINT, read_case_values
from benchmark.records.files import StorageError
from benchmark.records.selection import Point, best_on_validation, read_curve, weights_file, with_choices
from benchmark.records.states import DONE, RESCORE, cell_state
from benchmark.trial import run as trial_module
from benchmark.trial.run import run_trial
from data.cache import prepare
from data.errors import UserError

EVERY, ITERATIONS = 2, 5
SELECTING = {
    "data": {"validation_cases": 1}, "labelled": [3],
    "training": {"iterations": ITERATIONS}, "evaluation": {"checkpoints": EVERY},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _sign_each_step(monkeypatch):
    """A trial yields at most once a second, and can be stopped only where it yields."""
    monkeypatch.setattr(trial_module, "REPORT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A trial with validation cases and stored checkpoints, run to its end."""
    trial, planned = tiny.one_trial("mean_teacher", **SELECTING)
    results = tiny.new_results(tmp_path_factory.mktemp("chosen"))
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    return trial, planned, results


def files(results, trial):
    """What a stopped and resumed trial must have in common with an unbroken one."""
    record = results.record(trial.id)
    weights = {path.name: torch.load(path, weights_only=True) for path in sorted(record.rglob("*.pt"))}
    return weights, (record / "cases.csv").read_text(), (record / "checkpoints.csv").read_text()


def assert_same(found, expected):
    assert found[1:] == expected[1:]
    assert found[0].keys() == expected[0].keys() and len(expected[0]) == 3
    for name, weights in expected[0].items():
        assert all(torch.equal(found[0][name][key], value) for key, value in weights.items()), name


def planned_state(results, trial, **evaluation):
    changed = trial.model_copy(update={"evaluation": trial.evaluation.model_copy(update=evaluation)})
    return changed, cell_state(results, trial.id, changed.wanted)


def values_by_rule(results, trial):
    values = read_case_values(results.record(trial.id) / "cases.csv", len(trial.test), 1)
    return {
        (v.checkpoint, v.postprocessing, v.metric): v.value
        for v in values if v.unit in ("", "voxel") and v.case == trial.test[0]
    }  # fmt: skip


def test_one_run_has_three_rules(chosen):
    trial, planned, results = chosen
    assert len(trial.labelled) == 2 and len(trial.validation) == 1
    assert not set(trial.validation) & {*trial.labelled, *trial.unlabelled, *trial.test}
    record = results.finished_record(trial.id)
    assert record.validation == trial.validation and record.data.validation_cases == 1 and not record.peeked
    curve = read_curve(results.record(trial.id))
    assert {point.iteration for point in curve} == {2, 4, 5}
    values = values_by_rule(results, trial)
    for postprocessing in ("none", "largest_component"):
        of = [point for point in curve if point.postprocessing == postprocessing]
        on_test = {point.iteration: point.dice for point in of if point.cases == "test"}
        on_validation = {point.iteration: point.dice for point in of if point.cases == "validation"}
        rules = {point.chosen: point.iteration for point in of if point.chosen}
        assert rules.keys() == {BEST_ON_TEST, BEST_ON_VALIDATION}
        assert on_validation[rules[BEST_ON_VALIDATION]] == max(on_validation.values())
        dice = {rule: values[rule, postprocessing, "dice"] for rule in (CHECKPOINT, BEST_ON_TEST, BEST_ON_VALIDATION)}
        assert dice[CHECKPOINT] == on_test[ITERATIONS]
        assert dice[BEST_ON_TEST] == max(on_test.values())
        assert dice[BEST_ON_VALIDATION] == on_test[rules[BEST_ON_VALIDATION]]
        assert (BEST_ON_VALIDATION, postprocessing, "hd95") in values
    assert not list(results.record(trial.id).glob("selection"))
    assert cell_state(results, trial.id, trial.wanted).state == DONE


def test_stored_checkpoints_change_nothing_of_the_training(chosen, tmp_path):
    trial, planned, results = chosen
    alone, _ = planned_state(results, trial, checkpoints=None)
    other = tiny.new_results(tmp_path)
    tiny.run(alone, other, planned)
    weights = [torch.load(r.record(trial.id) / "weights.pt", weights_only=True) for r in (results, other)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])
    last = [line for line in files(results, trial)[1].splitlines() if not line.startswith("best_on")]
    assert last == (other.record(trial.id) / "cases.csv").read_text().splitlines()
    assert not list(other.record(trial.id).glob("checkpoints*"))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "step"), [("training", 1), ("training", 3), ("training", 4), ("selecting", 5)])
def test_a_trial_killed_between_two_checkpoints_ends_as_an_unbroken_one(chosen, tmp_path, stage, step):
    trial, planned, results = chosen
    before, killed = tiny.new_results(tmp_path / "before"), tiny.new_results(tmp_path / "killed")
    often = Execution(device="cpu", data_workers=0, checkpoint_iterations=3)
    signs = run_trial(trial, before, often)
    for progress in signs:
        if progress.stage.split()[0] == stage and progress.step == step:
            break
    shutil.copytree(before.running(trial.id), killed.running(trial.id))
    assert tiny.run(trial, killed, planned)[-1].stage == "done"
    assert_same(files(killed, trial), files(results, trial))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "file"),
    [(torch, "save", "checkpoints/.00000004.pt"), (np, "savez_compressed", "selection/2/")],
    ids=["stored weights", "their predictions"],
)
def test_a_full_disk_stops_the_trial_and_costs_nothing(chosen, tmp_path, monkeypatch, owner, name, file):
    trial, planned, results = chosen
    write = getattr(owner, name)

    def full(*arguments, **options):
        if any(file in str(argument) for argument in arguments if isinstance(argument, Path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments, **options)

    stopped = tiny.new_results(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(StorageError, match="No space left"):
            tiny.run(trial, stopped, planned)
    assert tiny.run(trial, stopped, planned)[-1].stage == "done"
    assert_same(files(stopped, trial), files(results, trial))


def test_a_training_that_lacks_stored_weights_of_before_begins_anew(chosen, tmp_path):
    trial, planned, results = chosen
    stopped = tiny.new_results(tmp_path)
    signs = run_trial(trial, stopped, planned.execution)
    assert next(progress for progress in signs if progress.step == 3)
    signs.close()
    weights_file(stopped.running(trial.id), 2).unlink()
    tiny.run(trial, stopped, planned)
    assert stopped.read_provenance(trial.id)["resumed_at_step"] == 0
    assert_same(files(stopped, trial), files(results, trial))


def test_weights_are_scored_again_as_long_as_they_are_stored(chosen, tmp_path):
    trial, planned, results = chosen
    copy = tiny.new_results(tmp_path)
    shutil.copytree(results.record(trial.id), copy.record(trial.id))

    changed, state = planned_state(copy, trial, nsd_tolerance=5.0)
    assert state.state == RESCORE
    tiny.run(changed, copy, planned)
    assert "resumed_at_step" in copy.read_provenance(trial.id)  # of its training
    assert files(copy, trial)[2] == files(results, trial)[2] and files(copy, trial)[1] != files(results, trial)[1]

    sparse, state = planned_state(copy, trial, checkpoints=4)
    assert state.state == RESCORE and "evaluation.checkpoints is 2, the plan's 4" in state.reason
    tiny.run(sparse, copy, planned)
    assert {point.iteration for point in read_curve(copy.record(trial.id))} == {4, 5}

    alone, state = planned_state(copy, trial, checkpoints=None)
    assert state.state == DONE and {value.checkpoint for value in state.values} == {CHECKPOINT} and not state.curve
    finer, state = planned_state(copy, trial, checkpoints=3)  # not among those that are stored
    assert state.state == DONE and "no weights of every 3 iterations" in state.reason
    assert {value.checkpoint for value in state.values} == {CHECKPOINT}

    weights_file(copy.record(trial.id), 2).unlink()
    changed, state = planned_state(copy, trial, nsd_tolerance=6.0)
    assert state.state == RESCORE
    tiny.run(changed, copy, planned)
    state = cell_state(copy, trial.id, changed.wanted)
    assert state.state == DONE and "no weights of every 2 iterations" in state.reason


def test_a_run_says_that_finished_records_lack_stored_weights(chosen, capsys):
    trial, _, results = chosen
    finer = tiny.experiment(methods=["mean_teacher"], **SELECTING | {"evaluation": {"checkpoints": 3}})
    plan = make_plan(finer, results)
    run_commands._print_counts(plan, plan.to_run(), Console(width=300))
    assert "1 done cells: it has no weights of every 3 iterations" in capsys.readouterr().out
    assert trial.id not in {planned.trial.id for planned in plan.to_run()}


@pytest.mark.parametrize("file", ["checkpoints.csv", "cases.csv"])
def test_a_damaged_choice_is_made_again(chosen, tmp_path, file):
    trial, planned, results = chosen
    copy = tiny.new_results(tmp_path)
    shutil.copytree(results.record(trial.id), copy.record(trial.id))
    path = copy.record(trial.id) / file
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]) + "best_on_test,4")
    assert cell_state(copy, trial.id, trial.wanted).state == RESCORE
    tiny.run(trial, copy, planned)
    assert (copy.record(trial.id) / file).read_text() == (results.record(trial.id) / file).read_text()


def test_validation_cases_by_name_are_trained_on_by_nobody():
    named = ["train-000", "train-002"]
    trial, _ = tiny.one_trial("mean_teacher", data={"validation_cases": named}, labelled=[1])
    assert (trial.labelled, trial.unlabelled, trial.validation) == (["train-001"], ["train-003"], named)
    plain, _ = tiny.one_trial("mean_teacher", labelled=[1])
    assert plain.labelled == ["train-000"] and plain.validation == [] and plain.data_summary.validation_cases == 0


BAD = [
    ({"data": {"validation_cases": 2}, "labelled": [2]}, "data.validation_cases 2 leaves none of 2 labelled cases"),
    ({"data": {"validation_cases": 3}, "labelled": [2]}, "data.validation_cases 3 leaves none of 2 labelled cases"),
    ({"data": {"validation_cases": ["test-000"]}}, "data.validation_cases names test-000, which are test cases"),
    ({"data": {"validation_cases": ["nobody"]}}, "data.validation_cases names nobody, which are no training cases"),
    ({"data": {"validation_cases": ["train-000"] * 2}}, "'data.validation_cases': names train-000 twice"),
    ({"data": {"validation": ["train-000"], "validation_cases": ["train-000"]}}, "whose patients are scored"),
    ({"evaluation": {"checkpoints": 3}}, "evaluation.checkpoints 3 stores none before the end of 3"),
    ({"data": {"validation_cases": 1}, "evaluation": {"checkpoints": None}}, "evaluation.checkpoints is null"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_is_one_line(tmp_path, changes, message):
    values = {"evaluation": {"checkpoints": 2}} | changes
    with pytest.raises(UserError) as caught:
        planned = load_experiment(tiny.write_experiment(tmp_path, **values))
        make_plan(planned, tiny.new_results(tmp_path / "results"), prepare(planned.data))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_of_equal_checkpoints_the_first_is_chosen_and_validation_alone_says_which_run_is_best():
    points = [Point(1, "test", "none", 0.5), Point(2, "test", "none", 0.5), Point(1, "validation", "none", 0.4),
              Point(2, "validation", "none", float("nan"))]  # fmt: skip
    assert [point.chosen for point in with_choices(points)] == [BEST_ON_TEST, "", BEST_ON_VALIDATION, ""]
    runs = []
    for seed, on_test, on_validation in ((1, 0.9, 0.6), (2, 0.1, 0.7)):
        found, _ = tiny.one_trial("vnet", seeds=[seed])
        curve = [Point(5, "test", "none", on_test), Point(5, "validation", "none", on_validation)]
        runs.append((found.cell, with_choices(curve)))
    [line] = best_on_validation(runs, "none")
    assert line.startswith("best on validation with 2 labelled: V-Net, seed 2, iteration 5, Dice 70.00")
