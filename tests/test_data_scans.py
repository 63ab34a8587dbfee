"""Scans in files: read into one orientation, and labels written back to where they belong."""

import itertools

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.scan_folder import SIZE, blob, scan, write

from data.case import DataError
from data.formats.dispatch import suffix_of
from data.reading import Reading
from data.scan_files import stem_of
from data.scans import file_hash, read_geometry, read_image, read_label, write_labels

CODES = ["RAS", "LPS", "LAI", "PSR", "IPL", "SAR"]
RAS_IN_LPS = np.array([-1, -1, 1])  # files give places in mm to the left, to the back and up


@pytest.mark.parametrize("code", CODES)
def test_axes_of_ras_go_to_the_right_to_the_front_and_up(tmp_path, code):
    path = write(tmp_path / "scan.nii.gz", np.zeros(SIZE), code=code)
    image = sitk.ReadImage(str(path))
    rng, places = np.random.default_rng(0), []
    for value in (1, 2, 3):  # three bright voxels, whose places in mm the file itself tells
        index = [int(i) for i in (rng.integers(n) for n in SIZE)]
        image[index] = value
        places.append(np.array(image.TransformIndexToPhysicalPoint(index)) * RAS_IN_LPS)
    sitk.WriteImage(image, path)
    array, geometry = read_image(path, Reading(orientation="RAS", normalise="none"))
    found = np.array([np.argwhere(array == value)[0] for value in (1, 2, 3)])
    steps = (found[1:] - found[:1]) * geometry.array_spacing
    np.testing.assert_allclose(steps, np.array(places[1:]) - places[0], atol=1e-4)


def test_as_stored_the_axes_are_the_files(tmp_path):
    path = write(tmp_path / "scan.nrrd", scan(), code="LAI")
    array, geometry = read_image(path, Reading(orientation="stored", normalise="none"))
    np.testing.assert_array_equal(array, scan())
    assert geometry.array_spacing == (1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("code", "orientation", "suffix"),
    [*itertools.product(CODES, ["RAS", "stored", "LPI"], [".nii.gz"]), ("PSR", "RAS", ".nrrd"), ("PSR", "RAS", ".mha")],
)
def test_labels_come_back_to_where_they_were(tmp_path, code, orientation, suffix):
    values = [2, 5]
    label = np.random.default_rng(1).choice([0, *values], SIZE).astype(np.uint8)
    path = write(tmp_path / f"label{suffix}", label, code=code)
    reading = Reading(orientation=orientation)
    labels, geometry = read_label(path, reading, values)
    assert set(np.unique(labels)) == {0, 1, 2}
    write_labels(tmp_path / "back.nii.gz", labels, geometry, values)
    first, back = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "back.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(first))
    assert not read_geometry(tmp_path / "back.nii.gz", reading).differences(geometry)


def test_an_oblique_scan_comes_back_too(tmp_path):
    image = sitk.GetImageFromArray(blob().transpose(2, 1, 0))
    angle = 0.3
    image.SetDirection([np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1])
    image.SetSpacing((0.7, 0.7, 3))
    sitk.WriteImage(image, tmp_path / "label.nii.gz")
    labels, geometry = read_label(tmp_path / "label.nii.gz", Reading(), [1])
    write_labels(tmp_path / "back.nii.gz", labels, geometry, [1])
    back = sitk.ReadImage(str(tmp_path / "back.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)


def test_images_are_normalised_as_asked(tmp_path):
    path = write(tmp_path / "scan.nii.gz", 100 * scan() + 40)
    zscored = read_image(path, Reading())[0]
    assert abs(zscored.mean()) < 1e-6 and abs(zscored.std() - 1) < 1e-5
    stored = read_image(path, Reading(normalise="none"))[0]
    window = read_image(path, Reading(normalise=[0, 80]))[0]
    np.testing.assert_allclose(window, np.clip(stored, 0, 80) / 80, atol=1e-6)
    assert {array.dtype for array in (zscored, stored, window)} == {np.dtype(np.float32)}


def test_h5_files_say_their_spacing_or_the_settings_do(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["image"], file["label"] = scan(), blob()
    with pytest.raises(DataError, match="data.voxel"):
        read_image(tmp_path / "scan.h5", Reading())
    assert read_image(tmp_path / "scan.h5", Reading(voxel=(1, 2, 3)))[1].array_spacing == (1, 2, 3)
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        file.attrs["spacing"] = (0.5, 0.5, 2)
    labels, geometry = read_label(tmp_path / "scan.h5", Reading(), [1])
    np.testing.assert_array_equal(labels, blob())
    assert geometry.array_spacing == (0.5, 0.5, 2)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full(SIZE, 3, np.float32), "constant, every voxel is 3"),
        (np.where(scan() > 1, np.nan, scan()), "NaN or infinite"),
        (np.zeros((4, 4, 4, 2), np.float32), "it must be one 3D volume"),
    ],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz"])  # ITK makes zeros of a NIfTI file's NaN
def test_an_image_that_is_none_is_named(tmp_path, array, said, suffix):
    path = write(tmp_path / f"scan{suffix}", array)
    with pytest.raises(DataError, match=said) as caught:
        read_image(path, Reading())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".h5"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(b"no scan at all")
    with pytest.raises(DataError) as caught:
        read_image(path, Reading())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.6, 0.99])
