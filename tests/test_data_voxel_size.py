"""How large a voxel is: what files state, what they do not, and what the settings decide."""

import gzip
import os
import struct

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.nifti_file import TRUE, nifti
from helpers.scan_folder import SIZE, blob, scan, write, write_folder
from pydantic import TypeAdapter, ValidationError

from data.cache import prepare
from data.case import Case, DataError
from data.folder import FolderSource
from data.reading import Reading
from data.scans import read_geometry, read_image, read_label
from data.sources import DataSettings


def without_field(path, *names):
    """A text header without some fields."""
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(tuple(n.encode() for n in names))))
    return path


def with_field(path, before, line):
    path.write_bytes(path.read_bytes().replace(before.encode(), line.encode() + b"\n" + before.encode(), 1))
    return path


def mgz(path, states=True):
    nibabel.save(nibabel.MGHImage(scan(), np.diag([*TRUE, 1])), path)
    if not states:
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[28:30] = struct.pack(">h", 0)
        path.write_bytes(gzip.compress(bytes(content)))
    return path


def h5(path, **spacings):
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = scan(), blob()
        for name, spacing in spacings.items():
            (file if name == "file" else file[name]).attrs["spacing"] = spacing
    return path


UNSTATED = {
    "pixdim of 0.nii": lambda path: nifti(path, (0, 0, 0), None),
    "pixdim of 0.nii.gz": lambda path: nifti(path, (0, 0, 0), None),
    "one pixdim of 0.nii": lambda path: nifti(path, (0.8, 0, 3), None),
    "pixdim NaN.nii": lambda path: nifti(path, (0.8, np.nan, 3), None),
    "pixdim infinite.nii": lambda path: nifti(path, (0.8, np.inf, 3), None),
    "no spacings.nrrd": lambda path: without_field(write(path, scan()), "space"),
    "no spacings.nhdr": lambda path: without_field(write(path, scan()), "space"),
    "spacings nan.nrrd": lambda path: with_field(
        without_field(write(path, scan()), "space"), "kinds", "spacings: 1 nan 1"
    ),
    "no ElementSpacing.mha": lambda path: without_field(write(path, scan()), "ElementSpacing"),
    "no ElementSpacing.mhd": lambda path: without_field(write(path, scan()), "ElementSpacing"),
    "metres.mha": lambda path: with_field(write(path, scan()), "ElementSpacing", "DistanceUnits = m"),
    "um.mhd": lambda path: with_field(write(path, scan()), "ElementSpacing", "DistanceUnits = um"),
    "um.mha": lambda path: with_field(write(path, scan()), "ElementSpacing", "DistanceUnits = um"),
    "um.nrrd": lambda path: with_field(write(path, scan()), "space origin", 'space units: "um" "um" "um"'),
    "cm.nhdr": lambda path: with_field(
        without_field(write(path, scan()), "space"), "kinds", 'spacings: 1 1 1\nunits: "cm" "cm" "cm"'
    ),
    "no attribute.h5": lambda path: h5(path),
}


@pytest.mark.parametrize("name", UNSTATED)
def test_a_size_that_is_not_stated_is_asked_for(tmp_path, name):
    path = UNSTATED[name](tmp_path / name.replace(" ", "_"))
    for read in (read_image, read_geometry):
        with pytest.raises(DataError, match="does not state its voxel size.*set data.voxel to the mm") as caught:
            read(path, Reading())
        assert str(path) in str(caught.value) and "9 x 8 x 7" in str(caught.value)
    reading = Reading(voxel=TRUE)
    assert read_image(path, reading)[1].spacing == read_geometry(path, reading).spacing == TRUE


@pytest.mark.parametrize("unit", ["mm", "MM", "millimeter", "?", "???"])
def test_files_that_state_mm_or_no_known_unit_are_welcome(tmp_path, unit):
    for suffix, before, line in (
        (".mha", "ElementSpacing", f"DistanceUnits = {unit}"),
        (".nrrd", "space origin", f'space units: "{unit}" "{unit}" "{unit}"'),
    ):
        path = with_field(write(tmp_path / f"a{suffix}", scan()), before, line)
        assert read_geometry(path, Reading()).spacing == (1, 1.5, 2)


