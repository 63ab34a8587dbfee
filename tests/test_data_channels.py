"""Images of several channels: how a folder holds them, and what a trial, a report and `predict` make of them."""

import json
import shutil

import numpy as np
import pytest
import yaml
from helpers.command_line import one_line_error
from helpers.scan_folder import blob, scan, write, write_folder
from pydantic import TypeAdapter, ValidationError

from benchmark.records.arrays import read_picture
from data.cache import prepare
from data.case import DataError, DataProblems
from data.preview import write_preview
from data.reading import Reading
from data.resample import resample
from data.sources import DataSettings, PhantomSettings, open_source

FLIPPED = slice(None, None, -1)  # stored as LPS, read as RAS


def write_channels(root, cases="ABC", tests="D", size=1, **described):
    """A folder of cases with the channels 0000 and 0001, voxels repeated `size` times."""
    for number, case in enumerate(cases + tests):
        side = "Tr" if case in cases else "Ts"
        for channel in (0, 1):
            array = 10 * channel + scan(2 * number + channel)
            write(root / f"images{side}/{case}_{channel:04d}.nii.gz", _enlarged(array, size))
        write(root / f"labels{side}/{case}.nii.gz", _enlarged(blob(), size))
    description = {"labels": {"background": 0, "organ": 1}} | described
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def _enlarged(array, size):
    return array.repeat(size, 0).repeat(size, 1).repeat(size, 2)


def settings(root, **more):
    return TypeAdapter(DataSettings).validate_python({"source": "folder", "root": str(root)} | more)


def zscored(image):
    return (image - image.mean()) / image.std()


@pytest.mark.parametrize(
    "key, channel, chosen, names",
    [
        ("channel_names", "all", [0, 1], ["T1", "FLAIR"]),
        ("modality", [1, 0], [1, 0], ["FLAIR", "T1"]),
        ("modality", 1, [1], ["FLAIR"]),
    ],
)
def test_channels_are_stacked_and_each_is_normalised(tmp_path, key, channel, chosen, names):
    root = write_channels(tmp_path / "data", **{key: {"0": "T1", "1": "FLAIR"}})
    dataset = prepare(settings(root, channel=channel, spacing=[1, 1.5, 1]), tmp_path / "cache")
    assert dataset.channels == len(chosen) and dataset.source.channel_names == names
    expected = [zscored(10 * number + scan(2 + number))[FLIPPED, FLIPPED] for number in chosen]  # of case B
    for one_grid, images in (
        (dataset.native("B").image, expected),
        (dataset.image("B"), [resample(image, (9, 8, 14)) for image in expected]),
    ):
        assert one_grid.dtype == np.float32
        np.testing.assert_allclose(one_grid, np.stack(images, -1) if len(chosen) > 1 else images[0], atol=1e-5)
    assert dataset.native("B").shape == dataset.native_shape("B") == (9, 8, 7) == dataset.native("B").shown.shape
    assert dataset.label("B").shape == (9, 8, 14)
    write_preview(dataset, tmp_path / "data.png")


def test_each_channel_may_have_its_own_normalisation(tmp_path):
    root = write_channels(tmp_path / "data")
    source = open_source(settings(root, channel="all", normalise=["none", [9, 11]], orientation="stored"))
    image = source.read("A").image
    np.testing.assert_array_equal(image[..., 0], scan(0))
    np.testing.assert_allclose(image[..., 1], (10 + scan(1)).clip(9, 11) / 2 - 4.5, atol=1e-5)
    assert open_source(settings(root, channel=[0, 1], normalise=[9, 11])).reading.of_channels()[1].normalise == [9, 11]
    keys = [open_source(settings(root, channel=channel)).content_key("A") for channel in ("all", [0, 1], [1, 0], 0)]
    assert keys[0] == keys[1] and len(set(keys)) == 3


@pytest.mark.parametrize(
    "more, said",
    [
        ({}, r"the channels 0000 \(T1\), 0001: set data.channel to all, to a list such as \[0, 1\]"),
        ({"channel": [0, 7]}, r"data.channel 7: .* has 0000 \(T1\), 0001"),
        ({"channel": "all", "normalise": [[0, 1]] * 3}, "lists 3 normalisations, but images have 2 channels"),
        ({"channel": 1, "normalise": ["none", "zscore"]}, "lists 2 normalisations, but images have 1 channel:"),
    ],
)
def test_settings_that_do_not_fit_the_folder(tmp_path, more, said):
    root = write_channels(tmp_path / "data", cases="A", channel_names={"0": "T1"})
    with pytest.raises(DataError, match=said):
        open_source(settings(root, **more))


def test_a_folder_without_numbers_has_one_channel(tmp_path):
    root = write_folder(tmp_path / "data")
    assert open_source(settings(root, channel="all")).channels == 1
    with pytest.raises(DataError, match="not named <case>_0000"):
        open_source(settings(root, channel=[0, 1]))


