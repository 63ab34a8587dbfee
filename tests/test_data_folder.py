"""A user's own folder of scans: what it may look like, and what is said of all that is wrong with it at once."""

import json

import h5py
import numpy as np
import pytest
from helpers.scan_folder import SIZE, blob, scan, write, write_folder
from pydantic import TypeAdapter, ValidationError

from data.cache import prepare
from data.case import DataError, DataProblems
from data.sources import DataSettings, open_source

SHARE = {"test": 0.34, "seed": 0}


def settings(root, **more):
    values = {"source": "folder", "root": str(root)} | more
    return TypeAdapter(DataSettings).validate_python(values)


def problems_of(root, cache, **more) -> list[str]:
    with pytest.raises(DataError) as caught:
        prepare(settings(root, **more), cache)
    assert "\n" not in str(caught.value)
    return caught.value.problems if isinstance(caught.value, DataProblems) else [str(caught.value)]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_folder_as_the_decathlon_has_it(tmp_path, suffix):
    dataset = prepare(settings(write_folder(tmp_path / "data", suffix=suffix)), tmp_path / "cache")
    assert (dataset.name, dataset.classes, dataset.train_ids, dataset.test_ids) == ("data", 1, ["A", "B", "C"], ["D"])
    native = dataset.native("B")
    assert native.spacing == (1.0, 1.5, 2.0)
    expected = scan(1)[::-1, ::-1]  # stored towards the left and the back, read towards the right and the front
    np.testing.assert_allclose(native.image, (expected - expected.mean()) / expected.std(), atol=1e-5)
    np.testing.assert_array_equal(native.label, blob()[::-1, ::-1])


def test_nnunets_names_have_a_channel(tmp_path):
    for name in ("A", "B"):
        write(tmp_path / f"imagesTr/{name}_0000.nii.gz", scan(ord(name)))
        write(tmp_path / f"labelsTr/{name}.nii.gz", blob())
    more = {"labels": {"organ": 1}, "split": {"test": 0.5}}
    assert sorted([*(source := open_source(settings(tmp_path, **more))).train_ids, *source.test_ids]) == ["A", "B"]
    write(tmp_path / "imagesTr/A_0001.nii.gz", scan(9))
    write(tmp_path / "imagesTr/B_0001.nii.gz", scan(8))
    assert "channels 0000, 0001" in problems_of(tmp_path, tmp_path / "cache", **more)[0]
    assert "data.channel 5" in problems_of(tmp_path, tmp_path / "cache", channel=5, **more)[0]
    image = open_source(settings(tmp_path, channel=1, normalise="none", orientation="stored", **more)).read("A").image
    np.testing.assert_array_equal(image, scan(9))
    write(tmp_path / "imagesTr/C_0000.nii.gz", scan(7))
    write(tmp_path / "labelsTr/C.nii.gz", blob())
    problems = problems_of(tmp_path, tmp_path / "cache", channel=1, **more)
    assert "C: no channel 0001" in problems[0] and "C: a label without an image" in problems[1]


def test_four_digits_may_be_a_name(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"imagesTr/case_{number:04d}.nii.gz", scan(number))
        write(tmp_path / f"labelsTr/case_{number:04d}.nii.gz", blob())
    source = open_source(settings(tmp_path, labels={"organ": 1}, split={"test": 0.5}))
    assert sorted(source.train_ids + source.test_ids) == ["case_0001", "case_0002"]


def test_imagests_has_what_imagestr_has(tmp_path):
    """Test scans without labels, named with four digits that are no channel."""
    for number in range(4):
        side = "Tr" if number < 2 else "Ts"
        write(tmp_path / f"images{side}/case_{number:04d}.nii.gz", scan(number))
        if number < 2:
            write(tmp_path / f"labelsTr/case_{number:04d}.nii.gz", blob())
    source = open_source(settings(tmp_path, labels={"organ": 1}, split={"test": 0.5}))
    assert sorted(source.train_ids + source.test_ids) == ["case_0000", "case_0001"]


def test_two_files_of_one_case_are_named(tmp_path):
    root = write_folder(tmp_path / "data")
    write(root / "imagesTr/A.nrrd", scan(7))
    write(root / "labelsTs/D.mha", blob())
    problems = problems_of(root, tmp_path / "cache")
    assert [f"are both called {name}" in problem for name, problem in zip("AD", problems, strict=True)] == [True] * 2


