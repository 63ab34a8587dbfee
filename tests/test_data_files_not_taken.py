"""No file of a data folder is passed over without a word; what nibabel and SimpleITK read is read."""

import codecs
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
import yaml
from helpers.command_line import command, one_line_error  # noqa: F401
from helpers.scan_folder import blob, scan, write, write_folder
from pydantic import TypeAdapter

from data.cache import prepare
from data.case import DataError
from data.names import MOST_BYTES, name_problems
from data.reading import Reading
from data.scan_files import scan_files
from data.scans import read_image
from data.sources import DataSettings, open_source

FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")


def source_of(root, **more):
    return open_source(TypeAdapter(DataSettings).validate_python({"source": "folder", "root": str(root)} | more))


def problem_of(root, name):
    """The one problem of a folder, which must name this file."""
    [problem] = [problem for problem in source_of(root).problems if "without an image" not in problem]
    assert name in problem and "\n" not in problem
    return problem


ENDINGS = {
    ".nii.gz.part": "a download that did not finish",
    ".nii.gz.crdownload": "a download that did not finish",
    ".nii.gz.PARTIAL": "a download that did not finish",
    ".nii.gz.tmp": "a download that did not finish",
    ".nii (1).gz": "rename it",
    ".nii.gz (1)": "rename it",
    ".nii.gz.txt": "rename it",
    ".nrrd.LOG": "rename it",
    ".nii.gz.1": "rename it",
    ".nii.gz~": "rename it",
    ".nii.gz.bak": "rename it",
    ".nii.gz_old": "rename it",
    ".nii.bz2": "rename it",
    ".nii.zst": "rename it",
    ".img": "without a header .hdr",
    ".dcm": "a format that is not read",
    ".mnc": "a format that is not read",
    ".gipl": "a format that is not read",
    ".npy": "a format that is not read",
    ".npz": "a format that is not read",
    ".mat": "a format that is not read",
    ".png": "a format that is not read",
    ".tif": "a format that is not read",
    ".zip": "an archive",
    ".tar.gz": "an archive",
    "": "a format that is not read",
    ".gz": "a format that is not read",
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_label_or_an_image_in_another_ending_is_named(tmp_path, folder, ending):
    """Before, such a label made its case unlabelled, and such an image and label made the case vanish."""
    root = write_folder(tmp_path / "data", test=2)
    case = "B" if folder.endswith("Tr") else "E"
    (root / folder / f"{case}.nii.gz").rename(root / folder / f"{case}{ending}")
    problem = problem_of(root, f"{case}{ending}")
    assert ENDINGS[ending] in problem and str(root / folder) in problem


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize(
    ("name", "said"),
    [("B.nii.gz/B.nii.gz", "a folder with the name of a scan"), ("sub/B.nii.gz", "move its scans up"),
     ("sub/sub/B.nii.gz", "move its scans up"), (".B.nii.gz.Xy12ab", "did not finish")],
)  # fmt: skip
def test_subfolders_and_hidden_downloads_are_named(tmp_path, folder, name, said):
    root = write_folder(tmp_path / "data", test=2)
    case = "B" if folder.endswith("Tr") else "E"
    source, target = root / folder / f"{case}.nii.gz", root / folder / name.replace("B", case)
    shutil.move(source, tmp_path / "aside")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "aside", target)
    assert said in problem_of(root, name.replace("B", case).split("/")[0])


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_that_lead_nowhere_are_named(tmp_path, folder):
    root = write_folder(tmp_path / "data", test=2)
    case = "B" if folder.endswith("Tr") else "E"
    (root / folder / f"{case}.nii.gz").unlink()
    (root / folder / f"{case}.nii.gz").symlink_to(tmp_path / "nowhere")
    assert "a link to a file that does not exist" in problem_of(root, f"{case}.nii.gz")
    (root / folder / f"{case}.nii.gz").unlink()
    (root / folder / f"{case}.nii.gz").symlink_to(f"{case}.nii.gz")
    problem_of(root, f"{case}.nii.gz")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_that_is_a_link_to_nowhere_is_no_empty_folder(tmp_path, folder):
    root = write_folder(tmp_path / "data")
    shutil.rmtree(root / folder)
    (root / folder).symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"{folder} is a link to .*nowhere, which does not exist"):
        source_of(root)


def test_a_pipe_is_no_scan_and_nobody_waits_for_it(tmp_path):
    root = write_folder(tmp_path / "data")
    (root / "labelsTr/B.nii.gz").unlink()
    os.mkfifo(root / "labelsTr/B.nii.gz")
    assert "no regular file" in problem_of(root, "B.nii.gz")


@pytest.mark.parametrize(
    ("wrong", "right"), [("labelstr", "labelsTr"), ("ImagesTs", "imagesTs"), ("labelsTs ", "labelsTs")]
)
def test_a_folder_in_other_capitals_is_named(tmp_path, wrong, right):
    root = write_folder(tmp_path / "data")
    (root / right).rename(root / wrong)
    more = {} if right == "labelsTr" else {"split": {"test": 0.34}}
    assert any(f"rename it to {right}" in problem for problem in source_of(root, **more).problems)


