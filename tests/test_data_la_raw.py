"""From raw scans to a left-atrium folder: the release's crop with seeded margins, or one without a look at labels."""

import json

import numpy as np
import pytest
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.scan_folder import write

from data.cache import prepare
from data.case import DataError
from data.la_raw import prepare_la
from data.sources import LASettings, open_source

SIZE = (200, 180, 12)


@pytest.fixture
def raw(tmp_path):
    """Three scans, whose atria are a long one, a narrow one and one at the edge."""
    boxes = {"A": (40, 170, 60, 110), "B": (90, 100, 80, 95), "C": (0, 60, 100, 178)}
    for number, (case, (x0, x1, y0, y1)) in enumerate(boxes.items()):
        label = np.zeros(SIZE, np.uint8)
        label[x0:x1, y0:y1, 3:9] = 255
        image = np.random.default_rng(number).normal(100, 20, SIZE).astype(np.float32)
        write(tmp_path / "raw" / case / "lgemri.nrrd", image, spacing=(0.625,) * 3)
        write(tmp_path / "raw" / case / "laendo.nrrd", label, spacing=(0.625,) * 3)
    return tmp_path / "raw", boxes


def prepared(raw, to, seed=0, crop="label"):
    return {case.case: case for case in prepare_la(raw, to, seed, crop)}


def test_the_crop_is_the_releases(raw, tmp_path):
    folder, boxes = raw
    made = prepared(folder, tmp_path / "la")
    for case, (x0, x1, y0, y1) in boxes.items():
        for (first, end), low, last, size in ((made[case].x, x0, x1 - 1, 200), (made[case].y, y0, y1 - 1, 180)):
            wider = max(112 - (last - low), 0) // 2
            assert max(low - 19 - wider, 0) <= first <= max(low - 10 - wider, 0)
            assert min(last + 10 + wider, size) <= end <= min(last + 19 + wider, size)
        assert made[case].label_lost == 0
    margins = {made[case].x[0] - boxes[case][0] for case in "AB"}
    assert len(margins) == 2  # drawn for each case


def test_images_are_normalised_before_they_are_cropped(raw, tmp_path):
    folder, _ = raw
    made = prepared(folder, tmp_path / "la")
    (tmp_path / "la/train.list").write_text("A\nB\n")
    (tmp_path / "la/test.list").write_text("C\n")
    lists = {"train": "train.list", "test": "test.list"}
    dataset = prepare(LASettings(source="la", root=str(tmp_path / "la"), split=lists), tmp_path / "cache")
    scan = np.random.default_rng(1).normal(100, 20, SIZE).astype(np.float32)
    scan = (scan - scan.mean()) / scan.std()
    case = dataset.native("B")
    np.testing.assert_allclose(case.image, scan[slice(*made["B"].x), slice(*made["B"].y)], atol=1e-4)
    assert case.label.sum() == 10 * 15 * 6 and set(np.unique(case.label)) == {0, 1}
    assert "seed 0" in dataset.source.preparation and "around the ground truth" in dataset.source.preparation


def test_the_same_seed_is_the_same_crop(raw, tmp_path):
    folder, _ = raw
    first = prepared(folder, tmp_path / "a", seed=3)
    assert prepared(folder, tmp_path / "b", seed=3) == first != prepared(folder, tmp_path / "c", seed=4)


