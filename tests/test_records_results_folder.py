"""What lies on disk is whole or not there, whatever was stopped when."""

import csv
import json
import math

import numpy as np
import pytest
from helpers import records, tiny

from benchmark.records.arrays import read_masks, write_case, write_prediction
from benchmark.records.files import ResultsError, csv_text, write_atomically, write_text
from benchmark.records.models import FORMAT
from benchmark.records.results_folder import ResultsFolder


@pytest.fixture
def results(tmp_path):
    return tiny.new_results(tmp_path / "results")


def error_of(call):
    with pytest.raises(ResultsError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


CELL = records.cell(trial="t")
PLAN = records.plan(CELL)


def put_together(results, state="done", mark=""):
    folder = results.unpublished("t")
    (folder / "mark").write_text(mark)
    results.write_record(folder, records.record(PLAN, CELL, state=state))
    return folder


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def half(partial):
        partial.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write(partial):
        assert partial.parent == tmp_path, "a rename is atomic within one folder"
        partial.write_text("new")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "new"


def test_publishing_moves_a_record_and_clears_what_is_no_longer_needed(results):
    put_together(results, mark="first")
    (results.running("t") / "checkpoint-00000001.pt").write_text("")
    assert results.publish("t")
    assert (results.record("t") / "mark").read_text() == "first"
    assert results.read_record("t").state == "done"
    assert not results.running("t").exists()
    assert not results.publish("t"), "there is nothing left to publish"
    assert results.read_record("t").state == "done"


def test_publishing_replaces_an_older_record_as_a_whole(results):
    (put_together(results, mark="first") / "only in the first").write_text("")
    results.publish("t")
    put_together(results, mark="second")
    assert results.publish("t")
    assert sorted(path.name for path in results.record("t").iterdir()) == ["mark", "trial.yaml"]
    assert (results.record("t") / "mark").read_text() == "second"


def test_a_record_that_is_not_finished_is_not_published(results):
    put_together(results, mark="first")
    results.publish("t")
    (put_together(results, mark="half") / "trial.yaml").unlink()
    assert not results.publish("t")
    assert (results.record("t") / "mark").read_text() == "first"


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_publishing_goes_on_after_a_stop_at_any_rename(results, monkeypatch, stop_at):
    # Renames: the older record aside, then the new one to its place.
    put_together(results, mark="first")
    results.publish("t")
    put_together(results, mark="second")
    rename, calls = type(results.folder).rename, []

    def stopping(path, target):
        calls.append(target)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(results.folder), "rename", stopping)
        if stop_at < 3:
            with pytest.raises(KeyboardInterrupt):
                results.publish("t")
        else:
            results.publish("t")
            assert len(calls) == 2, "this test should stop at every rename there is"
    results.publish("t")
    assert results.read_record("t").state == "done"
    assert (results.record("t") / "mark").read_text() == "second"
    assert not results.publish("t") and not results.running("t").exists()


def test_a_failed_trial_keeps_its_checkpoints(results):
    put_together(results, state="failed")
    (results.running("t") / "checkpoint-00000001.pt").write_text("")
    assert results.publish("t")
    assert results.read_record("t").state == "failed"
    assert (results.running("t") / "checkpoint-00000001.pt").exists()


def test_a_new_record_begins_with_an_empty_folder(results):
    put_together(results)
    assert list(results.unpublished("t").iterdir()) == []


def test_a_record_comes_back_as_it_was_written(results):
    put_together(results)
    results.publish("t")
    assert results.read_record("t") == results.finished_record("t") == records.record(PLAN, CELL)
    assert results.has_record("t")


