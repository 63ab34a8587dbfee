"""Voxels that a file takes from another: read and hashed in the scan's own folder, refused from anywhere else."""

import h5py
import numpy as np
import pytest
from helpers.scan_folder import blob, scan, write
from pydantic import TypeAdapter

from data.case import DataError
from data.reading import Reading
from data.scans import file_hash, has_label, read_geometry, read_image, read_label
from data.sources import DataSettings, open_source

READING = Reading(orientation="stored", normalise="none", voxel=(1, 1, 1))


def secret(tmp_path):
    """A file outside of the data, with enough bytes to be an image."""
    path = tmp_path / "elsewhere" / "passwd"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(np.random.default_rng(0).integers(0, 255, 4 * scan().size, np.uint8).tobytes())
    return path


def external_link(file, path):
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["image"], other["label"] = scan(), blob()
    file["image"] = h5py.ExternalLink(str(path.with_name("other.h5")), "/image")


def soft_to_external_link(file, path):
    external_link(file, path)
    file["linked"] = file.get("image", getlink=True)
    del file["image"]
    file["image"] = h5py.SoftLink("/linked")


def below_external_link(file, path):
    external_link(file, path)
    del file["image"]
    file["group"] = h5py.ExternalLink(str(path.with_name("other.h5")), "/")
    file["image"] = h5py.SoftLink("/group/image")


def external_storage(file, path):
    size = scan().nbytes
    file.create_dataset("image", scan().shape, np.float32, external=[(str(secret(path.parent)), 0, size)])


def virtual(file, path):
    external_link(file, path)
    del file["image"]
    layout = h5py.VirtualLayout(scan().shape, np.float32)
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "image", scan().shape)
    file.create_virtual_dataset("image", layout)


@pytest.mark.parametrize("make", [external_link, soft_to_external_link, below_external_link, external_storage, virtual])
def test_h5_files_hold_their_own_values(tmp_path, make):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        make(file, path)
    for read in (read_image, read_geometry):
        with pytest.raises(DataError, match="values of image are in another file .* copy them into this one") as caught:
            read(path, READING)
        assert str(path) in str(caught.value)


def test_a_label_elsewhere_is_refused_too(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["image"] = scan()
        file["label"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/label")
    for read in (lambda: has_label(path), lambda: read_label(path, READING, [1])):
        with pytest.raises(DataError, match="values of label are in another file"):
            read()


@pytest.mark.parametrize("target", ["/inside", "inside", "group/inside", "/group/inside"])
def test_links_within_an_h5_file_are_followed(tmp_path, target):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[target] = scan()
        file["image"] = h5py.SoftLink(target)
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5", READING)[0], scan())


@pytest.mark.parametrize("target", ["/image", "/other", "/missing"])
def test_links_that_lead_nowhere_are_named(tmp_path, target):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["other"] = h5py.SoftLink(target), h5py.SoftLink("/image")
    with pytest.raises(DataError, match="a.h5: (the links to image lead in a circle|there is no dataset)"):
        read_image(tmp_path / "a.h5", READING)


METAIMAGE = "NDims = 3\nDimSize = 9 8 7\nElementSpacing = 1 1 1\nElementType = MET_FLOAT\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: float\ndimension: 3\nsizes: 9 8 7\nspacings: 1 1 1\nendian: little\nencoding: raw\n" \
       "data file: {}\n\n"  # fmt: skip
HEADERS = [(".mhd", METAIMAGE), (".mha", METAIMAGE), (".nhdr", NRRD), (".nrrd", NRRD)]


def detached(path, header, name):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header.format(name))
    return path


def put(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(array.tobytes(order="F"))


@pytest.mark.parametrize(("suffix", "header"), HEADERS)
@pytest.mark.parametrize("way", ["absolute", "..", "below and back", "link", "link to folder", "list", "series"])
def test_voxels_outside_of_the_folder_are_refused(tmp_path, suffix, header, way):
    target = secret(tmp_path)
    folder = tmp_path / "scans"
    (folder / "below").mkdir(parents=True)
    (folder / "link.raw").symlink_to(target)
    (folder / "linked").symlink_to(target.parent)
    names = {
        "absolute": str(target), "..": "../elsewhere/passwd", "below and back": "below/../../elsewhere/passwd",
        "link": "link.raw", "link to folder": "linked/passwd", "list": f"LIST\n{target}\n",
        "series": f"{target.parent}/pass%dwd 1 1 1",
    }  # fmt: skip
    path = detached(folder / f"a{suffix}", header, names[way])
    for read in (lambda: read_image(path, READING), lambda: read_geometry(path, READING), lambda: file_hash(path)):
        with pytest.raises(DataError, match="outside of its own folder, which is not read") as caught:
            read()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(("suffix", "header"), HEADERS)
@pytest.mark.parametrize("name", ["a.raw", "below/a.raw", "./a.raw"])
def test_voxels_beside_the_header_are_read_and_hashed(tmp_path, suffix, header, name):
    path = detached(tmp_path / f"a{suffix}", header, name)
    put(tmp_path / name, scan())
    np.testing.assert_array_equal(read_image(path, READING)[0], scan())
    before = file_hash(path)
    put(tmp_path / name, scan(1))
    assert file_hash(path) != before
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match="there is no such file"):
        file_hash(path)


@pytest.mark.parametrize(("suffix", "header"), HEADERS)
def test_a_header_may_be_a_link_to_where_its_voxels_are(tmp_path, suffix, header):
    store = detached(tmp_path / f"store/a{suffix}", header, "a.raw")
    put(tmp_path / "store/a.raw", scan())
    (tmp_path / "scans").mkdir()
    (tmp_path / f"scans/a{suffix}").symlink_to(store)
    (tmp_path / "scans/a.raw").symlink_to(tmp_path / "store/a.raw")
    np.testing.assert_array_equal(read_image(tmp_path / f"scans/a{suffix}", READING)[0], scan())


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd", ".hdr"])
@pytest.mark.parametrize("side", ["images", "labels"])
def test_replaced_voxels_make_another_case(tmp_path, suffix, side):
    """The cache and the fingerprint hang on this key."""
    for name in "AB":
        for folder, array in (("images", scan(ord(name))), ("labels", blob().astype(np.float32))):
            if suffix == ".hdr":
                write(tmp_path / f"{folder}Tr/{name}.hdr", array)
            else:
                header = dict(HEADERS)[suffix]
                detached(tmp_path / f"{folder}Tr/{name}{suffix}", header, f"{name}.raw")
                put(tmp_path / f"{folder}Tr/{name}.raw", array)
    values = {"source": "folder", "root": str(tmp_path), "labels": {"organ": 1}, "split": {"test": 0.5}}
    source = open_source(TypeAdapter(DataSettings).validate_python(values))
    assert not source.problems, "the files of voxels are no scans that are passed over"
    before = {case: source.content_key(case) for case in "AB"}
    voxels = tmp_path / f"{side}Tr" / f"A.{'img' if suffix == '.hdr' else 'raw'}"
    voxels.write_bytes(voxels.read_bytes()[::-1] if side == "images" else bytes(voxels.stat().st_size))
    after = {case: source.content_key(case) for case in "AB"}
    assert before["A"] != after["A"] and before["B"] == after["B"]
