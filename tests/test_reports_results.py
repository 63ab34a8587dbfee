import json

import pytest
import yaml
from helpers.results_folder import CASES, cell, plan, values, write_heartbeat, write_plan, write_record

from benchmark.records.files import ResultsError
from reports.results import read_results


def state(folder):
    cells = read_results(folder).cells
    return tuple(cells.loc[0, ["state", "reason"]])


@pytest.fixture
def planned():
    return plan([cell("a")])


@pytest.fixture
def folder(tmp_path, planned):
    return write_plan(tmp_path / "results", planned)


def test_a_folder_with_only_a_plan(folder):
    results = read_results(folder)
    assert state(folder) == ("not run", "")
    assert results.cases.empty and results.provenance.empty and results.unplanned == []


def test_a_done_record(folder, planned):
    write_record(folder, planned, planned["cells"][0])
    results = read_results(folder)
    assert state(folder) == ("done", "")
    assert len(results.cases) == 2 * len(CASES) * 14
    assert results.provenance["seconds_training"].to_dict() == {planned["cells"][0]["trial"]: 12.5}


@pytest.mark.parametrize("outcome", ["failed", "diverged"])
def test_failed_and_diverged_records_carry_their_reason_in_one_line(folder, planned, outcome):
    write_record(folder, planned, planned["cells"][0], state=outcome, reason="out of\nmemory")
    assert state(folder) == (outcome, "out of memory")


def test_running(folder, planned):
    write_heartbeat(folder, planned["cells"][0], stage="training", step=20, iterations=600)
    assert state(folder) == ("running", "training, step 20 of 600")


def test_interrupted(folder, planned):
    write_heartbeat(folder, planned["cells"][0], stage="training", step=20, iterations=600, time=0)
    assert state(folder) == ("interrupted", "training, step 20 of 600")


def test_a_damaged_heartbeat(folder, planned):
    write_heartbeat(folder, planned["cells"][0], '{"step": 2')
    found, reason = state(folder)
    assert found == "interrupted" and reason.startswith("heartbeat.json: ")


def test_a_record_without_trial_yaml_does_not_exist(folder, planned):
    (write_record(folder, planned, planned["cells"][0]) / "trial.yaml").unlink()
    assert state(folder) == ("not run", "")


@pytest.mark.parametrize(
    "block, change, expected, reason",
    [
        ("training", {"iterations": 500}, "other protocol", "training.iterations is 500, the plan's 600"),
        ("training", {"augmentation": "d4"}, "other protocol", "training.augmentation is d4, the plan's uamt_exact"),
        ("evaluation", {"stride": [18, 18, 4]}, "rescore", "evaluation.stride is [18, 18, 4], the plan's [9, 9, 2]"),
        ("data", {"fingerprint": "0ff"}, "other protocol", "data.fingerprint is 0ff, the plan's f00"),
    ],
)
def test_other_protocols_are_left_out(folder, planned, block, change, expected, reason):
    write_record(folder, planned, planned["cells"][0], **{block: planned[block] | change})
    assert state(folder) == (expected, reason)
    assert read_results(folder).cases.empty


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda record: (record / "trial.yaml").write_text("a: [1\nb"), "trial.yaml: while parsing"),
        (lambda record: (record / "trial.yaml").write_text("!!python/name:os.system"), "could not determine"),
        (lambda record: (record / "trial.yaml").write_text("text"), "holds no mapping"),
        (lambda record: change_trial(record, format=99), "format 99, which this version does not read"),
        (lambda record: change_trial(record, trial="other"), "is that of other"),
        (lambda record: change_trial(record, state="fine"), "state: input should be"),
        (lambda record: (record / "cases.csv").unlink(), "cases.csv: "),
        (lambda record: (record / "cases.csv").write_text(""), "cases.csv has no column checkpoint"),
        (lambda record: (record / "cases.csv").write_bytes(b"\xff"), "cases.csv: "),
        (lambda record: append(record / "cases.csv", "last,none\n"), "cases.csv: "),
        (lambda record: append(record / "cases.csv", 'last,none,1,"CASE'), "cases.csv: "),
        (lambda record: (record / "cases.csv").write_text("case,class\na,1\n"), "no column"),
        (lambda record: change_cases(record, lambda table: table.drop(columns="unit")), "no column unit"),
        (lambda record: change_cases(record, lambda table: table[table["case"] != CASES[0]]), "5 of the 6 test cases"),
        (lambda record: change_cases(record, lambda table: table.drop(index=3)), "lacks some metrics"),
        (lambda record: change_cases(record, lambda table: table.replace("largest_component", "else")), "lacks some"),
        (lambda record: change_cases(record, lambda table: table.loc[[0, *table.index]]), "twice"),
        (lambda record: change_cases(record, lambda table: table.assign(value="x")), "cases.csv: "),
        (lambda record: change_cases(record, lambda table: table.assign(value="inf")), "infinite"),
    ],
)
def test_a_broken_record_is_unreadable_and_the_others_are_read(tmp_path, damage, reason):
    planned = plan([cell("a"), cell("b")])
    folder = write_plan(tmp_path, planned)
    broken, _ = (write_record(folder, planned, planned_cell) for planned_cell in planned["cells"])
    damage(broken)
    results = read_results(folder)
    # Weights are kept where the scores alone are damaged.
    assert list(results.cells["state"]) == ["rescore" if "cases.csv" in reason_of(results) else "unreadable", "done"]
    assert reason in reason_of(results) and "\n" not in reason_of(results)
    assert set(results.cases["trial"]) == {planned["cells"][1]["trial"]}


def reason_of(results):
    return results.cells["reason"][0]


def append(path, text):
    path.write_text(path.read_text() + text)


def change_trial(record, **changes):
    path = record / "trial.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def change_cases(record, change):
    table = values(plan([]), seed=0)
    change(table).to_csv(record / "cases.csv", index=False)


def test_left_out_distances_and_odd_case_names_are_read(folder, planned):
    table = values(planned, seed=0).replace(CASES[0], "NA")
    left_out = (table["case"] == "NA") & (table["metric"] == "hd95")
    table.loc[left_out, "value"] = float("nan")
    write_record(folder, planned, planned["cells"][0], table)
    cases = read_results(folder).cases
    assert cases.loc[cases["value"].isna(), "case"].unique().tolist() == ["NA"]


def test_records_of_no_planned_cell_are_named(folder, planned):
    stray = cell("stray")
    write_record(folder, planned, stray)
    assert read_results(folder).unplanned == [stray["trial"]]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "has no plan.json"),
        ("{", "cannot be read"),
        ("[]", "holds no mapping"),
        (json.dumps(plan([]) | {"format": 99}), "is of format 99"),
        (json.dumps({"format": 1, "experiment": "x"}), "lacks title"),
        (json.dumps(plan([], evaluation={"empty": "zero"})), "evaluation.empty: input should be"),
        (json.dumps(plan([{"trial": "a"}])), "lacks cells.0.method"),
        (json.dumps(plan([cell("a"), cell("a")])), "plans a-8-1-first more than once"),
    ],
)
def test_folders_that_cannot_be_reported_on(tmp_path, text, message):
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ResultsError, match=message) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResultsError, match="does not exist"):
        read_results(tmp_path / "nowhere")
