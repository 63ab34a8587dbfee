"""`data fetch`, `data verify` and `data info` as a user calls them."""

import json
import shutil

import matplotlib.image
import numpy as np
import pytest
import yaml
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.scan_folder import blob, scan, write, write_folder

from benchmark.planning.experiment_file import load_experiment
from benchmark.planning.plan import make_plan
from benchmark.records.results_folder import ResultsFolder
from data.la import FILE, IMAGES


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder_of_one(tmp_path):
    """A left-atrium folder with one case, which is not the one that was distributed."""
    file = tmp_path / "la" / IMAGES / "06SR5RBREL16DQ6M8LWS" / FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    return tmp_path / "la"


def test_verify_names_what_differs_and_what_is_missing(folder_of_one, command):  # noqa: F811
    status, said, errors = command("data", "verify", folder_of_one)
    assert status == 1 and not errors
    assert "06SR5RBREL16DQ6M8LWS: its sha256 is" in said and "missing" in said
    assert "… and 90 more" in said and "0 of 100 cases" in said


def test_fetch_takes_from_a_folder_what_is_right_in_it(folder_of_one, tmp_path, command):  # noqa: F811
    status, said, _ = command("data", "fetch", "la", "--from", folder_of_one / IMAGES, "--to", tmp_path / "mine")
    assert status == 1
    assert "100 of 100 cases could not be fetched" in said
    assert not list((tmp_path / "mine").rglob(FILE))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("fetch", "la", "--from", "nowhere"), "no such folder"),
        (("fetch", "prostate"), "prostate"),
        (("info", "nowhere.yaml"), "does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments, said, command):  # noqa: F811
    assert said in one_line_error(command("data", *arguments))


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "some.yaml").write_text(yaml.safe_dump({
        "name": "some", "methods": ["vnet"], "labelled": [2],
        "data": {"source": "phantom", "train": 3, "test": 2, "size": [32, 32, 24]},
    }))  # fmt: skip
    return "some.yaml"


@pytest.mark.parametrize("picture", ["nowhere/data.png", "data.unknown"])
def test_a_picture_that_cannot_be_written_is_refused_in_one_line(picture, experiment, command):  # noqa: F811
    assert f"--picture {picture}" in one_line_error(command("data", "info", experiment, "--picture", picture))


def test_info_lists_every_case_and_draws_a_picture(experiment, tmp_path, command):  # noqa: F811
    status, said, errors = command("data", "info", experiment)
    assert status == 0, errors
    for case in ("train-000", "train-001", "train-002", "test-000", "test-001"):
        assert case in said
    words = " ".join(said.split())
    assert "3 training cases, 3 of them with a label, and 2 test cases" in words and "1.25x1.25x1.25 mm" in words
    assert "unlabelled" not in said
    assert all(len(line) <= 80 for line in said.splitlines() if "training cases" not in line)
    picture = matplotlib.image.imread(tmp_path / "data.png")
    assert picture.shape[0] > 200 and picture.std() > 0.05


def hounsfield(number):
    return np.rint(-1000 + 1200.0 * blob() + 30 * scan(number)).astype(np.float32)


FOLDERS = {
    "MR": (scan, [(1, 1.5, 2)] * 4, {}, "zscore", "are no Hounsfield units"),
    "MR by name": (hounsfield, [(1, 1.5, 2)] * 4, {"channel_names": {"0": "MRI"}}, "zscore", "dataset.json says MRI"),
    "CT": (hounsfield, [(1, 1, 1), (1, 1, 2), (1, 1, 3), (1, 1, 4)], {}, [120, 280], "look like Hounsfield units"),
    "CT by name": (scan, [(2, 2, 2)] * 4, {"modality": {"0": "CT"}}, [-3, 3], "dataset.json says CT"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_info_suggests_settings_that_run_takes(name, tmp_path, command):  # noqa: F811
    image, spacings, described, normalise, reason = FOLDERS[name]
    for number, spacing in enumerate(spacings):
        side = "Tr" if number < 3 else "Ts"
        write(tmp_path / f"scans/images{side}/{number}.nii.gz", image(number), spacing)
        if number != 1:
            write(tmp_path / f"scans/labels{side}/{number}.nii.gz", blob(), spacing)
    description = {"labels": {"background": 0, "organ": 1}} | described
    (tmp_path / "scans/dataset.json").write_text(json.dumps(description))
    status, said, errors = command("data", "info", "scans")
    assert status == 0, errors
    assert "unlabelled: 1" in said and "1     unlabelled" in said
    assert reason in " ".join(said.replace("#", "").split())
    suggested = yaml.safe_load(said.partition("by nnU-Net's rules:")[2])
    found = suggested["data"].pop("normalise")
    assert found == normalise if normalise == "zscore" else found == pytest.approx(normalise, rel=0.35)
    assert suggested["data"].pop("spacing")[2] <= 7 / 8 * np.median([mm for *_, mm in spacings[:3]])
    assert suggested == {
        "data": {"source": "folder", "root": "scans"},
        "training": {"patch": [16, 16, 16]}, "evaluation": {"stride": [8, 8, 8]},
    }  # fmt: skip
    whole = yaml.safe_load(said.partition("by nnU-Net's rules:")[2]) | {
        "name": "x",
        "methods": ["vnet"],
        "labelled": [1],
    }
    (tmp_path / "suggested.yaml").write_text(yaml.safe_dump(whole))
    assert make_plan(load_experiment(tmp_path / "suggested.yaml"), ResultsFolder(tmp_path / "results")).trials


def test_info_divides_a_folder_without_test_scans(tmp_path, command):  # noqa: F811
    write_folder(tmp_path / "scans", train=4, test=1)
    shutil.rmtree(tmp_path / "scans/imagesTs")
    shutil.rmtree(tmp_path / "scans/labelsTs")
    status, said, errors = command("data", "info", "scans", "--set", "data.split.test=0.5")
    assert status == 0, errors
    assert "2 training cases" in said and "test: 0.5" in said
    assert "unknown key 'data.splt'" in one_line_error(command("data", "info", "scans", "--set", "data.splt=1"))
