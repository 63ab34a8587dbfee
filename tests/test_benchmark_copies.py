"""Copies of records on a second store: a failing one costs no trial, and what arrives is a whole results folder."""

import json
import shutil

import fsspec
import numpy as np
import pytest
import yaml
from helpers import tiny
from helpers.scan_folder import write

from benchmark.records import remote_copies
from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder
from benchmark.trial.external_masks import score_masks
from data.cache import prepare

pytestmark = pytest.mark.usefixtures("no_ray", "no_drawing")


def config_with(tmp_path, uri, **changes):
    return tiny.write_experiment(
        tmp_path, methods=["vnet"], baseline=None, training={"iterations": 1}, execution={"copy_to": uri}, **changes
    )


def files_of(folder):
    """{path in the folder: bytes} of what makes a results folder, reports and working files aside."""
    kept = ("records", "cases", "plan.json", "experiment.yaml")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] in kept]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_store_that_fails_is_told_and_costs_neither_trial_nor_report(tmp_path, command):
    (tmp_path / "a_file").write_text("")
    config, folder = config_with(tmp_path, f"file://{tmp_path}/a_file/copy"), tmp_path / "results"
    code, out = command("run", config, "--results", folder)[:2]
    assert code == 1 and "done, but records cannot be copied to" in out and "not copied: " in out
    assert "--retry-failed" not in out and (folder / "report" / "index.html").exists()
    assert "1 done; 0 to run" in command("run", config, "--results", folder)[1]


@pytest.mark.slow
def test_the_copy_is_a_whole_results_folder_after_scoring_again_too(tmp_path, command):
    config, folder = config_with(tmp_path, f"file://{tmp_path}/copy"), tmp_path / "results"
    assert command("run", config, "--results", folder)[0] == 0
    first = files_of(tmp_path / "copy")
    assert first == files_of(folder) and any(name.startswith("cases/") for name in first)
    assert command("evaluate", folder, "--set", "evaluation.empty=exclude")[0] == 0
    assert files_of(tmp_path / "copy") == files_of(folder) != first
    shutil.rmtree(folder)
    overrides = ("--set", "evaluation.empty=exclude")
    assert "1 records fetched" in command("run", config, "--results", folder, *overrides)[1]
    assert files_of(folder) == files_of(tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("*.partial"))


def test_a_copy_that_differs_is_sent_again(tmp_path):
    results = ResultsFolder(tiny.finished(tmp_path / "results", methods=["vnet"], baseline=None))
    [trial] = [path.name for path in (results.folder / "records").iterdir()]
    uri = f"file://{tmp_path}/copy"
    remote_copies.send_missing(results, [trial], uri)
    for torn in ("format: 1\n", ""):  # as a store without renaming leaves it when its process is killed
        (tmp_path / "copy/records" / trial / "trial.yaml").write_text(torn)
        remote_copies.send_missing(results, [trial], uri)
        assert files_of(tmp_path / "copy") == files_of(results.folder)


def test_a_record_that_was_finished_here_is_not_replaced_by_its_copy(tmp_path):
    results = ResultsFolder(tiny.finished(tmp_path / "results", methods=["vnet"], baseline=None))
    [trial] = [path.name for path in (results.folder / "records").iterdir()]
    uri = f"file://{tmp_path}/copy"
    remote_copies.send_missing(results, [trial], uri)
    newer = results.unpublished(trial)  # killed between finishing it and moving it to its place
    shutil.copytree(results.record(trial), newer, dirs_exist_ok=True)
    (newer / "provenance.json").write_text(json.dumps({"newer": True}))
    shutil.rmtree(results.record(trial))
    assert remote_copies.fetch(results, [trial], uri) == []
    assert json.loads((results.record(trial) / "provenance.json").read_text()) == {"newer": True}


def test_what_tells_of_a_record_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    results = ResultsFolder(tiny.finished(tmp_path / "results", methods=["vnet"], baseline=None))
    [trial] = [path.name for path in (results.folder / "records").iterdir()]
    store = fsspec.filesystem("file")

    def torn(self, source, target, **options):
        with open(source, "rb") as file, open(target, "wb") as half:
            half.write(file.read(20))
        raise KeyboardInterrupt

    put = type(store).put_file
    monkeypatch.setattr(
        type(store), "put_file", lambda self, source, *rest, **more: (torn if source.endswith("trial.yaml") else put)(
            self, source, *rest, **more)
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        remote_copies.send(results, trial, f"file://{tmp_path}/copy")
    copied = {path.name for path in (tmp_path / "copy/records" / trial).iterdir()}
    assert "cases.csv" in copied and "trial.yaml" not in copied


def test_masks_from_elsewhere_that_are_replaced_are_sent_again(tmp_path):
    """Their record differs in the masks alone."""
    planned = tiny.experiment(methods=["vnet"], baseline=None)
    results, records = ResultsFolder(tiny.finish(planned, tmp_path / "results")), []
    dataset = prepare(planned.data)
    shape = dataset.native("test-000").image.shape
    for value in (0, 1):
        write(tmp_path / "masks/test-000.nii.gz", np.full(shape, value, np.uint8))
        trial = score_masks(tmp_path / "masks", "Theirs", 2, 0, 0, dataset, results)
        records.append(yaml.safe_load((results.record(trial) / "trial.yaml").read_text()))
    assert records[0]["masks"] != records[1]["masks"]
    assert {key for key in records[0] if records[0][key] != records[1][key]} == {"masks"}


def test_any_error_of_a_store_is_one_line(tmp_path, monkeypatch):
    class NoCredentials(Exception):
        """As botocore has it: no OSError."""

    def refuse(*arguments, **options):
        raise NoCredentials("Unable to locate\ncredentials")

    monkeypatch.setattr(type(fsspec.filesystem("file")), "exists", refuse)
    with pytest.raises(ResultsError, match=r"cannot be read \(NoCredentials: Unable to locate credentials\)"):
        remote_copies.fetch(tiny.new_results(tmp_path), ["t"], f"file://{tmp_path}/copy")