@pytest.mark.parametrize("name", ["um.mha", "um.nrrd"])
def test_a_case_that_was_cached_before_units_were_read_is_read_again(tmp_path, monkeypatch, name):
    suffix = name.removeprefix("um")
    root = write_folder(tmp_path / "data", suffix=suffix)
    UNSTATED[name](root / f"imagesTr/A{suffix}")
    settings = TypeAdapter(DataSettings).validate_python({"source": "folder", "root": str(root)})
    with monkeypatch.context() as earlier:
        for module in ("metaimage", "nrrd"):
            earlier.setattr(f"data.formats.{module}.other_unit", lambda *units: "")
        made = {case: Case(case, scan(number), blob(), (1, 1.5, 2)) for number, case in enumerate("ABCD")}
        earlier.setattr(FolderSource, "read", lambda self, case: made[case])
        prepare(settings, tmp_path / "cache")
    with pytest.raises(DataError, match="does not state its voxel size"):
        prepare(settings, tmp_path / "cache")


CONFLICTS = {
    "acdc.nii.gz": (lambda path: nifti(path, (1, 1, 1), TRUE), "1 x 1 x 1 mm (pixdim) and of 0.8 x 0.8 x 3 mm (sform)"),
    "acdc.nii": (lambda path: nifti(path, (1, 1, 1), TRUE), "(sform)"),
    "other way.nii": (lambda path: nifti(path, TRUE, (1, 1, 1)), "0.8 x 0.8 x 3 mm (pixdim) and of 1 x 1 x 1 mm"),
    "qform.nii": (lambda path: nifti(path, (1, 1, 1), TRUE, qform=(1, 1, 1)), "(sform)"),
    "slices.nii": (lambda path: nifti(path, (0.8, 0.8, 1), TRUE), "0.8 x 0.8 x 1 mm (pixdim)"),
    "size.mha": (lambda path: with_field(write(path, scan()), "DimSize", "ElementSize = 1 1 1"), "1 x 1 x 1 mm (Elem"),
    "file.h5": (lambda path: h5(path, image=TRUE, file=1.0), "of the file"),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_two_sizes_are_both_said_and_the_settings_decide(tmp_path, name):
    make, said = CONFLICTS[name]
    path = make(tmp_path / name.replace(" ", "_"))
    with pytest.raises(DataError, match="set data.voxel to") as caught:
        read_image(path, Reading())
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert read_image(path, Reading(voxel=(2, 3, 4)))[1].spacing == (2, 3, 4)
    if "nii" in name:
        by_field = {field: read_geometry(path, Reading(voxel=field)).spacing for field in ("pixdim", "sform")}
        stated = nibabel.load(path).header
        np.testing.assert_allclose(by_field["pixdim"], stated["pixdim"][1:4], rtol=1e-6)
        np.testing.assert_allclose(by_field["sform"], np.diag(stated.get_sform())[:3], rtol=1e-6)


@pytest.mark.parametrize(
    ("pixdim", "sform", "unit"),
    [
        (TRUE, TRUE, 2), (TRUE, None, 2), ((0.4883, 0.4883, 3), (0.48828125, 0.48828125, 3), 2),
        ((0.8, 0.8, 3.0001), TRUE, 2), ((0.0008, 0.0008, 0.003), (0.0008, 0.0008, 0.003), 1),
        ((800, 800, 3000), (800, 800, 3000), 3), ((0, 0, 0), TRUE, 2), ((np.nan, 0.8, 3), TRUE, 2),
    ],
)  # fmt: skip
def test_what_agrees_to_rounding_and_one_size_alone_are_welcome(tmp_path, pixdim, sform, unit):
    spacing = read_geometry(nifti(tmp_path / "a.nii.gz", pixdim, sform, unit=unit), Reading()).spacing
    scale = {1: 1000, 2: 1, 3: 0.001}[unit]
    expected = np.multiply(pixdim if np.isfinite(pixdim).all() and np.all(pixdim) else sform, scale)
    np.testing.assert_allclose(spacing, expected, rtol=1e-6)


def test_stated_sizes_are_not_replaced(tmp_path):
    assert read_geometry(nifti(tmp_path / "a.nii"), Reading(voxel=(1, 1, 1))).spacing == pytest.approx(TRUE)


@pytest.mark.slow
def test_a_shift_of_two_slices_is_as_long_as_the_slices_are_thick(tmp_path):
    """The sizes that were chosen reach the cases, whose distances are measured with them."""
    root = write_folder(tmp_path / "data")
    for number, (side, name) in enumerate((("Tr", "A"), ("Tr", "B"), ("Tr", "C"), ("Ts", "D"))):
        nifti(root / f"images{side}/{name}.nii.gz", (1, 1, 1), array=scan(number))
        nifti(root / f"labels{side}/{name}.nii.gz", (1, 1, 1), array=blob())
    values = {"source": "folder", "root": str(root)}
    with pytest.raises(DataError, match="states voxels of 1 x 1 x 1 mm"):
        prepare(TypeAdapter(DataSettings).validate_python(values), tmp_path / "cache")
    for voxel, expected in (("sform", TRUE), ("pixdim", (1, 1, 1)), ([0.5, 0.5, 2], (0.5, 0.5, 2))):
        settings = TypeAdapter(DataSettings).validate_python(values | {"voxel": voxel})
        assert prepare(settings, tmp_path / "cache").native("D").spacing == pytest.approx(expected)


@pytest.mark.parametrize("sizes", ["1 0 1", "1 1", "1 nan 1", "inf 1 1", "-1 1 1", "a b c", ""])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_sizes_that_itk_refuses_are_named(tmp_path, suffix, sizes):
    path = without_field(write(tmp_path / f"a{suffix}", scan()), "ElementSpacing")
    with_field(path, "DimSize", f"ElementSpacing = {sizes}")
    with pytest.raises(DataError, match="ElementSpacing") as caught:
        read_image(path, Reading())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("voxel", ["qform", [1, 1], [1, 0, 1], [1, np.inf, 1], 1.0])
def test_sizes_that_cannot_be_set(voxel):
    with pytest.raises(ValidationError):
        Reading(voxel=voxel)


SHEAR = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sform": SHEAR, "pixdim": (1, 1, 1)}, "degrees off right angles: resample the scan"),
        ({"sform": (0, 0, 0)}, "axis of length 0"),
        ({"sform": (0.8, 0, 3)}, "axis of length 0"),
        ({"sform": (0.8, np.nan, 3)}, "axis of length 0 or NaN"),
        ({"pixdim": (-0.8, 0.8, 3)}, "pixdim is negative.*Write positive sizes"),
        ({"pixdim": (-0.8, 0.8, 3), "sform": None}, "pixdim is negative.*Write positive sizes"),
        ({"pixdim": (0.8, 0.8, -3), "sform": None, "qform": (1, 1, 3)}, "pixdim is negative"),
    ],
)
def test_axes_that_cannot_be_come_with_advice(tmp_path, fields, said, suffix):
    path = nifti(tmp_path / f"a{suffix}", **fields)
    with pytest.raises(DataError, match=said) as caught:
        read_image(path, Reading())
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_negative_pixdim_is_harmless_where_axes_are_not_turned(tmp_path):
    path = nifti(tmp_path / "a.nii", (-0.8, 0.8, 3))
    array, geometry = read_image(path, Reading(orientation="stored", normalise="none"))
    np.testing.assert_array_equal(array, scan())
    assert geometry.spacing == pytest.approx(TRUE)


