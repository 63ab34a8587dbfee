"""Damaged and hostile scans: each is named in one line, none takes the process with it, and the list goes on."""

import gzip
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
import psutil
import pytest
from helpers.scan_folder import SIZE, blob, scan, write, write_folder
from pydantic import TypeAdapter

from data import reader
from data.cache import prepare
from data.case import DataError, DataProblems
from data.reading import Reading
from data.scans import file_hash, read_geometry, read_image, read_label
from data.sources import DataSettings

READING = Reading(voxel=(1, 1, 1))


def refused(path, said="cannot be read", *reads):
    for read in reads or (lambda: read_image(path, READING), lambda: read_label(path, READING, [1])):
        with pytest.raises(DataError, match=said) as caught:
            read()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def patched(path, offset, content):
    """A NIfTI file with some bytes of its header replaced."""
    whole = bytearray(gzip.decompress(path.read_bytes()) if path.name.endswith("gz") else path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(whole)) if path.name.endswith("gz") else whole)
    return path


NIFTI = {
    "data type 3": (70, struct.pack("<h", 3)),
    "data type 0": (70, struct.pack("<h", 0)),
    "data type -1": (70, struct.pack("<h", -1)),
    "data type 1": (70, struct.pack("<h", 1)),
    "2^45 voxels": (40, struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)),
    "2^105 voxels": (40, struct.pack("<8h", 7, *[32767] * 7)),
    "more than there is": (40, struct.pack("<8h", 3, 512, 512, 512, 1, 1, 1, 1)),
    "a negative length": (40, struct.pack("<8h", 3, 9, -8, 7, 1, 1, 1, 1)),
    "no length": (40, struct.pack("<8h", 3, 9, 0, 7, 1, 1, 1, 1)),
    "no dimension": (40, struct.pack("<h", 0)),
    "-3 dimensions": (40, struct.pack("<h", -3)),
    "9 dimensions": (40, struct.pack("<h", 9)),
    "offset NaN": (108, struct.pack("<f", float("nan"))),
    "offset infinite": (108, struct.pack("<f", float("inf"))),
    "offset -1": (108, struct.pack("<f", -1)),
    "offset 10": (108, struct.pack("<f", 10)),
    "offset 1e9": (108, struct.pack("<f", 1e9)),
    "offset 2^60": (108, struct.pack("<f", 2.0**60)),
    "no mark": (344, b"abc\0"),
    "other length": (0, struct.pack("<i", 12)),
    "four dimensions": (40, struct.pack("<8h", 4, 9, 8, 7, 1000, 1, 1, 1)),
}


@pytest.mark.parametrize("place", [float("nan"), float("inf"), -1e30, 1e9])
@pytest.mark.parametrize("axis", range(3))
def test_an_origin_that_cannot_be(tmp_path, axis, place):
    """Any label agreed with an origin that is NaN, and 1e300 mm ended the list of problems with a traceback."""
    value = struct.pack("<f", place)
    path = patched(write(tmp_path / "a.nii", scan()), 268 + 4 * axis, value)
    patched(path, 292 + 16 * axis, value)
    refused(path, "puts the first voxel at", lambda: read_image(path, READING), lambda: read_geometry(path, READING))


@pytest.mark.parametrize(
    ("suffix", "field", "line", "said"),
    [
        (".mha", b"Offset", b"Offset = 0 1e300 0", "puts the first voxel at"),
        (".mha", b"TransformMatrix", b"TransformMatrix = 1 0 0 0 1 0 0 1 0", "direction"),
        (".nrrd", b"space directions", b"space directions: (1,0,0) (0,1,0) (0,1,0)", "direction"),
    ],
)
def test_a_position_that_cannot_be_is_told_in_words(tmp_path, suffix, field, line, said):
    path = write(tmp_path / f"a{suffix}", scan())
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line if old.startswith(field) else old for old in lines))
    refused(path, said, lambda: read_image(path, READING))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", NIFTI)
