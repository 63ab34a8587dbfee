"""Decodes scans into arrays. It runs in the process of `data/reader.py`, apart from the caller's.

The libraries that decode are in C. A damaged file can crash them or make them ask for any amount of memory.
"""

import gzip
import hashlib
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from data.case import DataError, shorten_list
from data.formats import hdf5, mgh, nifti
from data.formats.dispatch import H5, MGH, NIFTI, NRRD, read_header, suffix_of
from data.formats.header import Header
from data.geometry import IDENTITY, Geometry, by, reorient
from data.reading import Reading
from data.voxel_size import SAME, voxel_size

NEARLY_WHOLE = 1e-3  # what a label's value may be off a whole number, after resampling or a change of type
FARTHEST = 1e6  # mm of an origin, a kilometre; what is farther is taken for damage


def image(path: Path, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """See `data.scans.read_image`."""
    array, geometry = _read(path, "image", reading)
    with np.errstate(over="ignore"):
        image = array.astype(np.float32)
    if not np.isfinite(image).all():
        raise DataError(f"{path}: the image holds NaN or infinite values")
    if image.min() == image.max():
        raise DataError(f"{path}: the image is constant, every voxel is {image.flat[0]:g}")
    normalised = _normalised(image, reading.normalise)
    if normalised.min() == normalised.max():
        raise DataError(
            f"{path}: the image is constant within data.normalise {reading.normalise}: its values are {image.min():g} "
            f"to {image.max():g}; choose another window"
        )
    return normalised, geometry


def label(path: Path, reading: Reading, values: list[int]) -> tuple[np.ndarray, Geometry]:
    """See `data.scans.read_label`."""
    array, geometry = _read(path, "label", reading)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        array = np.where(np.abs(array - whole) <= NEARLY_WHOLE, whole, array)
    if unknown := sorted(set(np.unique(array).tolist()) - {0, *values}):
        shown = shorten_list([f"{value:g}" for value in unknown])
        raise DataError(
            f"{path}: the label holds {shown}, but may hold 0, {', '.join(map(str, values))} (only these are declared)"
        )
    label = np.zeros(array.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        label[array == value] = number
    return label, geometry


def geometry(path: Path, reading: Reading, name: str) -> Geometry:
    """See `data.scans.read_geometry`."""
    header = _header(path, name, reading)
    if suffix_of(path) in H5:
        return _h5_geometry(path, header, reading)
    if suffix_of(path) in MGH:
        return _positioned(path, _read_or_raise(path, lambda: mgh.read_volume(path)), header, reading)[1]
    file = sitk.ImageFileReader()
    file.SetImageIO(_itk_format(path))
    file.SetFileName(str(path))
    _read_or_raise(path, file.ReadImageInformation)
    return _geometry(path, file, header, reading)


def has_label(path: Path) -> bool:
    """See `data.scans.has_label`."""
    return _read_or_raise(path, lambda: hdf5.has_label(path))


def series(folder: Path) -> tuple[np.ndarray, Geometry]:
    """See `data.scans.read_series`."""
    inner = sorted({path.parent for path in folder.rglob("*") if path.is_file()})
    found = [(name, str(at)) for at in inner for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(at))]
    if len(found) > 1 and len({name for name, _ in found}) == 1:
        raise DataError(f"{folder}: one DICOM series lies in {len(found)} folders: put its files into one")
    if len(found) != 1:
        raise DataError(f"{folder} holds {len(found) or 'no'} DICOM series: it must hold one")
    [(name, at)] = found
    files = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(at, name))
    known = {Path(file).name for file in files}
    if damaged := [path.name for path in sorted(Path(at).glob("*.dcm")) if path.name not in known]:
        raise DataError(f"{at}: {shorten_list(damaged)} cannot be read as DICOM slices: download them again")
    if problem := _read_or_raise(folder, lambda: _problem_of_slices(files)):
        raise DataError(f"{folder}: {problem}: download the series again")
    image = _read_or_raise(folder, lambda: sitk.ReadImage(files, imageIO="GDCMImageIO"))
    size, spacing, origin = image.GetSize(), image.GetSpacing(), image.GetOrigin()
    geometry = Geometry(size, spacing, origin, tuple(image.GetDirection()), "stored")
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32), geometry


def _problem_of_slices(files: list[str]) -> str:
    """In what slices differ that must be alike, with the file; "" if they fit together."""
    headers = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(file)
        reader.ReadImageInformation()
        headers.append(reader)
    for what, of in {
        "pixels": lambda header: header.GetSize()[:2],
        "mm a pixel": lambda header: header.GetSpacing()[:2],
        "direction cosines": lambda header: header.GetDirection(),
    }.items():
        values = [tuple(round(float(value), 3) for value in of(header)) for header in headers]
        [(most, _)] = Counter(values).most_common(1)
        for file, value in zip(files, values, strict=True):
            if value != most:
                return f"{Path(file).name} has {by(value)} {what}, and most slices {by(most)}"
    direction = np.reshape(headers[0].GetDirection(), (3, 3))
    positions = [float(direction[:, 2] @ np.array(header.GetOrigin())) for header in headers]
    gaps = np.diff(positions)
    wrong = np.flatnonzero(~np.isclose(gaps, np.median(gaps), rtol=0.05) | (np.abs(gaps) < 1e-3))
    if not wrong.size:
        return ""
    return f"the DICOM series has a gap or a slice twice at {positions[wrong[0]]:g} mm, at {Path(files[wrong[0]]).name}"


