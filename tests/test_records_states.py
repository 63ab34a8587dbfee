"""Every state of a cell, its reason in one line, and when its values may be shown."""

import json
import shutil
import time

import numpy as np
import pytest
import yaml
from helpers import records, tiny
from helpers.scan_folder import write

from benchmark.planning.plan import make_plan, write_plan
from benchmark.records import numerics, source_code, states
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import (
    DIVERGED,
    DONE,
    FAILED,
    INTERRUPTED,
    MEANING,
    NOT_RUN,
    OTHER_PROTOCOL,
    PROGRESS,
    RESCORE,
    RUNNING,
    STALE,
    TO_RUN,
    UNREADABLE,
    planned_states,
)  # fmt: skip
from benchmark.trial.external_masks import score_masks
from methods.shared import registry

WEEK = 7 * 24 * 3600


@pytest.fixture
def results(tmp_path):
    """A results folder with one cell, which is done."""
    return records.finished(tmp_path / "results")[0]


@pytest.fixture
def trial():
    return records.cell().trial


def told(results):
    """(state, reason) of the only cell, and whether its values may be shown."""
    [(_, state)] = planned_states(results)
    assert state.state in MEANING and "\n" not in state.reason
    return state.state, state.reason, state.values is not None


def since_version_0(kind):
    today = numerics.current(records.cell().method, records.cell().method_file)
    return f"numerics of {kind}: version 0, now version {getattr(today, kind)}"


def heartbeat(results, trial, text=None, **changes):
    """A trial without a record that was last seen like this."""
    shutil.rmtree(results.record(trial))
    results.running(trial).mkdir(parents=True)
    sign = {"stage": "training", "step": 20, "iterations": 600, "time": time.time()} | changes
    (results.running(trial) / "heartbeat.json").write_text(json.dumps(sign) if text is None else text)


def change_plan(results, **changes):
    planned = json.loads(results.plan_file.read_text())
    for key, value in changes.items():
        planned[key] |= value
    results.plan_file.write_text(json.dumps(planned))


def test_every_state_has_its_place():
    assert set(MEANING) == set(PROGRESS) and len(PROGRESS) == len(MEANING)
    assert {NOT_RUN, RUNNING, INTERRUPTED, RESCORE, UNREADABLE} == TO_RUN


def test_done(results):
    assert told(results) == (DONE, "", True)
    [(cell, state)] = planned_states(results)
    assert (cell, state.record) == (records.cell(), records.record(records.plan(cell), cell))
    assert state.provenance == {"seconds_training": 12.5}
    assert len(state.values) == len(records.case_rows())


# Without a record.


def test_not_run(results, trial):
    shutil.rmtree(results.record(trial))
    assert told(results) == (NOT_RUN, "", False)


def test_a_record_without_trial_yaml_does_not_exist(results, trial):
    (results.record(trial) / "trial.yaml").unlink()
    assert told(results) == (NOT_RUN, "", False)


@pytest.mark.parametrize("stage", ["training", "testing 1/2"])
@pytest.mark.parametrize("age", [0, 100, -100])  # another machine's clock may be ahead
def test_running(results, trial, stage, age):
    heartbeat(results, trial, stage=stage, time=time.time() - age)
    assert told(results) == (RUNNING, f"{stage}, step 20 of 600", False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stage": "interrupted"}, "interrupted, step 20 of 600"),  # stopped just now
        ({"time": time.time() - WEEK}, "training, step 20 of 600"),  # killed
        ({"time": time.time() + WEEK}, "training, step 20 of 600"),
        ({"time": 0}, "training, step 20 of 600"),
        ({"text": '{"step": 2'}, "heartbeat.json: expecting ',' delimiter"),
        ({"text": ""}, "heartbeat.json: expecting value"),
        ({"text": "[]"}, "heartbeat.json input should be"),
        ({"text": '{"step": 2, "iterations": 600, "time": 0}'}, "heartbeat.json lacks stage"),
        ({"time": float("nan")}, "heartbeat.json time: input should be a finite number"),
    ],
    ids=["stopped", "killed a week ago", "of the future", "of 1970", "half", "empty", "a list", "no stage", "nan"],
)
def test_interrupted(results, trial, changes, reason):
    heartbeat(results, trial, **changes)
    state, said, shown = told(results)
    assert (state, shown) == (INTERRUPTED, False) and said.lower().startswith(reason)