def test_a_nifti_header_that_cannot_be(tmp_path, suffix, name):
    refused(patched(write(tmp_path / f"a{suffix}", scan()), *NIFTI[name]))


METAIMAGE = {
    "NDims = 3": ["NDims = -1", "NDims = 0", "NDims = 99999999", "NDims = x", "NDims =", "NDims = 2", "Dims = 3"],
    "DimSize = 9 8 7": ["DimSize = 9 -8 7", "DimSize = 9 8", "DimSize = 0 8 7", "DimSize = 99999 99999 99999",
                        "DimSize = 9e9 8 7", f"DimSize = {'9' * 400} 8 7", f"DimSize = {'9' * 5000} 8 7",
                        "DimSize = a b c", "DimSize = 512 512 512", "DimSize = 9 8 7 7"],
    "ElementType = MET_FLOAT": ["ElementType = MET_NONE", "ElementType = x", "ElementType =",
                                "ElementType = MET_FLOAT\nHeaderSize = -5",
                                "ElementType = MET_FLOAT\nElementNumberOfChannels = -1",
                                "ElementType = MET_FLOAT\nElementType = MET_DOUBLE"],
    "ElementDataFile": ["ElementData", "ElementDataFile =\nX", "ElementDataFile = %999999999d.raw 1 2 1\n",
                        "ElementDataFile = a%d.raw 1 999999999999 1\n", "ElementDataFile = a%d.raw 1 2 0\n",
                        "ElementDataFile = a%s.raw 1 2 1\n", "ElementDataFile = a\0.raw\n", "ElementDataFile = LIST\n",
                        f"ElementDataFile = {'a' * 300}.raw\n"],
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(("before", "after"), [(old, new) for old, news in METAIMAGE.items() for new in news])
def test_a_metaimage_header_that_cannot_be(tmp_path, suffix, before, after):
    path = write(tmp_path / f"a{suffix}", scan())
    content = path.read_bytes()
    assert before.encode() in content
    path.write_bytes(content.replace(before.encode(), after.encode(), 1))
    refused(path)


NRRD = {
    "NRRD0004": ["NRRD", "nrrd0004", ""],
    "dimension: 3": ["dimension: -1", "dimension: 0", "dimension: 99999999", "dimension: x", "dimension: 2", "d: 3"],
    "sizes: 9 8 7": ["sizes: 9 -8 7", "sizes: 9 8", "sizes: 0 8 7", "sizes: 99999 99999 99999", "sizes: a b c",
                     "sizes: 512 512 512", "sizes: 9 8 7\nsizes: 1 1 1"],
    "type: float": ["type: block", "type: x", "type:"],
    "endian: little": [f"endian: little\ndata file: {name}" for name in (
        "%999999999d.raw 1 2 1", "a%d.raw 1 999999999999 1", "a%d.raw 1 2 0", "a%s.raw 1 2 1", "a\0.raw", "LIST", "",
        "a" * 300 + ".raw")],
    "encoding: raw": ["encoding: bzip2", "encoding: x", "encoding:"],
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
@pytest.mark.parametrize(("before", "after"), [(old, new) for old, news in NRRD.items() for new in news])
def test_an_nrrd_header_that_cannot_be(tmp_path, suffix, before, after):
    path = write(tmp_path / f"a{suffix}", scan())
    content = path.read_bytes()
    assert before.encode() in content
    path.write_bytes(content.replace(before.encode(), after.encode(), 1))
    refused(path)


@pytest.mark.parametrize(
    ("offset", "content"),
    [(0, b"\0\0\0\2"), (4, struct.pack(">4i", 99999, 99999, 99999, 1)), (4, struct.pack(">4i", 9, -8, 7, 1)),
     (4, struct.pack(">4i", 512, 512, 512, 1)), (20, struct.pack(">i", 77)), (20, struct.pack(">i", -1))],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_a_freesurfer_header_that_cannot_be(tmp_path, suffix, offset, content):
    path = tmp_path / f"a{suffix}"
    nibabel.save(nibabel.MGHImage(scan(), np.eye(4)), path)
    whole = bytearray(gzip.decompress(path.read_bytes()) if suffix == ".mgz" else path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(whole)) if suffix == ".mgz" else whole)
    refused(path)


@pytest.mark.parametrize("shape", [(2**14,) * 3, (2**14, 2**14, 2**16), (2**40, 1, 1)])
@pytest.mark.parametrize("chunks", [None, (1, 1, 1)])
def test_an_h5_file_of_terabytes(tmp_path, shape, chunks):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("image", "label"):
            file.create_dataset(name, shape, np.float32, chunks=chunks)
    refused(path, "at most 2\\^31 are read")


def test_an_h5_file_with_few_written_chunks_is_welcome(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = scan()
        file.create_dataset("label", SIZE, np.uint8, chunks=(3, 3, 3))
    assert not read_label(tmp_path / "a.h5", READING, [1])[0].any()


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
def test_a_file_that_unpacks_to_more_than_it_claims(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".mgz":
        nibabel.save(nibabel.MGHImage(scan(), np.eye(4)), path)
    else:
        write(path, scan())
    packed = zlib.compressobj(1, wbits=31)
    bomb = packed.compress(gzip.decompress(path.read_bytes())) + packed.compress(bytes(2**26)) + packed.flush()
    path.write_bytes(bomb)
    refused(path, "unpacks to far more bytes than its header claims")


def test_the_end_of_a_file_may_be_ragged(tmp_path):
    path = write(tmp_path / "a.nii.gz", scan())
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(1000)))
    assert read_image(path, READING)[0].shape == SIZE


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".mgz", ".hdr"])
@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"version https://git-lfs.github.com/spec/v1\noid", "cannot be read"),
     (b"<!DOCTYPE html><html>", "cannot be read"), (bytes(2000), "cannot be read"), (b"\xff" * 2000, "cannot be read")],
)  # fmt: skip
def test_what_is_no_scan_at_all(tmp_path, suffix, content, said):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path, said)


