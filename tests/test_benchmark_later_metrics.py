"""Records that were made before a metric came: they stay done, and `evaluate` adds it from stored predictions."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
from helpers import tiny

from benchmark.records.arrays import write_prediction
from benchmark.records.case_values import LATER, METRICS, lacking_metrics, read_case_values
from benchmark.records.files import ResultsError, csv_text
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE, planned_states
from benchmark.trial import external_masks
from benchmark.trial.later_metrics import add_later_metrics, add_to_all
from data.cache import prepare

CHANGES = {"methods": ["vnet"], "baseline": None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny.finished(tmp_path_factory.mktemp("made"), **CHANGES)


@pytest.fixture
def results(made, tmp_path):
    """A finished folder whose record lacks the later metrics, as earlier versions wrote it; and the full text."""
    folder = tmp_path / "results"
    shutil.copytree(made, folder)
    return ResultsFolder(folder)


def forget(results, metrics=LATER):
    """Make the record one that lacks these metrics. Returns its path, what it held and what it holds."""
    [path] = results.folder.glob("records/*/cases.csv")
    full = path.read_text()
    rows = [row for row in csv.DictReader(full.splitlines()) if (row["metric"], row["unit"]) not in metrics]
    path.write_text(csv_text(rows))
    return path, full, path.read_text()


def dataset():
    return prepare(tiny.experiment(**CHANGES).data)


def test_a_record_without_the_later_metrics_stays_done(results):
    path, full, without = forget(results)
    [(_, state)] = planned_states(results)
    assert state.state == DONE and state.reason == ""
    assert lacking_metrics(state.values) == set(LATER)
    assert {(value.metric, value.unit) for value in state.values} == set(METRICS) - set(LATER)


@pytest.mark.parametrize("dropped", LATER)
def test_a_metric_that_only_some_cases_have_is_damage(results, dropped):
    [path] = results.folder.glob("records/*/cases.csv")
    lines = path.read_text().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if f",{dropped[0]},{dropped[1]}," in line)
    path.write_text("".join(lines[:place] + lines[place + 1 :]))
    with pytest.raises(ResultsError, match="lacks some metrics of some cases"):
        read_case_values(path, 1, 1)


@pytest.mark.parametrize("missing", [LATER, LATER[:1], LATER[2:]])
def test_they_are_added_and_the_rest_stays_to_the_last_digit(results, missing):
    path, full, without = forget(results, missing)
    weights = path.with_name("weights.pt").stat().st_mtime_ns
    assert add_later_metrics(results, path.parent.name, dataset())
    assert path.read_text().startswith(without)
    assert sorted(path.read_text().splitlines()) == sorted(full.splitlines())
    assert path.with_name("weights.pt").stat().st_mtime_ns == weights
    facts = json.loads(path.with_name("provenance.json").read_text())
    assert facts["metrics_added"]["metrics"] == sorted({metric for metric, _ in missing})
    assert not add_later_metrics(results, path.parent.name, dataset()), "there is nothing left to add"


def test_predictions_of_another_training_are_refused(results):
    path, _, without = forget(results)
    [stored] = path.parent.glob("predictions/*.npz")
    shape = dataset().native(stored.stem).label.shape
    cube = np.zeros(shape, np.uint8)
    cube[2:5, 2:5, 2:5] = 1
    for write, words in (
        (lambda: write_prediction(stored, cube, 1), "is not the prediction that cases.csv was computed from"),
        (lambda: write_prediction(stored, cube[1:], 1), "another shape"),
        (lambda: stored.write_bytes(b"PK"), "cannot be read"),
        (stored.unlink, "cannot be read"),
    ):
        write()
        added, [reason] = add_to_all(results, [path.parent.name], dataset())
        assert added == [] and words in reason and path.read_text() == without


@pytest.mark.slow
@pytest.mark.usefixtures("no_drawing", "no_ray")
def test_evaluate_adds_them_without_any_network(command, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    config = tiny.write_experiment(
        tmp_path, **CHANGES, training={"iterations": 1}, execution={"copy_to": f"file://{copy}"}
    )
    folder = tmp_path / "results"
    status, _, error = command("run", config, "--results", folder)
    assert status == 0, error
    path, full, _ = forget(ResultsFolder(folder))
    scheduler = sys.modules["benchmark.cluster.scheduler"]
    monkeypatch.setattr(scheduler, "run_trials", lambda *_: pytest.fail("a trial was run"))
    status, out, _ = command("evaluate", folder)
    assert status == 0 and "0 of 1 cells to score again" in out and "1 records got metrics that they lacked" in out
    assert sorted(path.read_text().splitlines()) == sorted(full.splitlines())
    assert (copy / path.relative_to(folder)).read_text() == path.read_text(), "the copy has them, too"
    assert "records got" not in command("evaluate", folder)[1]


def test_masks_of_another_tool_get_them_too(results):
    masks = results.folder / "masks"
    masks.mkdir()
    [case_id] = dataset().test_ids
    label = np.asarray(dataset().native(case_id).label)
    SimpleITK = pytest.importorskip("SimpleITK")
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(label.T))
    SimpleITK.WriteImage(image, str(masks / f"{case_id}.nrrd"))
    trial = external_masks.score_masks(masks, "Other", 2, 0, 1, dataset(), results)
    cases = results.record(trial) / "cases.csv"
    full = cases.read_text()
    rows = [row for row in csv.DictReader(full.splitlines()) if (row["metric"], row["unit"]) not in LATER]
    cases.write_text(csv_text(rows))
    assert add_to_all(results, [trial], dataset()) == ([trial], [])
    assert sorted(cases.read_text().splitlines()) == sorted(full.splitlines())
