"""Which cells an experiment has, what a trial's id depends on, and where a cell stands."""

import io
import json
import shutil
import time

import pytest
import torch
import yaml
from helpers import tiny
from helpers.scan_folder import write_folder

from benchmark.planning.experiment import Experiment
from benchmark.planning.experiment_file import load_experiment
from benchmark.planning.plan import make_plan, write_plan
from benchmark.planning.trials import make_trials, seed_by_seed
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import planned_states
from data.cache import prepare
from data.splits import labelled_ids
from methods.shared import registry


def ids(**changes):
    """Trial ids by (display name, labelled, draw, seed, role)."""
    cells = [trial.cell for trial in tiny.trials(tiny.experiment(**changes))]
    return {(cell.display, cell.labelled, cell.draw, cell.seed, cell.role): cell.trial for cell in cells}


def roles(**changes):
    return [(name, count, role) for name, count, _, _, role in ids(**changes)]


BEFORE = {"methods": ["dtml"], "baseline": None}
DTML = ("DTML", 2, "first", 7, "method")


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"seed": 1}},
        {"data": {"size": [20, 16, 16]}},
        {"data": {"spacing": 2.5}},
        {"data": {"train": 5}},  # one more unlabelled case
        {"data": {"test": 2}},
        {"labelled": [3]},
        {"draws": [1]},
        {"methods": [{"name": "ua_mt", "display": "DTML"}]},
        {"methods": [{"name": "dtml", "settings": {"consistency_weight": 0.5}}]},
        {"seeds": [8]},
        {"training": {"iterations": 4}},
        {"training": {"batch_size": 6}},
        {"training": {"patch": [16, 16, 32]}},
        {"training": {"width": 4}},
        {"training": {"learning_rate": 0.02}},
        {"training": {"momentum": 0.5}},
        {"training": {"weight_decay": 0}},
        {"training": {"augmentation": "d4"}},
        {"training": {"precision": "bf16"}},
        {"training": {"threads": 2}},
        {"training": {"deterministic": True}},
    ],
    ids=str,
)
def test_a_trial_id_changes_with_what_decides_its_numbers(changes):
    assert set(ids(**BEFORE).values()).isdisjoint(ids(**BEFORE | changes).values())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "renamed", "title": "A title", "reference": "DTML"},
        {"evaluation": {"stride": [4, 4, 4], "empty": "exclude", "postprocessing": "none"}},
        {"report": {"margin": 2}},
        {"execution": {"device": "auto", "data_workers": 2, "window_batch": 1, "checkpoint_minutes": 1}},
        {"methods": [{"name": "dtml", "display": "Mine"}]},
        {"methods": [{"name": "dtml", "settings": {"consistency_weight": 1.0}}]},  # the default, spelt out
        {"methods": ["ua_mt", "dtml"], "baseline": "vnet", "labelled": [3, 2], "seeds": [8, 7], "draws": [0, "first"]},
    ],
    ids=str,
)
def test_a_trial_id_does_not_change_with_anything_else(changes):
    assert set(ids(**BEFORE).values()) <= set(ids(**BEFORE | changes).values())


def test_ids_are_of_use_as_folder_names_and_differ():
    planned = ids(methods=["dtml", "ua_mt"], labelled=[1, 2, 3], draws=["first", 0, 1], seeds=[1, 2, 3])
    assert len(set(planned.values())) == len(planned)
    assert all(trial.replace("-", "").replace("_", "").isalnum() for trial in planned.values())


def test_another_place_of_the_same_data_is_the_same_trial(tmp_path, monkeypatch):
    before = ids()
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "another cache"))
    assert ids() == before


def test_a_random_draw_that_equals_the_first_cases_is_the_same_trial():
    train = tiny.trials(tiny.experiment(labelled=[1]))[-1].labelled
    equal = next(draw for draw in range(1000) if labelled_ids(train, 1, draw) == train[:1])
    other = next(draw for draw in range(1000) if labelled_ids(train, 1, draw) != train[:1])
    first = set(ids(**BEFORE, labelled=[1]).values())
    assert set(ids(**BEFORE, labelled=[1], draws=[equal]).values()) == first
    assert set(ids(**BEFORE, labelled=[1], draws=["first", equal]).values()) == first
    assert first.isdisjoint(ids(**BEFORE, labelled=[1], draws=[other]).values())