@pytest.mark.parametrize(
    ("content", "said"), [(b"version https://git-lfs.github.com/spec/v1", "git lfs pull"), (b"<html>", "a web page")]
)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_well_known_stand_ins_are_told(tmp_path, suffix, content, said):
    (tmp_path / f"a{suffix}").write_bytes(content)
    refused(tmp_path / f"a{suffix}", said)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".mgz", ".hdr"])
def test_random_damage_has_one_line_or_none(tmp_path, suffix):
    """Bytes of the header are replaced at random. Every file is read, or named in one line."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["image"] = scan()
    elif suffix == ".mgz":
        nibabel.save(nibabel.MGHImage(scan(), np.eye(4)), path)
    else:
        write(path, scan())
    packed = suffix in (".nii.gz", ".mgz")
    whole = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, min(len(content), 500), rng.integers(1, 5)):
            content[place] = rng.integers(256)
        path.write_bytes(gzip.compress(bytes(content), 1) if packed else content)
        try:
            image, _ = read_image(path, READING)
            assert image.size <= 2 * scan().size
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def behaves(monkeypatch, code):
    """Make the reading process run some code in the place of reading a scan whose name begins with `bad`."""
    start = f"""
import sys; sys.path.insert(0, {str(reader.ROOT)!r})
import os, numpy
from data import decoding, reader_process
true = decoding.image
def image(path, reading):
    if path.name.startswith("bad"):
        {code}
    return true(path, reading)