def test_a_changed_file_of_voxels_is_another_case(tmp_path):
    root = write_folder(tmp_path / "data", suffix=".mhd")
    before = open_source(settings(root)).content_key("A")
    write(root / "labelsTr/A.mhd", blob()[::-1])
    assert open_source(settings(root)).content_key("A") != before


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "b"], "must be pairs"),
        ("cavity", "must be pairs"),
        ({"a": 1, "b": 1}, "two structures the same value"),
        ({"1": "a", "2": "a"}, "names a structure twice"),
        ({"a": 70000}, "from 1 to 65535"),
        ({"a": -1}, "from 1 to 65535"),
        ({"a": 1.5}, "no whole number"),
        ({"a": None}, "no whole number"),
        ({"a": [1, 2]}, "regions are not supported"),
        ({"²": "a"}, "no whole number"),
        ({"a": 1, "ignore": 2}, "to be ignored are not supported"),
        ({"background": 0}, "at least one structure"),
        ({}, "names no structure"),
    ],
)
def test_structures_that_cannot_be(tmp_path, labels, said):
    root = write_folder(tmp_path / "data")
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    [problem] = problems_of(root, tmp_path / "cache")
    assert said in problem and "dataset.json" in problem


def test_h5_files_hold_both(tmp_path):
    for number in range(3):
        path = tmp_path / f"imagesTr/case{number}.h5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["image"] = scan(number)
            if number:
                file["label"] = blob()
    more = {"labels": {"organ": 1}, "voxel": [1, 1, 2], "split": {"test": 0.5}}
    dataset = prepare(settings(tmp_path, **more), tmp_path / "cache")
    assert len(dataset.test_ids) == 1 and "case0" in dataset.train_ids
    assert dataset.with_label == [case for case in dataset.train_ids if case != "case0"]
    assert dataset.native("case1").spacing == (1, 1, 2)


@pytest.mark.parametrize(
    "labels", [{"background": 0, "left": 1, "right": 4}, {"0": "background", "1": "left", "4": "right"}]
)
def test_both_ways_of_naming_structures(tmp_path, labels):
    write_folder(tmp_path / "data", **labels)
    write(tmp_path / "data/labelsTr/A.nii.gz", np.where(scan(5) > 0, blob(1), blob(4)))
    dataset = prepare(settings(tmp_path / "data"), tmp_path / "cache")
    assert dataset.source.class_names == {"left": 1, "right": 4} and dataset.classes == 2
    assert set(np.unique(dataset.native("A").label)) == {0, 1, 2}


def test_cases_without_a_label_are_never_labelled_and_never_tested(tmp_path):
    root = write_folder(tmp_path / "data", train=6, test=0)
    for case in "ACE":
        (root / f"labelsTr/{case}.nii.gz").unlink()
    dataset = prepare(settings(root, split={"folds": 3, "fold": 0}), tmp_path / "cache")
    assert len(dataset.test_ids) == 1 and not set(dataset.test_ids) & set("ACE")
    assert set("ACE") < set(dataset.train_ids)
    assert dataset.with_label == [case for case in dataset.train_ids if case not in "ACE"]
    with pytest.raises(DataError, match="has no label"):
        dataset.label("A")


def test_everything_wrong_is_said_at_once(tmp_path):
    root = write_folder(tmp_path / "data", train=8, test=2)
    write(root / "labelsTr/A.nii.gz", blob()[:-1])
    write(root / "labelsTr/B.nii.gz", blob(), spacing=(1, 1.5, 2.5))
    write(root / "labelsTr/C.nii.gz", blob(), origin=(0, 0, 0))
    write(root / "labelsTr/D.nii.gz", blob(3))
    write(root / "imagesTr/E.nii.gz", np.ones(SIZE, np.float32))
    (root / "imagesTr/F.nii.gz").write_bytes(b"nothing")
    write(root / "imagesTs/I.nii.gz", scan(6))  # as G
    write(root / "labelsTr/Z.nii.gz", blob())
    (root / "labelsTs/J.nii.gz").unlink()
    problems = problems_of(root, tmp_path / "cache")
    for expected in (
        "A.nii.gz: not on its image's grid: 8 x 8 x 7 voxels, not 9 x 8 x 7",
        "B.nii.gz: not on its image's grid: voxels of 1 x 1.5 x 2.5 mm, not 1 x 1.5 x 2",
        "C.nii.gz: not on its image's grid: an origin 7.07 mm away",
        "D.nii.gz: the label holds 3, but may hold 0, 1",
        "E.nii.gz: the image is constant",
        "F.nii.gz cannot be read",
        "G and I have the same image, and are a training and a test case",
        "Z: a label without an image",
        "J: a test case without a label",
    ):
        assert sum(expected in problem for problem in problems) == 1, (expected, problems)
    assert len(problems) == 9


