"""Writes small scans in every format, and damages one: its bytes, its header, its voxels, what it consists of."""

import gzip
import os
import random
import zlib
from pathlib import Path

import h5py
import nibabel
import numpy as np
from helpers import scan_folder
from reliability.fuzz.mutations import WORDS, mutated_bytes

SUFFIXES = (".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".h5", ".hdf5")
MGH = (".mgz", ".mgh")
TEXT_HEADERS = (".nrrd", ".nhdr", ".mha", ".mhd")
INTEGERS = (0, -1, 1, 2, 7, 8, 100, 255, 1000, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31))
FLOATS = (0.0, -1.0, 1.0, 0.5, 352.0, 1e-30, 1e30, np.nan, np.inf, -np.inf)
TEXTS = (
    "", "0", "-1", "1", "3", "4", "1.5", "nan", "inf", "1e400", "99999999999", "2147483648", "x", "0 0 0", "-9 8 7",
    "9 8", "9 8 7 2", "65536 65536 65536", "1 1 1 1", "100000000 100000000 100000000", "LOCAL", "LIST", "LIST 2",
    "%d.raw 1 3 1", "../outside.raw", "/dev/null", "missing.raw", "float", "double", "MET_UCHAR", "MET_OTHER", "block",
    "gzip", "raw", "bzip2", "hex", "ascii", "big", "True", "False",
    "(1,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,0,0) (0,0,0)",
    "(nan,0,0) (0,1,0) (0,0,1)", "none none none", "left-posterior-superior", "RAS", "9" * 400,
)  # fmt: skip

FURTHER_LINES = (
    "byte skip: -1", "line skip: 99999999", "NDims = 3", "HeaderSize = -1", "Comment = x", "old min: nan", "content: é",
    "CompressedDataSize = 99999999999", "ElementNumberOfChannels = -1", "x:=y",
)  # fmt: skip
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "complex64"]


def volume(number: int) -> np.ndarray:
    """An image (x, y, z) of integers that no other number has: every format and type can hold it."""
    return (scan_folder.scan(number) * 20 + 100).clip(0, 255).round()


def write_volume(path: Path, array: np.ndarray, label: np.ndarray | None = None) -> None:
    """Write an image or a label (x, y, z); an h5 file holds both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=array.astype(np.float32), compression="gzip")
            file.create_dataset("label", data=label, compression="gzip")
            file.attrs["spacing"] = (1.0, 1.5, 2.0)
    elif path.suffix in MGH:
        nibabel.save(nibabel.MGHImage(array.astype(np.float32), np.diag([1.0, 1.5, 2.0, 1.0])), path)
    else:
        scan_folder.write(path, array)


def damage(chance: random.Random, path: Path, is_label: bool) -> str:
    """Damage a file that `write_volume` wrote; what was done, in a few words."""
    if chance.random() < 0.15:
        return _as_a_file(chance, path)
    if chance.random() < 0.3 or path.suffix in MGH:
        return _bytes(chance, path)
    if path.suffix in (".h5", ".hdf5"):
        return _h5(chance, path)
    if chance.random() < 0.3:
        return _voxels(chance, path, is_label)
    return _text_header(chance, path) if path.suffix in TEXT_HEADERS else _nifti_header(chance, path)


def _as_a_file(chance: random.Random, path: Path) -> str:
    """It is no file, or one of something else."""
    change = chance.choice(("empty", "text", "a folder", "gone", "dangling link", "link to itself", "gzip of nothing",
                            "another format", "gzip bomb", "half a gzip", "gzip and more"))  # fmt: skip
    content = path.read_bytes()
    path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change in ("dangling link", "link to itself"):
        path.symlink_to(path.name if change == "link to itself" else "nowhere")
    elif change == "another format":
        other = path.with_name("other" + chance.choice(SUFFIXES))
        write_volume(other, volume(9), scan_folder.blob())
        other.rename(path)
    elif change == "gzip bomb":  # members may follow one another: 4 GiB of zeros in 4 MB
        path.write_bytes(gzip.compress(bytes(2**24)) * 256)
    elif change != "gone":
        path.write_bytes({
            "empty": b"", "text": b"words\n" * 20, "gzip of nothing": gzip.compress(b""),
            "half a gzip": gzip.compress(content)[:-10], "gzip and more": gzip.compress(content) + b"more",
        }[change])  # fmt: skip
    return change


def _bytes(chance: random.Random, path: Path) -> str:
    """Bytes of the file, of what is compressed in it, or of the file that holds a header's voxels."""
    others = [other for other in path.parent.glob(f"{path.stem}.*") if other != path and other.is_file()]
    if others and chance.random() < 0.3:
        path = others[0]
        if chance.random() < 0.3:
            path.unlink()
            return f"{path.name} gone"
    content = path.read_bytes()
    packed = path.suffix in (".gz", ".mgz") and chance.random() < 0.7
    content, mutation = mutated_bytes(chance, gzip.decompress(content) if packed else content)
    path.write_bytes(gzip.compress(content) if packed else content)
    return f"{path.name}, {'packed ' * packed}bytes: {mutation}"