decoding.image = image
reader_process.LEAST = 2**28
reader_process._free_memory = lambda: [0]
reader_process.serve()
"""
    monkeypatch.setattr(reader, "START", start)
    reader.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.abort()", "crashes its reader .SIGABRT"),
        ("os.kill(os.getpid(), 11)", "crashes its reader .SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "most likely for lack of memory"),
        ("os._exit(3)", "crashes its reader .exit status 3"),
        ("while True: pass", "took too long to read, 2 s"),
        ("numpy.ones(2**28)", "needs more memory than is free"),
        ("print('x' * 100000); os.write(1, b'x' * 1000); raise ZeroDivisionError", "ZeroDivisionError"),
        ("raise SystemExit(1)", "crashes its reader"),
    ],
)
def test_a_reader_that_dies_hangs_or_floods_is_replaced(tmp_path, monkeypatch, code, said):
    behaves(monkeypatch, code)
    monkeypatch.setattr(reader, "SECONDS", 2 if "while" in code else 300)
    root = write_folder(tmp_path / "data")
    for folder in ("imagesTr", "labelsTr"):
        (root / folder / "A.nii.gz").rename(root / folder / "bad.nii.gz")
    write(root / "imagesTr/C.nii.gz", np.ones(SIZE, np.float32))
    settings = TypeAdapter(DataSettings).validate_python({"source": "folder", "root": str(root)})
    with pytest.raises(DataProblems) as caught:
        prepare(settings, tmp_path / "cache")
    problems = caught.value.problems
    assert len(problems) == 2, problems
    assert "imagesTr/bad.nii.gz" in str(problems) and "C.nii.gz: the image is constant" in str(problems)
    refused(root / "imagesTr/bad.nii.gz", said, lambda: read_image(root / "imagesTr/bad.nii.gz", Reading()))
    assert read_image(root / "imagesTr/B.nii.gz", Reading())[0].shape == SIZE
    reader.stop()


def test_no_process_is_left_when_the_cases_are_prepared(tmp_path):
    settings = TypeAdapter(DataSettings).validate_python(
        {"source": "folder", "root": str(write_folder(tmp_path / "data"))}
    )
    prepare(settings, tmp_path / "cache")
    assert reader._process is None
    assert not [child for child in psutil.Process().children() if "data.reader_process" in " ".join(child.cmdline())]


def test_the_reading_process_ends_with_its_parent(tmp_path):
    path = write(tmp_path / "a.nii.gz", scan())
    code = f"""
import os, sys
sys.path.insert(0, {str(reader.ROOT)!r})
from pathlib import Path
from data import reader
from data.scans import read_image
from data.reading import Reading
read_image(Path({str(path)!r}), Reading())
print(reader._process._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=300)
    assert done.returncode == -signal.SIGKILL
    if psutil.pid_exists(pid := int(done.stdout)):
        psutil.Process(pid).wait(60)


def test_another_working_directory_and_a_fork_read_too(tmp_path, monkeypatch):
    write(tmp_path / "here/a.nii.gz", scan())
    (tmp_path / "here/data").mkdir()
    (tmp_path / "here/data/__init__.py").write_text("raise ImportError('the wrong package')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "here"))
    reader.stop()
    expected = read_image(tmp_path / "here/a.nii.gz", Reading())[0]
    np.testing.assert_array_equal(read_image(Path("a.nii.gz"), Reading())[0], expected)
    child = os.fork()
    if not child:
        same = np.array_equal(read_image(Path("a.nii.gz"), Reading())[0], expected)
        reader.stop()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(read_image(Path("a.nii.gz"), Reading())[0], expected)


def test_arrays_come_through_as_they_are(tmp_path):
    """Values, type and the order in memory, in which caches are written."""
    path = write(tmp_path / "a.nii.gz", scan())
    image, geometry = read_image(path, Reading(orientation="stored", normalise="none"))
    assert image.flags.f_contiguous and image.flags.writeable and image.dtype == np.float32
    np.testing.assert_array_equal(image, scan())
    assert read_geometry(path, Reading(orientation="stored")) == geometry
    label, _ = read_label(write(tmp_path / "l.nii.gz", blob()), Reading(orientation="stored"), [1])
    assert label.flags.c_contiguous and label.dtype == np.uint8
    assert file_hash(path) != file_hash(tmp_path / "l.nii.gz")