def test_what_is_surely_no_scan_is_noted_alone(tmp_path, command, monkeypatch):  # noqa: F811
    root = write_folder(tmp_path / "data")
    for name in ("README", "notes.txt", "A.json", ".DS_Store", "._A.nii.gz"):
        (root / "imagesTr" / name).write_text("{}")
    (root / "imagesTr/empty").mkdir()
    (root / "imagesVal").mkdir()
    source = source_of(root)
    assert not source.problems and source.train_ids == ["A", "B", "C"]
    notes = "\n".join(source.notes)
    assert all(name in notes for name in ("README", "notes.txt", "A.json", "empty", "imagesVal"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "e.yaml").write_text(
        yaml.safe_dump(
            {"name": "e", "methods": ["vnet"], "labelled": [2], "data": {"source": "folder", "root": str(root)}}
        )
    )
    status, said, errors = command("data", "info", "e.yaml")
    assert status == 0 and not errors and "A.json, README, notes.txt (3 files) are not taken, no scan" in said
    (root / "labelsTr/B.nii.gz").rename(root / "labelsTr/B.nii.gz.part")
    assert "B.nii.gz.part is not taken, a download that did not finish" in one_line_error(
        command("run", "e.yaml", "--results", "r")
    )


def test_cases_in_no_part_of_the_split_are_noted(tmp_path):
    root = write_folder(tmp_path / "data")
    (root / "train.txt").write_text("A\n")
    (root / "test.txt").write_text("D\n")
    notes = source_of(root, split={"train": "train.txt", "test": "test.txt"}).notes
    assert any("2 cases are in no part of data.split: B, C" in note for note in notes)


@pytest.mark.parametrize("suffix", [".hdr", ".mgz", ".mgh", ".NII.GZ", ".Nrrd", ".MHA", ".mhd", ".nhdr"])
def test_more_formats_are_read_in_images_and_labels(tmp_path, suffix):
    root = write_folder(tmp_path / "data")
    expected = source_of(root).read("B")
    for folder in ("imagesTr", "labelsTr"):
        source = root / folder / "B.nii.gz"
        stored = nibabel.load(source)
        array = np.asanyarray(stored.dataobj)
        if suffix == ".hdr":
            nibabel.save(nibabel.Nifti1Pair(array, stored.affine), root / folder / "B.hdr")
        elif suffix in (".mgz", ".mgh"):
            kind = np.uint8 if folder == "labelsTr" else np.float32
            nibabel.save(nibabel.MGHImage(array.astype(kind), stored.affine), root / folder / f"B{suffix}")
        elif suffix == ".NII.GZ":
            shutil.copy(source, root / folder / f"B{suffix}")
        else:
            write(root / folder / f"B{suffix.lower()}", scan(1) if folder == "imagesTr" else blob())
            (root / folder / f"B{suffix.lower()}").rename(root / folder / f"B{suffix}")
        source.unlink()
    found = source_of(root)
    assert not found.problems and found.train_ids == ["A", "B", "C"]
    case = found.read("B")
    np.testing.assert_array_equal(case.image, expected.image)
    np.testing.assert_array_equal(case.label, expected.label)
    assert case.spacing == pytest.approx(expected.spacing)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lists_and_json_may_begin_with_a_mark(tmp_path, encoding):
    root = write_folder(tmp_path / "data")
    for name, text in (
        ("train.txt", "A\r\nB\r\nC\r\n"),
        ("test.txt", "D"),
        ("dataset.json", json.dumps({"name": "Märk", "labels": {"a": 1}}, ensure_ascii=False)),
    ):
        (root / name).write_bytes(text.encode(encoding))
    source = source_of(root, split={"train": "train.txt", "test": "test.txt"})
    assert (source.train_ids, source.test_ids, source.name) == (["A", "B", "C"], ["D"], "Märk")


@pytest.mark.parametrize("content", [codecs.BOM_UTF16_LE + "A\n".encode("utf-16-le"), "Bä".encode("latin-1")])
def test_lists_in_other_encodings_are_named(tmp_path, content):
    root = write_folder(tmp_path / "data")
    (root / "train.txt").write_bytes(content)
    (root / "test.txt").write_text("D")
    with pytest.raises(DataError, match="train.txt"):
        source_of(root, split={"train": "train.txt", "test": "test.txt"})


NAMES = {
    "240 bytes": (["x" * 240], "has 240 bytes"),
    "240 bytes of letters of 3": (["é" * 120], "has 240 bytes"),
    "surrogate": (["caf\udce9"], "not in UTF-8"),
    "line": (["a\nb"], "must not hold '\\n'"),
    "delete": (["a\x7fb"], "must not hold"),
    "separator": (["a\u2028b"], "must not hold"),
    "blank": ([" a"], "begin or end with a blank"),
    "slash": (["a/b"], "must not hold '/'"),
    "dots": ([".."], "must have letters"),
    "capitals": (["Scan", "scan"], "'Scan' and 'scan'"),
    "capitals of é": (["É", "é"], "differ only in case"),
    "forms of é": (["caf\u00e9", "cafe\u0301"], "form of letters"),
    "sharp s": (["straße", "STRASSE"], "differ only in case"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_break_elsewhere_are_refused(name):
    names, said = NAMES[name]
    [problem] = name_problems(names)
    assert said in problem and problem.isprintable()


def test_other_names_are_welcome():
    assert not name_problems(["a b", "é", "病例1", "x" * MOST_BYTES, "a.b-c_d (2)", "-1", "=1", "010", "P1", "p2"])


LONG = "x" * 240


@pytest.mark.parametrize(
    ("names", "said"),
    [((LONG,), "has 240 bytes"), (("Case", "case"), "differ only in case"), (("e\u0301", "é"), "form of letters"),
     ((b"caf\xe9",), "not in UTF-8")],
)  # fmt: skip
def test_a_folder_with_such_names_is_refused_before_anything_is_prepared(tmp_path, names, said):
    root = write_folder(tmp_path / "data")
    for number, name in enumerate(names):
        for folder, array in (("imagesTr", scan(20 + number)), ("labelsTr", blob())):
            path = write(tmp_path / "new.nii.gz", array)
            os.rename(path, os.fsencode(root / folder) + b"/" + os.fsencode(name) + b".nii.gz")
    with pytest.raises(DataError) as caught:
        prepare(TypeAdapter(DataSettings).validate_python({"source": "folder", "root": str(root)}), tmp_path / "cache")
    assert said in str(caught.value) and str(caught.value).encode()
    if said != "not in UTF-8":  # such a file is never taken
        assert not [path for path in (tmp_path / "cache").glob("*") if path.is_dir()]


@pytest.mark.parametrize(("image", "label"), [("Case", "case"), ("e\u0301", "é")])
def test_a_label_named_nearly_as_its_image_is_pointed_out(tmp_path, image, label):
    root = write_folder(tmp_path / "data")
    write(root / f"imagesTr/{image}.nii.gz", scan(9))
    write(root / f"labelsTr/{label}.nii.gz", blob())
    assert any("differs in case or in the form of letters" in problem for problem in source_of(root).problems)


def test_a_folder_to_ignore_is_no_problem(tmp_path):
    write(tmp_path / "a.nii.gz", scan())
    write(tmp_path / "out/a.nii.gz", scan())
    assert scan_files(tmp_path).problems and not scan_files(tmp_path, ignore=tmp_path / "out").problems


def test_a_case_without_its_file_in_a_left_atrium_folder_is_named(tmp_path):
    from helpers.la_folder import write_la_folder

    root = write_la_folder(tmp_path)
    (root / "2018LA_Seg_Training Set/B/mri_norm2.h5").rename(root / "2018LA_Seg_Training Set/B/mri_norm2.h5.part")
    settings = TypeAdapter(DataSettings).validate_python({"source": "la", "root": str(root), "split": {"test": 0.5}})
    with pytest.raises(DataError, match="B without mri_norm2.h5"):
        prepare(settings, tmp_path / "cache")


@pytest.mark.parametrize("name", ["loop.nii.gz", "loop.raw", "loop.txt", "loop"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_link_in_a_circle_is_named(tmp_path, folder, name):
    root = write_folder(tmp_path / "scans")
    (root / folder / name).symlink_to(name)
    assert "link" in problem_of(root, name)


def test_voxels_behind_a_link_in_a_circle(tmp_path):
    root = write_folder(tmp_path / "scans", suffix=".mhd")
    voxels = next((root / "imagesTr").glob("A.*raw"))
    voxels.unlink()
    voxels.symlink_to(voxels.name)
    with pytest.raises(DataError, match="A.mhd cannot be read: its voxels should be in"):
        read_image(root / "imagesTr" / "A.mhd", Reading())
    source_of(root)  # does not raise


@pytest.mark.parametrize("name", ["c9.nii.gz", "c9_label.NRRD", "mask.mha", "c9.h5"])
def test_scans_beside_the_folders_are_named(tmp_path, name):
    root = write_folder(tmp_path / "root")
    (root / name).write_bytes(b"")
    (root / "notes.txt").write_text("")
    [note] = [note for note in source_of(root).notes if "scans that are not read" in note]
    assert f": {name};" in note and "notes" not in note


@pytest.mark.parametrize("renamed", ["labelstr", "LABELSTR", "Labels"])
def test_a_split_without_any_label_says_so(tmp_path, renamed):
    """Before, the share of the split was blamed: it left 0 of 0 cases."""
    root = write_folder(tmp_path / "root")
    shutil.move(root / "labelsTr", root / renamed)
    with pytest.raises(DataError, match="labelsTr holds no label of a training scan: add the labels") as caught:
        source_of(root, split={"test": 0.25})
    assert renamed == "Labels" or f"{renamed} is not read: rename it to labelsTr" in str(caught.value)