def test_floors_and_one_ceiling_are_planned_by_themselves():
    assert roles(labelled=[1, 2]) == [
        ("V-Net", 1, "floor"), ("DTML", 1, "method"), ("V-Net", 2, "floor"), ("DTML", 2, "method"),
        ("V-Net", 4, "ceiling"),
    ]  # fmt: skip
    assert len(ids(labelled=[1, 2], seeds=[1, 2], draws=["first", 1])) == 2 * 2 * 2 * 2 + 2


def test_the_baseline_is_planned_once_where_it_is_also_asked_for():
    assert roles(methods=["vnet", "dtml"]) == [("V-Net", 2, "floor"), ("DTML", 2, "method"), ("V-Net", 4, "ceiling")]


def test_with_all_cases_labelled_there_is_the_ceiling_alone():
    assert roles(methods=["dtml", "ua_mt", "vnet_sdm"], labelled=[4]) == [("V-Net", 4, "ceiling")]
    assert roles(labelled=[4, 2])[-1] == ("V-Net", 4, "ceiling")
    assert len(roles(labelled=[4, 2])) == 3


def test_where_scans_have_no_label_the_floor_with_every_label_is_the_ceiling(tmp_path):
    root = write_folder(tmp_path, train=7)
    for case in "AB":
        (root / f"labelsTr/{case}.nii.gz").unlink()
    data = {"source": "folder", "root": str(root), "spacing": 0.5}
    planned = Experiment(**tiny.VALUES | {"data": data, "labelled": [2, 5], "draws": [0, 1], "reference": "DTML"})
    trials = make_trials(planned, dataset := prepare(planned.data))
    assert (len(dataset.train_ids), len(dataset.with_label)) == (7, 5)
    assert [(t.cell.role, t.cell.labelled, t.cell.unlabelled, t.cell.draw) for t in trials] == [
        ("floor", 2, 0, 0), ("method", 2, 5, 0), ("floor", 2, 0, 1), ("method", 2, 5, 1),
        ("floor", 5, 0, "first"), ("method", 5, 2, "first"),  # there is nothing to draw
    ]  # fmt: skip
    assert trials[0].data_summary.with_label == 5


def test_another_baseline_or_none():
    own = {"name": "vnet", "display": "Half", "settings": {"labelled_patches": "half"}}
    assert roles(baseline=own) == [("Half", 2, "floor"), ("DTML", 2, "method"), ("Half", 4, "ceiling")]
    assert roles(baseline=None) == [("DTML", 2, "method")]


def test_cases_of_a_cell():
    by_role = {trial.cell.role: trial for trial in tiny.trials(tiny.experiment())}
    train = [f"train-{i:03d}" for i in range(4)]
    method, floor, ceiling = by_role["method"], by_role["floor"], by_role["ceiling"]
    assert (method.labelled, method.unlabelled, method.test) == (train[:2], train[2:], ["test-000"])
    assert (floor.labelled, floor.unlabelled) == (train[:2], [])  # a supervised method gets no unlabelled case
    assert (ceiling.labelled, ceiling.unlabelled) == (train, [])
    assert (method.cell.labelled, method.cell.unlabelled, floor.cell.unlabelled) == (2, 2, 0)


def test_adding_methods_budgets_draws_and_seeds_keeps_the_cells_there_are():
    before = ids()
    after = ids(methods=["sass", "dtml", "ua_mt"], labelled=[1, 2, 3], draws=["first", 5], seeds=[6, 7])
    assert before.items() <= after.items() and len(after) > len(before)


def test_a_method_that_is_also_the_baseline_keeps_its_display_name():
    assert "Mine" in {name for name, *_ in ids(methods=[{"name": "vnet", "display": "Mine"}, "dtml"], reference="Mine")}