@pytest.mark.parametrize(
    "wrong", [{"channel": [0, 0]}, {"channel": [-1, 0]}, {"channel": "some"}, {"normalise": ["none", [3, 1]]}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValidationError):
        Reading(**wrong)


def test_channels_that_differ_between_cases_are_one_line(tmp_path):
    root = write_channels(tmp_path / "data", cases="ABCE")
    (root / "imagesTr/B_0001.nii.gz").unlink()
    (root / "imagesTr/E_0001.nii.gz").unlink()
    with pytest.raises(DataError) as caught:
        prepare(settings(root, channel="all"), tmp_path / "cache")
    lines = [line for line in caught.value.problems if "no channel" in line]
    assert len(lines) == 1 and lines[0].startswith(f"B, E: no channel 0001 in {root / 'imagesTr'}")
    assert prepare(settings(root, channel=0), tmp_path / "cache").train_ids == ["A", "B", "C", "E"]


def test_channels_lie_on_one_grid(tmp_path):
    root = write_channels(tmp_path / "data")
    write(root / "imagesTr/B_0001.nii.gz", scan(8), origin=(3.0, -4.0, 6.0))
    write(root / "imagesTr/C_0001.nii.gz", scan(9)[:5])
    with pytest.raises(DataProblems) as caught:
        prepare(settings(root, channel=[0, 1]), tmp_path / "cache")
    shifted, cut = caught.value.problems
    assert "B_0001.nii.gz: not on the grid of B_0000.nii.gz: an origin 1 mm away" in shifted
    assert "C_0001.nii.gz: not on the grid of C_0000.nii.gz: 5 x 8 x 7 voxels, not 9 x 8 x 7" in cut


def test_a_phantoms_second_channel_leaves_the_first_as_it_is():
    one, two = (open_source(PhantomSettings(source="phantom", size=(32, 32, 24), channels=m)) for m in (1, 2))
    case, both = one.read("train-000"), two.read("train-000")
    assert (one.channels, two.channels) == (1, 2)
    np.testing.assert_array_equal(both.image[..., 0], case.image)
    np.testing.assert_array_equal(both.label, case.label)
    inside = case.label > 0
    assert both.image[inside, 0].mean() > 1 and both.image[inside, 1].mean() < 0
    assert one.content_key("train-000") != two.content_key("train-000")


EXPERIMENT = {
    "name": "mine",
    "data": {"source": "folder", "root": "scans", "channel": "all"},
    "methods": ["mean_teacher"],
    "baseline": None,
    "labelled": [2],
    "seeds": [1],
    "training": {"iterations": 2, "patch": [16, 16, 16], "width": 2, "threads": 1},
    "evaluation": {"stride": [8, 8, 8]},
    "execution": {"device": "cpu", "data_workers": 0},
}


@pytest.mark.slow
def test_a_trial_of_two_channels_and_new_scans_of_two(tmp_path, monkeypatch, command, no_ray, no_drawing):
    monkeypatch.chdir(tmp_path)
    write_channels(tmp_path / "scans", size=2, channel_names={"0": "T1", "1": "FLAIR"})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    status, said, _ = command("data", "info", "mine.yaml")
    assert status == 0 and "18 x 16 x 14 voxels, all of 1x1.5x2 mm, 2 channels (T1, FLAIR)" in said
    assert command("run", "mine.yaml", "--smoke")[0] == 0
    assert command("run", "mine.yaml", "--results", "results")[0] == 0
    (record,) = (tmp_path / "results/records").iterdir()
    assert "opened labels" not in (record / "trial.yaml").read_text()
    image, label = read_picture(tmp_path / "results/cases/D.npz")
    assert image.shape == label.shape == (18, 16, 14)
    first = _enlarged(scan(6), 2)[FLIPPED, FLIPPED]
    assert np.corrcoef(image.ravel(), first.ravel())[0, 1] > 0.99

    # New scans have all channels of the trial, whatever others lie beside them.
    shutil.copytree("scans/imagesTs", "new")
    shutil.copy("new/D_0000.nii.gz", "new/D_0002.nii.gz")
    assert command("predict", record, "new", "--to", "segmented")[0] == 0
    assert [path.name for path in (tmp_path / "segmented").iterdir()] == ["D.nii.gz"]
    (predicted,) = (tmp_path / "segmented").iterdir()
    assert predicted.stat().st_size and (record / "predictions/D.nii.gz").read_bytes() == predicted.read_bytes()
    shutil.copy("new/D_0000.nii.gz", "new/E_0000.nii.gz")
    assert "E: no channel 0001: give a folder with <case>_0000, <case>_0001" in one_line_error(
        command("predict", record, "new", "--to", "segmented")
    )