def test_a_record_that_is_not_there_is_none(results):
    assert results.read_record("never ran") is None and results.finished_record("never ran") is None
    put_together(results)
    results.publish("t")
    (results.record("t") / "trial.yaml").unlink()
    assert results.read_record("t") is None and not results.has_record("t")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "trial.yaml holds no mapping"),
        ("a: [", "trial.yaml: while parsing"),
        ("- list", "trial.yaml holds no mapping"),
        (f"format: {FORMAT + 1}\nstate: done\n", f"trial.yaml is of format {FORMAT + 1}, which this version does not"),
        (f"format: {FORMAT}\nstate: done\n", "trial.yaml lacks numerics"),
        ("\x00", "trial.yaml: unacceptable character"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_line_and_counts_as_none(results, content, said):
    put_together(results)
    results.publish("t")
    (results.record("t") / "trial.yaml").write_text(content)
    assert error_of(lambda: results.read_record("t")).startswith(said)
    assert results.finished_record("t") is None and not results.has_record("t")


def test_a_record_in_the_place_of_another_is_not_read(results):
    put_together(results)
    results.publish("t")
    results.record("t").rename(results.record("u"))
    assert error_of(lambda: results.read_record("u")) == "trial.yaml is that of t"
    results.write_record(results.record("u"), records.record(PLAN, CELL, trial="u"))
    assert error_of(lambda: results.read_record("u")) == "trial.yaml is that of t", "its cell is"


def test_a_record_of_a_failed_trial_is_one_but_no_finished_one(results):
    put_together(results, state="failed")
    results.publish("t")
    assert results.has_record("t") and results.finished_record("t") is None


def test_provenance(results):
    assert results.read_provenance("t") == {}
    folder = put_together(results)
    (folder / "provenance.json").write_text('{"host": "here"}')
    results.publish("t")
    assert results.read_provenance("t") == {"host": "here"}
    for damaged in ("{", "1", "\xff"):
        (results.record("t") / "provenance.json").write_bytes(damaged.encode("latin-1"))
        assert error_of(lambda: results.read_provenance("t")).startswith("provenance.json: ")


@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 1, 1), (16, 8, 4)])
@pytest.mark.parametrize("classes", [1, 3])
def test_predictions_come_back_as_they_were(tmp_path, shape, classes):
    labels = np.random.default_rng(0).integers(0, classes + 1, shape).astype(np.uint8)
    write_prediction(tmp_path / "p.npz", labels, classes)
    masks = read_masks(tmp_path / "p.npz")
    assert masks.dtype == bool and masks.shape == (classes, *shape)
    for value in range(1, classes + 1):
        assert np.array_equal(masks[value - 1], labels == value)


def test_predictions_are_packed_to_bits(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (64, 64, 16)).astype(np.uint8)  # cannot be compressed
    write_prediction(tmp_path / "p.npz", labels, 1)
    assert (tmp_path / "p.npz").stat().st_size < labels.size / 8 + 1500


def test_cases_are_stored_once_for_all_trials(results):
    image = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    label = (image > 1).astype(np.uint8)
    write_case(results, "A", image, label, "content")
    with np.load(results.folder / "cases" / "A.npz") as stored:
        assert stored["image"].dtype == stored["label"].dtype == np.uint8
        assert np.array_equal(stored["label"], label)
        assert stored["image"].min() == 0 and stored["image"].max() == 255
        low, high = np.percentile(image, (0.5, 99.5))
        inner = (image > low) & (image < high)
        grey = (image[inner] - low) / (high - low) * 255
        assert np.abs(stored["image"][inner] - grey).max() <= 1
    before = (results.folder / "cases" / "A.npz").read_bytes()
    write_case(results, "A", image + 1, 1 - label, "content")
    assert (results.folder / "cases" / "A.npz").read_bytes() == before
    write_case(results, "A", image, 1 - label, "another case of this name")
    with np.load(results.folder / "cases" / "A.npz") as stored:
        assert np.array_equal(stored["label"], 1 - label)


def test_a_constant_image_can_be_stored(results):
    write_case(results, "A", np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), "content")
    assert (results.folder / "cases" / "A.npz").exists()