# Where cells stand.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder in which the floor is done."""
    results = tiny.new_results(tmp_path_factory.mktemp("finished"))
    trial, planned = tiny.one_trial("vnet")
    assert tiny.run(trial, results, planned)[-1].stage == "done"
    return results.folder


@pytest.fixture
def results(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "results")
    return ResultsFolder(tmp_path / "results")


def floor(results, **changes):
    plan = make_plan(tiny.experiment(**changes), results)
    return next(planned for planned in plan.trials if planned.trial.cell.role == "floor")


def change_record(results, **changes):
    file = results.record(floor(results).trial.id) / "trial.yaml"
    record = yaml.safe_load(file.read_text())
    for key, value in changes.items():
        record[key] = record[key] | value if isinstance(value, dict) else value
    file.write_text(yaml.safe_dump(record))


def test_done_and_not_run(results):
    plan = make_plan(tiny.experiment(), results)
    states = {planned.trial.cell.role: (planned.state, planned.reason) for planned in plan.trials}
    assert states == {"floor": ("done", ""), "method": ("not run", ""), "ceiling": ("not run", "")}


def test_stale_names_the_numerics_that_changed(results):
    change_record(results, numerics={"training": 0, "method": 0, "scoring": 0})
    cell = floor(results)
    assert cell.state == "stale"
    assert "numerics of training: version 0, now version" in cell.reason and "numerics of method" in cell.reason
    assert "preparation" not in cell.reason and "scoring" not in cell.reason


def test_a_plug_in_is_stale_when_its_code_changes_and_not_when_a_comment_does(tmp_path, own_registry):
    path = tiny.write_plugin(tmp_path, "changing")
    planned = tiny.experiment(methods=["changing"], plugins=[str(path)], baseline=None)
    registry.load_plugin(path)
    results = tiny.new_results(tmp_path / "results")
    tiny.run(tiny.trials(planned)[0], results, planned)
    assert [cell.state for cell in make_plan(planned, results).trials] == ["done"]
    tiny.write_plugin(tmp_path, "changing", in_step="pass  # a remark")
    assert [cell.state for cell in make_plan(planned, results).trials] == ["done"]
    tiny.write_plugin(tmp_path, "changing", in_step="total = 2 * total")
    [cell] = make_plan(planned, results).trials
    assert (cell.state, cell.reason) == ("stale", "source of the plug-in: changing.py")


def test_another_evaluation_is_to_be_scored_again(results):
    cell = floor(results, evaluation={"empty": "exclude"})
    assert cell.state == "rescore" and cell.reason
    change_record(results, numerics={"training": 0})  # trained by other numerics: scoring would mix the two
    assert floor(results, evaluation={"empty": "exclude"}).state == "stale"


def test_another_version_of_scoring_scores_stored_weights_again_without_training(results):
    trial = floor(results).trial
    before = (results.record(trial.id) / "weights.pt").read_bytes()
    change_record(results, numerics={"scoring": 0}, reason="an older metric")
    cell = floor(results)
    assert cell.state == "rescore" and cell.reason.startswith("numerics of scoring: version 0, now version")
    steps = [progress.stage for progress in tiny.run(trial, results, tiny.experiment())]
    assert steps == ["testing 1/1", "scoring 1/1", "done"]
    assert floor(results).state == "done"
    assert same_tensors((results.record(trial.id) / "weights.pt"), before)


def same_tensors(path, before: bytes) -> bool:
    new, old = torch.load(path, weights_only=True), torch.load(io.BytesIO(before), weights_only=True)
    return new.keys() == old.keys() and all(torch.equal(new[key], old[key]) for key in new)


def test_choosing_another_postprocessing_changes_nothing_stored(results):
    assert floor(results, evaluation={"postprocessing": "none"}).state == "done"


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_failed_and_diverged_say_why(results, state):
    change_record(results, state=state, reason="loss is nan at step 3")
    cell = floor(results)
    assert (cell.state, cell.reason) == (state, "loss is nan at step 3")