def test_axes_nearly_at_right_angles_are_welcome(tmp_path):
    sform = np.array([[1, 0.001, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert read_geometry(nifti(tmp_path / "a.nii", (1, 1, 1), sform), Reading()).spacing == (1, 1, 1)


def test_freesurfers_files_have_the_geometry_of_nifti(tmp_path):
    geometry = read_geometry(mgz(tmp_path / "a.mgz"), Reading())
    nibabel.save(nibabel.Nifti1Image(scan(), np.diag([*TRUE, 1])), tmp_path / "a.nii.gz")
    assert not geometry.differences(read_geometry(tmp_path / "a.nii.gz", Reading()))
    np.testing.assert_array_equal(*(read_image(tmp_path / f"a{s}", Reading())[0] for s in (".mgz", ".nii.gz")))
    with pytest.raises(DataError, match="does not say how its axes lie.*data.orientation: stored"):
        read_image(mgz(tmp_path / "b.mgz", states=False), Reading())
    with pytest.raises(DataError, match="does not state its voxel size"):
        read_image(tmp_path / "b.mgz", Reading(orientation="stored"))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Spm99AnalyzeImage])
def test_pairs_of_header_and_voxels_are_read(tmp_path, kind):
    nibabel.save(kind(scan(), np.diag([*TRUE, 1])), tmp_path / "a.hdr")
    array, geometry = read_image(tmp_path / "a.hdr", Reading(orientation="stored", normalise="none"))
    np.testing.assert_array_equal(array, scan())
    assert geometry.spacing == pytest.approx(TRUE)
    if kind is nibabel.Spm99AnalyzeImage:
        with pytest.raises(DataError, match="does not say which side is left"):
            read_image(tmp_path / "a.hdr", Reading())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".mgz", ".hdr"])