# What went wrong.


@pytest.mark.parametrize("outcome", [FAILED, DIVERGED])
def test_failed_and_diverged(results, trial, outcome):
    records.change_record(results, trial, state=outcome, reason="out of\nmemory")
    assert told(results) == (outcome, "out of memory", False)
    (results.record(trial) / "cases.csv").unlink()
    records.change_record(results, trial, reason=None)
    assert told(results) == (outcome, "", False)


UNREADABLE_RECORDS = {
    "no YAML": ("a: [1\nb", "trial.yaml: while parsing"),
    "code": ("!!python/name:os.system", "trial.yaml: could not determine a constructor"),
    "text": ("text", "trial.yaml holds no mapping"),
    "empty": ("", "trial.yaml holds no mapping"),
    "not UTF-8": (b"\xff", "trial.yaml: 'utf-8' codec"),
    "nested too deep": ("[" * 5000, "trial.yaml: "),
    "another format": ({"format": 99}, "trial.yaml is of format 99, which this version does not read"),
    "no format": ({"format": None}, "trial.yaml is of format None"),
    "another trial": ({"trial": "other"}, "trial.yaml is that of other"),
    "unknown state": ({"state": "fine"}, "trial.yaml state: input should be 'done', 'failed' or 'diverged'"),
    "no cell": ({"cell": None}, "trial.yaml cell: "),
    "half a cell": ({"cell": {"trial": "a"}}, "trial.yaml lacks cell.method"),
    "no evaluation": ({"evaluation": None}, "trial.yaml evaluation: "),
    "unknown evaluation": ({"evaluation": {"empty": "zero"}}, "trial.yaml evaluation.empty: input should be"),
    "numerics in words": ({"numerics": {"scoring": "new"}}, "trial.yaml numerics.scoring: input should be"),
}


@pytest.mark.parametrize("name", UNREADABLE_RECORDS)
def test_a_damaged_trial_yaml(results, trial, name):
    content, reason = UNREADABLE_RECORDS[name]
    path = results.record(trial) / "trial.yaml"
    if isinstance(content, dict):
        content = yaml.safe_dump(yaml.safe_load(path.read_text()) | content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    state, said, shown = told(results)
    assert (state, shown) == (UNREADABLE, False) and said.startswith(reason)


@pytest.mark.parametrize("content", [b"{", b"", b"1", b"\xff", b"[" * 100000])
def test_a_damaged_provenance(results, trial, content):
    (results.record(trial) / "provenance.json").write_bytes(content)
    state, reason, shown = told(results)
    assert (state, shown) == (DONE, True) and reason.startswith("times and machine are not known (provenance.json: ")


@pytest.mark.parametrize(
    ("block", "change", "reason"),
    [
        ("training", {"iterations": 500}, "training.iterations is 500, the plan's 600"),
        ("training", {"augmentation": "d4"}, "training.augmentation is d4, the plan's uamt_exact"),
        ("data", {"fingerprint": "0ff"}, "data.fingerprint is 0ff, the plan's f00"),
    ],
)
def test_other_protocol(results, trial, block, change, reason):
    records.change_record(results, trial, **{block: change})
    assert told(results) == (OTHER_PROTOCOL, reason, False)
    records.change_record(results, trial, numerics={"training": 0})
    assert told(results) == (OTHER_PROTOCOL, reason, False), "training it again would not make it this plan's"


def test_all_that_differs_is_said(results, trial):
    records.change_record(results, trial, training={"width": 4, "iterations": 5}, data={"fingerprint": "0ff"})
    assert told(results)[1].split("; ") == [
        "training.iterations is 5, the plan's 600", "training.width is 4, the plan's 2",
        "data.fingerprint is 0ff, the plan's f00",
    ]  # fmt: skip


# Stale.


@pytest.mark.parametrize("kind", ["training", "preparation", "method"])
def test_stale(results, trial, kind):
    records.change_record(results, trial, numerics={kind: 0})
    assert told(results) == (STALE, since_version_0(kind), True)


def test_a_plug_in_is_stale_when_its_source_or_that_of_its_modules_changes(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text("import ramps")
    (tmp_path / "ramps.py").write_text("A = 1")
    results, _ = records.finished(tmp_path / "results", records.cell("mine", method_file=str(plugin)))
    assert told(results) == (DONE, "", True)
    (tmp_path / "ramps.py").write_text("A = 1  # a remark")
    assert told(results) == (DONE, "", True)
    (tmp_path / "ramps.py").write_text("A = 12")
    assert told(results) == (STALE, "source of the plug-in: ramps.py", True)
    plugin.unlink()
    assert told(results) == (STALE, "mine.py is missing here", True)


def test_a_stale_record_under_another_evaluation_is_not_scored_but_trained(results, trial):
    records.change_record(results, trial, numerics={"training": 0}, evaluation={"empty": "exclude"})
    assert told(results) == (STALE, since_version_0("training"), False)


def test_a_stale_record_whose_values_are_damaged_shows_none(results, trial):
    records.change_record(results, trial, numerics={"training": 0})
    (results.record(trial) / "cases.csv").unlink()
    assert told(results) == (STALE, since_version_0("training"), False)


# To be scored again.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stride": [18, 18, 4]}, "evaluation.stride is [18, 18, 4], the plan's [9, 9, 2]"),
        ({"empty": "exclude"}, "evaluation.empty is exclude, the plan's worst"),
    ],
)
def test_another_evaluation(results, trial, change, reason):
    records.change_record(results, trial, evaluation=change)
    assert told(results) == (RESCORE, reason, False)