@pytest.mark.parametrize(("age", "state"), [(5, "running"), (1000, "interrupted")])
def test_a_cell_without_a_record_runs_or_was_interrupted(results, age, state):
    trial = floor(results).trial.id
    shutil.rmtree(results.record(trial))
    results.running(trial).mkdir(parents=True)
    sign = {"trial": trial, "stage": "training", "step": 2, "iterations": 3, "loss": None, "time": time.time() - age}
    (results.running(trial) / "heartbeat.json").write_text(json.dumps(sign))
    cell = floor(results)
    assert cell.state == state and "training, step 2 of 3" in cell.reason


def test_half_a_record_is_none(results):
    (results.record(floor(results).trial.id) / "trial.yaml").unlink()
    assert floor(results).state == "not run"


def test_the_folder_alone_tells_the_same_states(results):
    change_record(results, numerics={"method": 0})
    plan = make_plan(tiny.experiment(), results)
    write_plan(plan)
    told = [(cell.trial, state.state, state.reason) for cell, state in planned_states(results)]
    assert told == [(planned.trial.id, planned.state, planned.reason) for planned in plan.trials]
    assert told[0][1] == "stale"


def test_the_plan_on_disk_can_be_planned_again(tmp_path):
    results = tiny.new_results(tmp_path)
    planned = tiny.experiment(title="Täglich", draws=["first", 3], reference="DTML")
    write_plan(make_plan(planned, results))
    assert load_experiment(results.experiment_file) == planned
    plan = results.read_plan()
    assert [cell.trial for cell in plan.cells] == [trial.id for trial in tiny.trials(planned)]
    assert (plan.title, plan.reference, plan.data.train) == ("Täglich", "DTML", 4)
    assert plan.training.model_dump() == planned.training.model_dump()
    assert plan.evaluation == planned.evaluation


def test_a_plan_reads_the_states_again(results):
    plan = make_plan(tiny.experiment(), results)
    change_record(results, state="failed", reason="by hand")
    assert [planned.state for planned in plan.trials] == ["done", "not run", "not run"]
    again = plan.reread()
    assert [planned.state for planned in again.trials] == ["failed", "not run", "not run"]
    assert again.dataset is plan.dataset
    assert [p.trial.cell.role for p in again.to_run()] == ["method", "ceiling"]
    assert [p.trial.cell.role for p in again.to_run({"failed"})] == ["floor", "method", "ceiling"]


def test_a_plan_holds_the_margin_and_fingerprints_of_the_cases_as_stored(tmp_path):
    results = ResultsFolder(tmp_path / "results")
    results.create()

    def written(**changes):
        write_plan(make_plan(tiny.experiment(**changes), results))
        return results.read_plan()

    before = written()
    assert before.report.margin == 1 and set(before.data.stored_fingerprints) == {"train", "test"}
    assert before.data.stored_fingerprints["test"] == before.data.fingerprint  # trained on the cases' own grid
    coarse = written(data={"spacing": 2.5}, report={"margin": 0.5})
    assert coarse.report.margin == 0.5 and coarse.data.fingerprint != before.data.fingerprint
    assert coarse.data.stored_fingerprints == before.data.stored_fingerprints
    more = written(data={"train": 5}).data.stored_fingerprints
    assert more["train"] != before.data.stored_fingerprints["train"]


def test_trials_as_listed_run_seed_by_seed_with_floors_and_ceiling_first():
    planned = tiny.experiment(methods=["ua_mt", "dtc"], labelled=[2, 3], seeds={2: [9, 4], 3: [9]}, baseline="vnet")
    order = seed_by_seed(make_trials(planned, prepare(planned.data)))
    assert [(t.seed, t.method, t.cell.role, len(t.labelled)) for t in order] == [
        (9, "vnet", "floor", 2), (9, "vnet", "floor", 3), (9, "vnet", "ceiling", 4),
        (9, "ua_mt", "method", 2), (9, "dtc", "method", 2), (9, "ua_mt", "method", 3), (9, "dtc", "method", 3),
        (4, "vnet", "floor", 2), (4, "vnet", "ceiling", 4), (4, "ua_mt", "method", 2), (4, "dtc", "method", 2),
    ]  # fmt: skip