def test_one_volume_may_have_further_axes_of_length_1(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["image"] = scan()[..., None]
            file.attrs["spacing"] = TRUE
    elif suffix == ".mgz":
        nibabel.save(nibabel.MGHImage(scan(), np.diag([*TRUE, 1])), path)
    elif suffix in (".nii", ".nii.gz", ".hdr"):
        kind = nibabel.Nifti1Pair if suffix == ".hdr" else nibabel.Nifti1Image
        nibabel.save(kind(scan()[..., None], np.diag([*TRUE, 1])), path)
    else:
        volume = sitk.GetImageFromArray(np.ascontiguousarray(scan().transpose(2, 1, 0)))
        volume.SetSpacing(TRUE)
        sitk.WriteImage(sitk.JoinSeries([volume]), path)
    array, geometry = read_image(path, Reading(orientation="stored", normalise="none"))
    np.testing.assert_array_equal(array, scan())
    assert geometry.spacing == pytest.approx(TRUE) and geometry.size == SIZE and len(geometry.direction) == 9
    assert read_geometry(path, Reading(orientation="stored")).spacing == geometry.spacing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_may_be_whole_numbers_to_rounding(tmp_path, dtype):
    nearly = np.where(blob() > 0, 0.9999999, 1e-7).astype(dtype)
    np.testing.assert_array_equal(
        read_label(nifti(tmp_path / "a.nii", array=nearly), Reading(orientation="stored"), [1])[0], blob()
    )
    for wrong in (0.98, 1.002, 0.5, -0.01):
        with pytest.raises(DataError, match=f"holds {wrong:g}, but may hold"):
            read_label(nifti(tmp_path / "b.nii", array=np.where(blob() > 0, wrong, 0).astype(dtype)), Reading(), [1])


def test_the_distributed_acdc_files_are_told_what_to_write(tmp_path):
    """Their voxel size is stated nowhere; papers give distances in voxels."""
    acdc = os.environ.get("SEMISEG_ACDC")
    if not acdc:
        pytest.skip("SEMISEG_ACDC is not set to a folder of the ACDC data set")
    (tmp_path / "imagesTr").symlink_to(f"{acdc}/data")
    names = sorted(os.listdir(f"{acdc}/data"))[:4]
    for list_file, cases in (("a.txt", names[:3]), ("b.txt", names[3:])):
        (tmp_path / list_file).write_text("".join(f"{name.removesuffix('.h5')}\n" for name in cases))
    values = {
        "source": "folder", "root": str(tmp_path), "labels": {"RV": 1, "Myo": 2, "LV": 3},
        "split": {"train": "a.txt", "test": "b.txt"},
    }  # fmt: skip
    with pytest.raises(
        DataError, match=r"set data.voxel to the mm along its axes of .* \[1, 1, 1\] gives distances in"
    ):
        prepare(TypeAdapter(DataSettings).validate_python(values), tmp_path / "cache")
    dataset = prepare(TypeAdapter(DataSettings).validate_python(values | {"voxel": [1, 1, 1]}), tmp_path / "cache")
    assert dataset.native(dataset.test_ids[0]).spacing == (1, 1, 1)