def test_another_version_of_scoring(results, trial):
    records.change_record(results, trial, numerics={"scoring": 0})
    assert told(results) == (RESCORE, since_version_0("scoring"), True)


def test_another_postprocessing_matters_where_label_files_show_it(results, trial):
    change_plan(results, evaluation={"postprocessing": "none"})
    assert told(results) == (DONE, "", True), "cases.csv holds both"
    (results.record(trial) / "predictions").mkdir()
    (results.record(trial) / "predictions" / "A.npz").write_bytes(b"")
    assert told(results) == (DONE, "", True)
    (results.record(trial) / "predictions" / "A.nii.gz").write_bytes(b"")
    reason = "evaluation.postprocessing is largest_component, the plan's none"
    assert told(results) == (RESCORE, reason, True), "its values are those of the plan all the same"


def rows_changed(change):
    """Damage cases.csv by changing its lines."""

    def damage(path):
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *change(lines)]) + "\n")

    return damage


def appended(text):
    return lambda path: path.write_text(path.read_text() + text)


DAMAGED_CASES = {
    "gone": (lambda path: path.unlink(), "cases.csv: "),
    "empty": (lambda path: path.write_text(""), "cases.csv has no column checkpoint"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff"), "cases.csv: "),
    "half a line": (appended("last,none\n"), "cases.csv: "),
    "half a quote": (appended('last,none,1,"CASE'), "cases.csv: "),
    "other columns": (lambda path: path.write_text("case,class\na,1\n"), "cases.csv has no column"),
    "a column less": (lambda path: path.write_text(path.read_text().replace(",unit,", ",", 1)), "no column unit"),
    "a case less": (rows_changed(lambda lines: [row for row in lines if ",A," not in row]), "1 of the 2 test cases"),
    "a case more": (appended("last,none,1,C,dice,,0.5\n"), "3 of the 2 test cases"),
    "a metric less": (rows_changed(lambda lines: lines[:3] + lines[4:]), "lacks some metrics"),
    "cut": (lambda path: path.write_text(path.read_text()[:-60]), "cases.csv"),
    "one postprocessing": (rows_changed(lambda lines: [row.replace("largest_component", "else") for row in lines]),
                           "lacks some metrics"),
    "a value twice": (rows_changed(lambda lines: [lines[0], *lines]), "some values twice"),
    "words": (rows_changed(lambda lines: [row.replace("0.5", "x") for row in lines]), "cases.csv: "),
    "infinity": (rows_changed(lambda lines: [row.replace("0.5", "inf") for row in lines]), "infinite"),
    "no class": (rows_changed(lambda lines: [row.replace(",1,", ",,") for row in lines]), "cases.csv: "),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED_CASES)
def test_a_damaged_cases_csv(results, trial, name):
    damage, reason = DAMAGED_CASES[name]
    damage(results.record(trial) / "cases.csv")
    state, said, shown = told(results)
    assert (state, shown) == (RESCORE, False) and reason in said


def test_distances_that_are_left_out_and_odd_names_of_cases_are_whole(results, trial):
    path = results.record(trial) / "cases.csv"
    path.write_text(path.read_text().replace(",A,hd95,mm,0.5", ",A,hd95,mm,").replace(",A,", ",NA,"))
    assert told(results) == (DONE, "", True)
    [(_, state)] = planned_states(results)
    assert {(value.case, value.metric, value.unit) for value in state.values if value.value != value.value} == {
        ("NA", "hd95", "mm")
    }


def test_all_reasons_to_score_again_are_said(results, trial):
    records.change_record(results, trial, evaluation={"empty": "exclude"}, numerics={"scoring": 0})
    assert told(results)[1].split("; ") == [
        "evaluation.empty is exclude, the plan's worst", since_version_0("scoring")
    ]  # fmt: skip


def test_a_broken_record_costs_no_other_cell(tmp_path):
    results, planned = records.finished(tmp_path, *(records.cell(seed=seed) for seed in (1, 2)))
    (results.record(planned.cells[0].trial) / "trial.yaml").write_text("")
    assert [state.state for _, state in planned_states(results)] == [UNREADABLE, DONE]


# Renaming, moving or commenting code leaves records done; raising a version makes stale what it has made.

EXTERNAL, PLUGIN = "external", "mine"
RAISED = 1000  # a version


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Records of two built-in methods and a plug-in, each trained a few steps, and masks of another tool."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        registry.names()
        patch.setattr(registry, "_METHODS", dict(registry._METHODS))
        plugin = tiny.write_plugin(folder, PLUGIN)
        registry.load_plugin(plugin)
        planned = tiny.experiment(methods=["dtml", PLUGIN], plugins=[str(plugin)])
        results = ResultsFolder(tiny.finish(planned, folder / "results"))
        plan = make_plan(planned, results)
        shape = plan.dataset.native("test-000").image.shape
        write(folder / "masks" / "test-000.nii.gz", np.zeros(shape, np.uint8))
        score_masks(folder / "masks", "Theirs", 2, 2, 0, plan.dataset, results)
        write_plan(plan)
    return results


def states_of(results):
    """{method: the states of its cells}, and that values are shown of all of them."""
    found = {}
    for cell, state in planned_states(results):
        found.setdefault(cell.method, set()).add(state.state)
        assert state.values is not None
    assert found.keys() == {"vnet", "dtml", PLUGIN, EXTERNAL}
    return found


def expected(others=DONE, **states):
    return {method: {states.get(method, others)} for method in ("vnet", "dtml", PLUGIN, EXTERNAL)}


def test_renaming_moving_or_commenting_leaves_records_done(trained, monkeypatch):
    assert states_of(trained) == expected()
    for module in (source_code, numerics):  # the source of every file is another one now
        monkeypatch.setattr(module, "source_hash", lambda path: "changed")
    assert states_of(trained) == expected(mine=STALE), "only a plug-in is compared by its source"


@pytest.mark.parametrize("kind", ["TRAINING", "PREPARATION"])
def test_a_higher_version_of_training_or_preparation_makes_stale_what_was_trained(trained, monkeypatch, kind):
    monkeypatch.setattr(numerics, kind, RAISED)
    assert states_of(trained) == expected(STALE, external=DONE)


def test_a_higher_version_of_scoring_scores_everything_again(trained, monkeypatch):
    monkeypatch.setattr(numerics, "SCORING", RAISED)
    assert states_of(trained) == expected(RESCORE)


@pytest.mark.parametrize("raised", ["vnet", "dtml"])
def test_a_higher_version_of_a_method_makes_its_cells_stale_and_no_others(trained, monkeypatch, raised):
    before = numerics._version_in
    monkeypatch.setattr(
        numerics,
        "_version_in",
        lambda path, modified, method: RAISED if method == raised else before(path, modified, method),
    )
    assert states_of(trained) == expected(**{raised: STALE})


def test_signs_of_life_count_for_so_many_seconds(results, trial, monkeypatch):
    heartbeat(results, trial, time=time.time() - states.SILENCE + 10)
    assert told(results)[0] == RUNNING
    monkeypatch.setattr(states, "SILENCE", states.SILENCE - 20)
    assert told(results)[0] == INTERRUPTED