def file_hash(path: Path) -> str:
    """The sha256 of a header and of the voxels that it takes from other files. See `data.scans.file_hash`."""
    _read_or_raise(path, lambda: read_header(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(sitk.GetArrayFromImage(_read_or_raise(path, lambda: _read_itk(path))).tobytes())
    return digest.hexdigest()


def _header(path: Path, name: str, reading: Reading) -> Header:
    header = _read_or_raise(path, lambda: read_header(path, name))
    if header.problem and reading.orientation != "stored":
        raise DataError(f"{path}: {header.problem}")
    voxel_size(path, header, reading)  # before ITK says in its own words that there is none
    return header


def _read(path: Path, name: str, reading: Reading) -> tuple[np.ndarray, Geometry]:
    header = _header(path, name, reading)
    if suffix_of(path) in H5:
        return _read_or_raise(path, lambda: hdf5.read_voxels(path, name)), _h5_geometry(path, header, reading)
    if suffix_of(path) in NIFTI:
        _read_or_raise(path, lambda: nifti.check_voxels(path))
    reader = mgh.read_volume if suffix_of(path) in MGH else _read_itk
    image, geometry = _positioned(path, _read_or_raise(path, lambda: reader(path)), header, reading)
    if "complex" in image.GetPixelIDTypeAsString():
        raise DataError(f"{path}: the {name} holds complex numbers, and must hold real ones")
    return sitk.GetArrayFromImage(reorient(image, reading.orientation)).transpose(2, 1, 0), geometry


def _read_itk(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path), imageIO=_itk_format(path))


def _itk_format(path: Path) -> str:
    """The ITK reader for the file's ending. By itself ITK may choose another, by the content or for capitals."""
    suffix = suffix_of(path)
    return "NiftiImageIO" if suffix in NIFTI else "NrrdImageIO" if suffix in NRRD else "MetaImageIO"


def _positioned(path: Path, image: sitk.Image, header: Header, reading: Reading) -> tuple[sitk.Image, Geometry]:
    """The image with three axes and the voxel size that was chosen, and its geometry."""
    geometry = _geometry(path, image, header, reading)
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    image.SetSpacing(geometry.spacing)
    return image, geometry


def _geometry(path: Path, image: sitk.Image | sitk.ImageFileReader, header: Header, reading: Reading) -> Geometry:
    dimension, size, channels = image.GetDimension(), image.GetSize(), image.GetNumberOfComponents() if isinstance(
        image, sitk.ImageFileReader
    ) else image.GetNumberOfComponentsPerPixel()  # fmt: skip
    if dimension < 3 or channels != 1 or any(n > 1 for n in size[3:]):
        values = f" with {channels} values each" if channels > 1 else ""
        raise DataError(f"{path} has {by(size)} voxels{values}: it must be one 3D volume")
    chosen, stored = voxel_size(path, header, reading), image.GetSpacing()[:3]
    spacing = stored if np.allclose(chosen, stored, rtol=SAME, atol=0) else chosen  # ITK's to the last bit
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    origin = image.GetOrigin()[:3]
    if not (np.isfinite(direction).all() and np.abs(origin).max() < FARTHEST):  # false for NaN, too
        raise DataError(
            f"{path} cannot be read: its header puts the first voxel at {by(origin)} mm, and the axes along "
            f"{by(direction.ravel())}: correct its position in space"
        )
    return Geometry(
        tuple(size[:3]), tuple(spacing), tuple(origin), tuple(direction.ravel().tolist()),
        reading.orientation,
    )  # fmt: skip


def _h5_geometry(path: Path, header: Header, reading: Reading) -> Geometry:
    """Such a file states no orientation, so its axes are used as stored."""
    return Geometry(header.shape, voxel_size(path, header, reading), (0.0,) * 3, IDENTITY, "stored")


# What ITK, h5py, nibabel and gzip raise for a damaged file. It depends on the position of the damage.
_UNREADABLE = (OSError, RuntimeError, LookupError, EOFError, ValueError, TypeError, ArithmeticError, MemoryError,
               AttributeError, zlib.error, struct.error, gzip.BadGzipFile)  # fmt: skip


def _read_or_raise(path: Path, read: Callable):
    """What `read` returns. Errors of libraries become a DataError that names the file."""
    try:
        return read()
    except DataError:
        raise
    except (*_UNREADABLE, nibabel.filebasedimages.ImageFileError) as error:
        # The reason is in the last line with words. Rows of a matrix may follow.
        reason = [line for line in str(error).splitlines() if re.search("[A-Za-z]{4}", line)][-1:]
        reason = reason or [str(error).strip() or type(error).__name__]
        if isinstance(error, MemoryError) or "lloc" in reason[0]:
            reason = ["it needs more memory than is free"]
        raise DataError(f"{path} cannot be read: {re.sub(r'^.*ERROR: ', '', reason[0]).strip()}") from error


def _normalised(image: np.ndarray, normalise: str | list[float]) -> np.ndarray:
    if normalise == "none":
        return image
    if normalise == "zscore":
        return ((image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)).astype(np.float32)
    low, high = normalise
    return ((image.clip(low, high) - low) / (high - low)).astype(np.float32)