def _nifti_header(chance: random.Random, path: Path) -> str:
    """Fields of the header, each set to a number that its type can hold; or another kind of NIfTI."""
    packed = path.name.endswith(".gz")
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    header = np.frombuffer(bytearray(content[:348]), nibabel.Nifti1Header.template_dtype).copy()
    fields = [name for name in header.dtype.names if header[name].dtype.kind in "iuf"]
    changes = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        name = chance.choice((*fields, "dim", "pixdim", "datatype", "vox_offset", "srow_x"))
        values = header[name].reshape(-1)
        place = chance.randrange(values.size)
        number = chance.choice(FLOATS if values.dtype.kind == "f" else INTEGERS)
        with np.errstate(all="ignore"):
            values[place] = np.array(number).astype(values.dtype)
        header[name] = values.reshape(header[name].shape)
        changes.append(f"{name}[{place}] = {number}")
    if chance.random() < 0.05:
        header = header.byteswap()
        changes.append("bytes swapped")
    content = header.tobytes() + content[348:]
    if chance.random() < 0.05:
        content = content[:348] + b"\1\0\0\0" + (2**31 - 16).to_bytes(4, "little") + content[352:]
        changes.append("an extension of 2 GiB")
    path.write_bytes(gzip.compress(content) if packed else content)
    return ", ".join(changes)


def _text_header(chance: random.Random, path: Path) -> str:
    """A line of the header of an NRRD or a MetaImage."""
    content = path.read_bytes()
    marks = {".nrrd": b"\n\n", ".mha": b"ElementDataFile = LOCAL\n"}
    end = content.find(marks[path.suffix]) if path.suffix in marks else len(content)
    end += len(marks.get(path.suffix, b"")) - (path.suffix == ".nrrd")
    lines, voxels = content[:end].decode().splitlines(), content[end:]
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(lines)) if lines else 0
        change = chance.choice(("value", "value", "value", "remove", "twice", "key", "add"))
        if change == "add" or not lines:
            lines.insert(at, chance.choice(FURTHER_LINES))
        elif change == "value":
            separator = ":" if ":" in lines[at] else "="
            key = lines[at].partition(separator)[0]
            lines[at] = f"{key}{separator} {chance.choice((*TEXTS, *TEXTS, chance.choice(WORDS)))}"
        elif change == "remove":
            del lines[at]
        elif change == "twice":
            lines.insert(at, lines[at])
        else:
            lines[at] = lines[at].replace("s", "z", 1)
    path.write_bytes("\n".join([*lines, ""]).encode("utf-8", "replace") + voxels)
    return f"header {lines}"


def _voxels(chance: random.Random, path: Path, is_label: bool) -> str:
    """A whole file with other voxels: types, shapes, values."""
    array = scan_folder.blob() if is_label else volume(5)
    kind = chance.choice(("type", "shape", "values", "values"))
    if kind == "type":
        mutation = chance.choice(TYPES)
        array = array.astype(mutation)
    elif kind == "shape":
        shape = chance.choice(
            ((9, 8), (9, 8, 1), (1, 1, 1), (9, 8, 7, 2), (9, 8, 7, 1), (7, 8, 9), (9, 8, 6), (1, 8, 7))
        )
        array, mutation = np.resize(array, shape), str(shape)
    else:
        value = chance.choice((np.nan, np.inf, 1e300, -1.0, 0.9999999, 1.0000001, 255.0, 2.0, 0.0, 1e-40, 2.0**53))
        array = array.astype(np.float64)
        array[:, :, : chance.choice((1, 7))] = value
        mutation = f"values of {value}"
    try:
        spacing = chance.choice(((1.0, 1.5, 2.0), (1.002, 1.5, 2.0), (1e-6, 1.0, 1.0), (1e6, 1e6, 1e6)))
        scan_folder.write(path, array, spacing=spacing, code=chance.choice(("LPS", "RAS", "PIR")))
    except RuntimeError:  # no such file can be
        mutation += ", which this format does not hold"
    return mutation


def _h5(chance: random.Random, path: Path) -> str:
    """Datasets, links and attributes that an h5 file may hold."""
    name = chance.choice(("image", "image", "label"))
    change = chance.choice(list(H5_CHANGES))
    with h5py.File(path, "a") as file:
        H5_CHANGES[change](file, name)
    return f"{name}: {change}"


def _instead(file: h5py.File, name: str, shape=None, dtype=None, data=None, **options) -> None:
    del file[name]
    file.create_dataset(name, shape, dtype, data, **options)


def _link(file: h5py.File, name: str, link) -> None:
    del file[name]
    file[name] = link


def _virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((9, 8, 7), np.uint8)
    layout[:] = h5py.VirtualSource(os.path.join(os.path.dirname(file.filename), "outside.h5"), "x", (9, 8, 7))
    del file[name]
    file.create_virtual_dataset(name, layout)