@pytest.mark.parametrize("name", ["results", "results/running", "results/records"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file stands where the folder should be")
    message = error_of(ResultsFolder(tmp_path / "results").create)
    assert message.startswith(f"results folder {tmp_path / 'results'} cannot be written")


def test_creating_a_folder_again_keeps_what_is_there(results):
    put_together(results)
    results.publish("t")
    results.create()
    assert results.read_record("t").state == "done"


def test_a_plan_that_is_missing_damaged_or_of_another_format(results):
    assert f"{results.folder} is no results folder" in error_of(results.read_plan)
    assert "nowhere does not exist" in error_of(ResultsFolder(results.folder / "nowhere").read_plan)
    written = json.loads(records.plan(CELL).model_dump_json())
    for content, expected in (
        ("{", "cannot be read"), ("[]", "`run` the experiment again"),
        ('{"format": 99}', "of format 99: use the version"),
        ("{}", "of format None"), (json.dumps(written | {"cells": [{"trial": "a"}]}), "lacks cells.0.method: `run`"),
        (json.dumps(written | {"cells": written["cells"] * 2}), "plans t more than once"),
        (json.dumps(written | {"evaluation": {"empty": "zero"}}), "evaluation.empty: input should be 'worst' or"),
    ):  # fmt: skip
        results.plan_file.write_text(content)
        message = error_of(results.read_plan)
        assert str(results.plan_file) in message and expected in message
    results.write_plan(records.plan())
    assert results.read_plan() == records.plan()
    results.write_plan(PLAN)
    assert results.read_plan() == PLAN


@pytest.mark.parametrize("trial", ["../x", "/x", "a/b", "..", ".", "", "a\0b", "a\\b", "a\n"])
def test_a_trial_whose_name_would_lead_out_of_the_folder_is_in_no_plan(results, trial):
    written = json.loads(PLAN.model_dump_json())
    written["cells"][0]["trial"] = trial
    results.plan_file.write_text(json.dumps(written))
    assert "cells.0.trial: string should match pattern" in error_of(results.read_plan)


def test_a_plan_of_an_earlier_version_is_read(results):
    written = json.loads(PLAN.model_dump_json())
    written["cells"][0] |= {"method": "foreign", "fidelity": "foreign"}
    results.plan_file.write_text(json.dumps(written | {"format": 1}))
    [cell] = results.read_plan().cells
    assert (cell.method, cell.fidelity) == ("external", "external"), "as masks of another tool are called now"


def test_keys_of_a_newer_version_are_kept(results):
    results.plan_file.write_text(json.dumps(json.loads(PLAN.model_dump_json()) | {"remark": "kept"}))
    results.write_plan(results.read_plan())
    assert json.loads(results.plan_file.read_text())["remark"] == "kept"


@pytest.mark.parametrize("what", ["plan", "record"])
@pytest.mark.parametrize(("number", "refused"), [(1, False), (FORMAT, False), (0, True), (FORMAT + 1, True)])
def test_only_formats_that_are_known_may_be_written_over(results, what, number, refused):
    put_together(results)
    results.publish("t")
    results.write_plan(PLAN)
    path = results.plan_file if what == "plan" else results.record("t") / "trial.yaml"
    mark = f'"format": {FORMAT}' if what == "plan" else f"format: {FORMAT}"
    assert mark in path.read_text()
    path.write_text(path.read_text().replace(mark, mark.replace(str(FORMAT), str(number))))
    if refused:
        assert f"{path} is of format {number}: use the version" in error_of(results.check_format)
    else:
        results.check_format()


def test_folders_are_absolute_wherever_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = ResultsFolder("here")
    monkeypatch.chdir("/")
    assert results.record("t") == tmp_path / "here" / "records" / "t"


def test_a_heartbeat_that_cannot_be_read_is_one_line_and_tells_no_step(results):
    assert results.heartbeat("t") is None and results.last_step("t") == 0
    results.running("t").mkdir()
    results.write_heartbeat("t", {"stage": "training", "step": 3, "iterations": 9})
    assert results.heartbeat("t").step == results.last_step("t") == 3
    for damaged in ('{"step": ', "[]", '{"step": 3}', '{"stage": "x", "step": 3, "iterations": 9, "time": NaN}'):
        (results.running("t") / "heartbeat.json").write_text(damaged)
        assert error_of(lambda: results.heartbeat("t")).startswith("heartbeat.json")
        assert results.last_step("t") == 0


def test_tables_keep_all_columns_and_leave_undefined_values_empty():
    text = csv_text([{"a": 1, "b": math.nan}, {"a": None, "c": 0.1 + 0.2}])
    read = list(csv.DictReader(text.splitlines()))
    assert read == [{"a": "1", "b": "", "c": ""}, {"a": "", "b": "", "c": repr(0.1 + 0.2)}]