def test_the_same_scan_twice_is_found_whatever_its_file(tmp_path):
    root = write_folder(tmp_path / "data")
    (root / "imagesTr/B.nii.gz").unlink()
    write(root / "imagesTr/B.nrrd", scan(0))
    assert "A and B have the same image, and are two cases" in problems_of(root, tmp_path / "cache")[0]


def test_voxels_of_several_sizes_need_a_spacing(tmp_path):
    root = write_folder(tmp_path / "data")
    for folder, array in (("images", scan(0)), ("labels", blob())):
        write(root / f"{folder}Tr/A.nii.gz", array, spacing=(1, 1, 5))
    assert "set data.spacing; the median is [1, 1.5, 2]" in problems_of(root, tmp_path / "cache")[0]
    dataset = prepare(settings(root, spacing=[1, 1, 2]), tmp_path / "cache")
    assert dataset.image("A").shape == (9, 8, 18) and dataset.image("B").shape == (9, 12, 7)
    assert dataset.native("A").image.shape == SIZE


def test_what_decides_a_case_decides_its_entry(tmp_path):
    root = write_folder(tmp_path / "data", organ=1)
    keys = {
        open_source(settings(root, **more)).content_key("A")
        for more in ({}, {"normalise": "none"}, {"normalise": [0, 1]}, {"orientation": "LPS"}, {"labels": {"x": 2}})
    }
    assert len(keys) == 5
    write(root / "labelsTr/A.nii.gz", blob()[::-1])
    assert open_source(settings(root)).content_key("A") not in keys


def test_patients_stay_on_one_side(tmp_path):
    for number in range(8):
        write(tmp_path / f"imagesTr/patient{number // 2}_frame{number}.nii.gz", scan(number))
        write(tmp_path / f"labelsTr/patient{number // 2}_frame{number}.nii.gz", blob())
    (tmp_path / "labelsTr/patient0_frame0.nii.gz").unlink()  # without a label; its patient may be tested
    more = {"labels": {"organ": 1}, "patients": r"patient\d+"}
    for fold in range(4):
        source = open_source(settings(tmp_path, split={"folds": 4, "fold": fold}, **more))
        assert not {case[:8] for case in source.train_ids} & {case[:8] for case in source.test_ids}
    (tmp_path / "train.txt").write_text("patient1_frame2\npatient2_frame4\n")
    (tmp_path / "test.txt").write_text("patient1_frame3\n")
    lists = {"train": "train.txt", "test": "test.txt"}
    assert (
        "1 patients have cases for training and for testing"
        in problems_of(tmp_path, tmp_path / "cache", split=lists, **more)[0]
    )
    assert "finds no patient" in problems_of(tmp_path, tmp_path / "cache", labels={"organ": 1}, patients="subject",
                                             split={"test": 0.5})[0]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "more", "said"),
    [
        (lambda root: (root / "dataset.json").unlink(), {}, "names no structure: set data.labels"),
        (lambda root: (root / "dataset.json").write_text("{"), {}, "dataset.json cannot be read"),
        (lambda root: (root / "dataset.json").write_text(json.dumps({"labels": {"x": [1, 2]}})), {}, "regions"),
        (lambda root: [path.unlink() for path in root.glob("imagesTs/*")], {}, "set data.split"),
        (lambda root: [path.unlink() for path in root.glob("imagesTr/*")], {}, "holds no scan"),
        (lambda root: None, {"split": {"train": "no.txt", "test": "no.txt"}}, "cannot read the list file"),
        (lambda root: None, {"split": {"folds": 9, "fold": 8}}, "leaves 3 cases for training and 0 for testing"),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path, spoil, more, said):
    root = write_folder(tmp_path / "data")
    spoil(root)
    assert said in problems_of(root, tmp_path / "cache", **more)[0]