def test_a_file_that_is_cut_off_is_named(tmp_path, suffix, share):
    path = write(tmp_path / f"scan{suffix}", scan())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (lambda: read_image(path, Reading()), lambda: read_label(path, Reading(), [1])):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_byte_is_found_by_the_files_checksum(tmp_path):
    path = write(tmp_path / "scan.nii.gz", np.zeros(SIZE, np.float32))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum itself: the voxels decompress as they did
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_label(path, Reading(), [1])


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_the_voxels_of_a_detached_header_count(tmp_path, suffix):
    path = write(tmp_path / f"scan{suffix}", blob())
    before = file_hash(path)
    write(tmp_path / f"scan{suffix}", blob(2))
    assert file_hash(path) != before
    next(other for other in tmp_path.iterdir() if other != path).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        file_hash(path)


@pytest.mark.parametrize("window", [[100000, 100001], [-9, -8]])
def test_a_window_that_leaves_nothing_is_named(tmp_path, window):
    path = write(tmp_path / "scan.nii.gz", scan())
    with pytest.raises(DataError, match="constant within data.normalise"):
        read_image(path, Reading(normalise=window))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": np.zeros((3, 0, 3))}, "it must be one 3D volume"),
        ({"image": np.full((3, 3, 3), b"x")}, "not numbers"),
        ({"spacing": (1, 1)}, "one number or three"),
        ({"spacing": "abc"}, "one number or three"),
        ({"spacing": (1, 0, 1)}, "each above 0"),
        ({"spacing": (1, np.nan, 1)}, "each above 0"),
        ({"spacing": (1, -1, 1)}, "each above 0"),
    ],
)
def test_what_an_h5_file_may_not_hold(tmp_path, changes, said):
    content = {"image": scan(), "spacing": 1.0} | changes
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["image"] = content["image"]
        file.attrs["spacing"] = content["spacing"]
    with pytest.raises(DataError, match=said):
        read_image(tmp_path / "scan.h5", Reading())


def test_complex_numbers_are_none(tmp_path):
    image = sitk.GetImageFromArray(scan().astype(np.complex64))
    sitk.WriteImage(image, tmp_path / "label.nii.gz")
    with pytest.raises(DataError, match="complex"):
        read_label(tmp_path / "label.nii.gz", Reading(), [1])


def test_other_label_values_are_named(tmp_path):
    path = write(tmp_path / "label.nii.gz", blob(7))
    with pytest.raises(DataError, match="holds 7, but may hold 0, 1, 2"):
        read_label(path, Reading(), [1, 2])


@pytest.mark.parametrize("orientation", ["RAX", "RRS", "ras", "RA", "RASI", ""])
def test_an_orientation_has_three_axes(orientation):
    with pytest.raises(ValueError, match="for instance RAS"):
        Reading(orientation=orientation)


def test_names_of_files():
    from pathlib import Path

    assert (suffix_of(Path("a.b.nii.gz")), stem_of(Path("a.b.nii.gz"))) == (".nii.gz", "a.b")
    assert suffix_of(Path("a.txt")) == ""


@pytest.mark.parametrize("value", [255, 40000])
def test_labels_have_values_as_large_as_may_be(tmp_path, value):
    _, geometry = read_label(write(tmp_path / "a.nii.gz", blob()), Reading(), [1])
    write_labels(tmp_path / "b.nii.gz", blob(), geometry, [value])
    labels, _ = read_label(tmp_path / "b.nii.gz", Reading(), [value])
    np.testing.assert_array_equal(labels, blob())