def _chunk(file: h5py.File, name: str, content: bytes) -> None:
    """What is stored of a dataset is not what its filter makes."""
    _instead(file, name, (9, 8, 7), np.uint8, chunks=(9, 8, 7), compression="gzip")
    file[name].id.write_direct_chunk((0, 0, 0), content)


H5_CHANGES = {
    "gone": lambda file, name: file.pop(name),
    "a group": lambda file, name: (file.pop(name), file.create_group(name)),
    "a loop of links": lambda file, name: _link(file, name, h5py.SoftLink(f"/{name}")),
    "a dangling link": lambda file, name: _link(file, name, h5py.SoftLink("/nowhere")),
    "in another file": lambda file, name: _link(file, name, h5py.ExternalLink("outside.h5", "x")),
    "in this file again": lambda file, name: _link(file, name, h5py.ExternalLink(Path(file.filename).name, name)),
    "virtual": _virtual,
    "voxels in another file": lambda file, name: _instead(
        file, name, (9, 8, 7), np.uint8, external=[("outside.raw", 0, 504)]
    ),
    "16 TiB": lambda file, name: _instead(file, name, (2**14, 2**14, 2**14), "f4", chunks=(64, 64, 64)),
    "2^45 voxels, packed": lambda file, name: _instead(
        file, name, (2**15,) * 3, "u1", chunks=(64,) * 3, compression="gzip"
    ),
    "a thin giant": lambda file, name: _instead(file, name, (2**60, 1, 1), "u1", chunks=(64, 1, 1)),
    "a scalar": lambda file, name: _instead(file, name, data=3),
    "nothing": lambda file, name: _instead(file, name, data=h5py.Empty("f")),
    "no voxels": lambda file, name: _instead(file, name, (0, 8, 7), "f4"),
    "2D": lambda file, name: _instead(file, name, data=np.ones((9, 8))),
    "4D": lambda file, name: _instead(file, name, data=np.ones((9, 8, 7, 1))),
    "text": lambda file, name: _instead(file, name, (9, 8, 7), h5py.string_dtype()),
    "bytes": lambda file, name: _instead(file, name, (9, 8, 7), "S3"),
    "records": lambda file, name: _instead(file, name, (9, 8, 7), [("a", "f4"), ("b", "i2")]),
    "references": lambda file, name: _instead(file, name, (9, 8, 7), h5py.ref_dtype),
    "lists": lambda file, name: _instead(file, name, (9, 8, 7), h5py.vlen_dtype(np.int32)),
    "an enumeration": lambda file, name: _instead(file, name, (9, 8, 7), h5py.enum_dtype({"a": 1})),
    "arrays in voxels": lambda file, name: _instead(file, name, (9, 8, 7), np.dtype(("f4", (3,)))),
    "truth values": lambda file, name: _instead(file, name, data=np.ones((9, 8, 7), bool)),
    "complex": lambda file, name: _instead(file, name, data=np.ones((9, 8, 7), complex)),
    "halves": lambda file, name: _instead(file, name, data=volume(3).astype("f2")),
    "other byte order": lambda file, name: _instead(file, name, data=volume(3).astype(">f8")),
    "128-bit floats": lambda file, name: _instead(file, name, data=volume(3).astype(np.longdouble)),
    "64-bit integers": lambda file, name: _instead(file, name, data=np.full((9, 8, 7), 2**63, np.uint64)),
    "NaN": lambda file, name: _instead(file, name, data=np.full((9, 8, 7), np.nan)),
    "not finite": lambda file, name: _instead(file, name, data=volume(3) * 1e300 * 1e10),
    "damaged chunk": lambda file, name: _chunk(file, name, b"no zlib"),
    "short chunk": lambda file, name: _chunk(file, name, zlib.compress(bytes(10))),
    "long chunk": lambda file, name: _chunk(file, name, zlib.compress(bytes(2**26))),
    "spacing of words": lambda file, name: file.attrs.__setitem__("spacing", "one"),
    "spacing of nothing": lambda file, name: file.attrs.__setitem__("spacing", h5py.Empty("f")),
    "spacing of four": lambda file, name: file.attrs.__setitem__("spacing", (1.0, 1.0, 1.0, 1.0)),
    "spacing of zero": lambda file, name: file.attrs.__setitem__("spacing", 0.0),
    "spacing of NaN": lambda file, name: file.attrs.__setitem__("spacing", (1.0, np.nan, 1.0)),
    "spacing of 1e-30": lambda file, name: file.attrs.__setitem__("spacing", 1e-30),
    "spacing of 1e30": lambda file, name: file.attrs.__setitem__("spacing", 1e30),
    "spacing of records": lambda file, name: file.attrs.__setitem__("spacing", np.zeros(3, [("a", "f4")])),
    "spacing of references": lambda file, name: file.attrs.__setitem__("spacing", file.ref),
    "spacing of an integer": lambda file, name: file[name].attrs.__setitem__("spacing", 2),
}
