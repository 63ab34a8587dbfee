"""`data fetch`, `data verify` and `data info` as a user calls them."""

import matplotlib.image
import pytest
import yaml
from helpers.command_line import command, one_line_error  # noqa: F401

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
    assert "3 training cases, 3 of them with a label, and 2 test cases" in said and "1.25x1.25x1.25" in said
    picture = matplotlib.image.imread(tmp_path / "data.png")
    assert picture.shape[0] > 200 and picture.std() > 0.05