def test_the_label_free_crop_does_not_look(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("data.la_raw.BOX", 64)
    folder, _ = raw
    made = prepared(folder, tmp_path / "la", crop="centre")
    assert all(end - first == 64 for case in made.values() for first, end in (case.x, case.y))
    assert made["A"].label_lost > 0.3  # and it is said
    label = np.zeros(SIZE, np.uint8)
    label[:5, :5] = 255
    write(folder / "A/laendo.nrrd", label, spacing=(0.625,) * 3)
    assert prepared(folder, tmp_path / "again", crop="centre")["A"].x == made["A"].x


def test_it_goes_on_where_it_stopped(raw, tmp_path):
    folder, _ = raw
    steps = prepare_la(folder, tmp_path / "la", 0, "label")
    next(steps)
    steps.close()
    first = next(tmp_path.rglob("A/mri_norm2.h5"))
    before = first.stat().st_mtime_ns
    assert len(prepared(folder, tmp_path / "la")) == 3 and first.stat().st_mtime_ns == before
    assert set(json.loads((tmp_path / "la/preparation.json").read_text())["cases"]) == set("ABC")


def test_two_rules_do_not_mix(raw, tmp_path):
    folder, _ = raw
    prepared(folder, tmp_path / "la")
    with pytest.raises(DataError, match="cases of another preparation .label, seed 0."):
        prepared(folder, tmp_path / "la", seed=1)


def test_the_command(raw, tmp_path, command):  # noqa: F811
    folder, _ = raw
    status, said, _ = command("data", "prepare", "la", "--from", folder, "--to", tmp_path / "la")
    assert status == 0 and "3 cases in" in said
    (folder / "B/laendo.nrrd").unlink()
    assert "1 of 3 cases in" in one_line_error(
        command("data", "prepare", "la", "--from", folder, "--to", tmp_path / "b")
    )
    assert "holds no" in one_line_error(
        command("data", "prepare", "la", "--from", tmp_path / "b", "--to", tmp_path / "c")
    )


def test_distributed_cases_are_not_written_over(raw, tmp_path, command):  # noqa: F811
    folder, _ = raw
    distributed = tmp_path / "la/2018LA_Seg_Training Set/A/mri_norm2.h5"
    distributed.parent.mkdir(parents=True)
    distributed.write_bytes(b"as distributed")
    with pytest.raises(DataError, match="not prepared here"):
        prepared(folder, tmp_path / "la")
    assert distributed.read_bytes() == b"as distributed"
    prepared(folder, tmp_path / "own")
    refused = command("data", "fetch", "la", "--to", tmp_path / "own", "--from", folder)
    assert "made from raw scans" in one_line_error(refused)


def test_a_raw_file_that_changed_is_prepared_again(raw, tmp_path):
    folder, _ = raw
    before = prepared(folder, tmp_path / "la")
    label = np.zeros(SIZE, np.uint8)
    label[90:110, 80:95, 3:9] = 255
    write(folder / "B/laendo.nrrd", label, spacing=(0.625,) * 3)
    after = prepared(folder, tmp_path / "la")
    assert after["A"].raw == before["A"].raw and after["B"].raw != before["B"].raw
    assert tuple(after["A"].x) == before["A"].x and tuple(after["B"].x) != before["B"].x


def test_it_goes_on_where_it_stopped_in_the_first_case(raw, tmp_path, monkeypatch):
    folder, _ = raw
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("data.la_raw._write", lambda target, *arrays: (target.write_bytes(b""), _interrupt()))
        prepared(folder, tmp_path / "la")
    assert len(prepared(folder, tmp_path / "la")) == 3


def _interrupt():
    raise KeyboardInterrupt


def test_what_files_say_of_their_grid_is_told(raw, tmp_path, command):  # noqa: F811
    folder, _ = raw
    write(folder / "B/lgemri.nrrd", np.random.default_rng(1).normal(size=SIZE).astype(np.float32), spacing=(1, 1, 2.5))
    said = command("data", "prepare", "la", "--from", folder, "--to", tmp_path / "la")[1]
    assert "B: lgemri.nrrd states voxels of 1 x 1 x 2.5 mm; 0.625 x 0.625 x 0.625 was used instead" in said
    off_grid = "voxels of 0.625 x 0.625 x 0.625 mm, not 1 x 1 x 2.5"
    assert f"B: laendo.nrrd is not on the grid of lgemri.nrrd, which was ignored: {off_grid}" in said
    assert "A: " not in said and "C: " not in said


def test_how_they_were_prepared_is_told_from_the_folder_of_cases_too(raw, tmp_path):
    folder, _ = raw
    prepared(folder, tmp_path / "la", crop="centre")
    share = {"test": 0.34}
    for root in (tmp_path / "la", tmp_path / "la/2018LA_Seg_Training Set"):
        told = open_source(LASettings(source="la", root=str(root), split=share)).preparation
        assert "without a look at labels" in told and "seed 0" in told