@pytest.mark.parametrize(
    "more",
    [
        {"split": {"folds": 3, "fold": 3}}, {"split": {"test": 1.5}}, {"patients": "("}, {"labels": {"x": 0}},
        {"labels": {}}, {"labels": {"x": 1, "y": 1}}, {"normalise": [3, 1]}, {"normalise": "minmax"},
        {"spacing": [1, 1]}, {"spacing": 0}, {"orientation": "XYZ"}, {"split": "random"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(tmp_path, more):
    with pytest.raises(ValidationError):
        settings(tmp_path, **more)


def test_all_that_is_wrong_with_one_case_is_said(tmp_path):
    root = write_folder(tmp_path / "data")
    write(root / "imagesTr/A.nii.gz", np.ones(SIZE, np.float32))
    write(root / "labelsTr/A.nii.gz", blob(7)[:, :, :-1])
    problems = problems_of(root, tmp_path / "cache")
    assert len(problems) == 3 and all("A.nii.gz" in problem for problem in problems)
    assert "is constant" in problems[0] and "holds 7" in problems[1] and "9 x 8 x 6 voxels" in problems[2]


def test_training_and_test_scans_of_two_channels_do_not_mix(tmp_path):
    for name in ("imagesTr/A_0000", "imagesTr/B_0000", "imagesTs/C_0001"):
        write(tmp_path / f"{name}.nii.gz", scan(ord(name[9])))
    for name in ("labelsTr/A", "labelsTr/B", "labelsTs/C"):
        write(tmp_path / f"{name}.nii.gz", blob())
    assert "has the channels 0000, 0001" in problems_of(tmp_path, tmp_path / "cache", labels={"organ": 1})[0]
    (tmp_path / "imagesTs/C_0001.nii.gz").rename(tmp_path / "imagesTs/C_0000.nii.gz")
    source = open_source(settings(tmp_path, labels={"organ": 1}))
    assert source.reading.channel == 0 and source.test_ids == ["C"]  # new scans may have more channels


def test_a_label_in_both_folders_is_named(tmp_path):
    root = write_folder(tmp_path / "data")
    write(root / "labelsTs/A.nii.gz", blob())
    assert "A: a label in labelsTr and one in labelsTs" in problems_of(root, tmp_path / "cache")[0]


def test_an_h5_files_voxel_size_may_stand_with_its_image(tmp_path):
    for side, name in (("Tr", "A"), ("Tr", "B"), ("Ts", "C")):
        (tmp_path / f"images{side}").mkdir(exist_ok=True)
        with h5py.File(tmp_path / f"images{side}/{name}.h5", "w") as file:
            file.create_dataset("image", data=scan(ord(name))).attrs["spacing"] = (1.0, 2.0, 3.0)
            file.create_dataset("label", data=blob())
    dataset = prepare(settings(tmp_path, labels={"organ": 1}), tmp_path / "cache")
    assert dataset.native("A").spacing == (1.0, 2.0, 3.0) and dataset.native("A").label.any()


def test_more_structures_than_a_byte_holds_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="256 structures, where at most 255"):
        settings(tmp_path, labels={f"part {number}": number for number in range(1, 257)})


def test_held_out_cases_take_their_patients_with_them(tmp_path):
    root = write_folder(tmp_path / "data", train=4)
    for folder in ("imagesTr", "labelsTr"):
        for old, new in zip("ABCD", ("p1_a", "p1_b", "p2_a", "p3_a"), strict=True):
            (root / folder / f"{old}.nii.gz").rename(root / folder / f"{new}.nii.gz")
    dataset = prepare(settings(root, patients=r"p\d|^E", validation=["p1_b"]), tmp_path / "cache")
    assert (dataset.train_ids, dataset.test_ids) == (["p2_a", "p3_a"], ["p1_b"])
    assert (dataset.with_label, dataset.left_out) == (["p2_a", "p3_a"], ["p1_a", "p1_b"])
    with pytest.raises(ValidationError, match="names p1_b twice"):
        settings(root, validation=["p1_b", "p1_b"])
