"""Scans in the files that hospitals and other tools write: NIfTI, NRRD, MetaImage, h5; read onto arrays, and back.

Arrays have the axes (x, y, z) of the file's own index, or of the orientation that is asked for. Geometry is
SimpleITK's: origin, direction cosines and spacing in mm.
"""

import gzip
import hashlib
import math
import os
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import h5py
import nibabel
import numpy as np
import SimpleITK as sitk
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.case import DataError
from data.settings import Number, Sizes

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".hdf5")
H5 = (".h5", ".hdf5")
NIFTI = (".nii.gz", ".nii")
DETACHED = (".nhdr", ".mhd")  # headers whose voxels lie in another file
AXES = ("LR", "PA", "SI")  # an orientation has one letter of each


class Reading(BaseModel):
    """How an image becomes what a network sees. Part of the record, for new scans must be read in the same way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: str = Field(
        "RAS", description='what the three axes increase towards, such as RAS or LPS; or "stored", as in the file'
    )
    normalise: Literal["zscore", "none"] | Annotated[list[Number], Field(min_length=2, max_length=2)] = Field(
        "zscore", description="zscore: of the whole scan; [low, high]: clipped to it and scaled to 0..1 (CT); or none"
    )
    voxel: Sizes | None = Field(None, description="mm of a voxel of h5 files without an attribute `spacing`")
    channel: int | None = Field(None, ge=0, description="which channel of nnU-Net's <case>_0000, <case>_0001, …")

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, orientation: str) -> str:
        letters = len(orientation) == 3 and all(sum(o in axis for o in orientation) == 1 for axis in AXES)
        if orientation != "stored" and not letters:
            raise ValueError("must be stored, or three letters, one of each of L R, P A, S I, for instance RAS")
        return orientation

    @field_validator("normalise")
    @classmethod
    def _a_window(cls, normalise: str | list[float]) -> str | list[float]:
        if not isinstance(normalise, str) and not normalise[0] < normalise[1]:
            raise ValueError("the window's low must be below its high")
        return normalise


@dataclass(frozen=True)
class Geometry:
    """Where a file's voxels lie: enough to write labels back onto its grid. Sizes in voxels, spacing and origin in mm.

    `orientation`: that of the arrays that were read, to come back from.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    orientation: str

    @property
    def array_spacing(self) -> tuple[float, ...]:
        """mm along each axis of the arrays that were read."""
        voxel = _empty(self, (1, 1, 1))
        return tuple(_oriented(voxel, self.orientation).GetSpacing())

    def differences(self, other: "Geometry") -> list[str]:
        """In what two grids differ by more than rounding: a thousandth of a voxel."""
        found = [] if self.size == other.size else [f"{_times(self.size)} voxels, not {_times(other.size)}"]
        tolerance = 1e-3 * min(self.spacing)
        if not np.allclose(self.spacing, other.spacing, rtol=0, atol=tolerance):
            found.append(f"voxels of {_times(self.spacing)} mm, not {_times(other.spacing)}")
        if not np.allclose(self.direction, other.direction, rtol=0, atol=1e-3):
            found.append("another direction of its axes")
        if (apart := np.linalg.norm(np.subtract(self.origin, other.origin))) > 0.01 * min(self.spacing):
            found.append(f"an origin {apart:.3g} mm away")
        return found


def suffix_of(path: Path) -> str:
    """The ending by which a scan is known, "" for another file."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """The file's name without that ending."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def by_stem(paths: Iterable[Path]) -> tuple[dict[str, Path], list[str]]:
    """The scans among these files by that name, and what is wrong: two files of one name."""
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(path for path in paths if suffix_of(path) and not path.name.startswith(".")):
        if (other := found.setdefault(stem_of(path), path)) != path:
            problems.append(f"{other} and {path.name} are both called {stem_of(path)}: remove one")
    return found, problems


def file_hash(path: Path) -> str:
    """sha256 of a file, with the voxels of one that has them elsewhere; DataError where it cannot be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if suffix_of(path) in DETACHED:
        digest.update(sitk.GetArrayFromImage(_open(path, lambda: sitk.ReadImage(str(path)))).tobytes())
    return digest.hexdigest()


def read_image(path: Path, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """An image as a network is to see it, float32 (H, W, D), and its geometry; DataError names the file."""
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
            f"{path}: the image is constant within data.normalise {reading.normalise}: it has {image.min():g} to "
            f"{image.max():g}"
        )
    return normalised, geometry


def read_label(path: Path, reading: Reading, values: list[int]) -> tuple[np.ndarray, Geometry]:
    """A label as uint8 (H, W, D): 0, or the place 1..C of its value in `values`; DataError names the file."""
    array, geometry = _read(path, "label", reading)
    if odd := sorted(set(np.unique(array).tolist()) - {0, *values}):
        shown = ", ".join(f"{value:g}" for value in odd[:6]) + (", …" if len(odd) > 6 else "")
        raise DataError(
            f"{path}: the label holds {shown}, but may hold 0, {', '.join(map(str, values))} by what the data "
            "declares: correct the one or the other"
        )
    label = np.zeros(array.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        label[array == value] = number
    return label, geometry


def read_geometry(path: Path, reading: Reading, name: str = "image") -> Geometry:
    """The geometry alone, of an h5 file that of `name`; DataError names the file."""
    if suffix_of(path) in H5:
        return _h5_geometry(path, name, reading)
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    _open(path, header.ReadImageInformation)
    return _geometry(header, reading)


def has_label(path: Path) -> bool:
    """Whether an h5 file holds a label beside its image; DataError where it cannot be read."""

    def look() -> bool:
        with h5py.File(path) as file:
            return "label" in file

    return _open(path, look)


def write_labels(path: Path, labels: np.ndarray, geometry: Geometry, values: list[int]) -> None:
    """Write labels (H, W, D) of 0 and 1..C, with their `values`, onto the grid of the file that they belong to."""
    stored = np.array([0, *values], np.uint8 if max(values) < 256 else np.uint16)[labels]
    grid = _empty(geometry, geometry.size)
    oriented = _oriented(grid, geometry.orientation)
    image = _image_of(stored)
    image.CopyInformation(oriented)
    if geometry.orientation != "stored":
        image = _oriented(image, _code_of(grid))
    _write(path, image, geometry)


def write_image(path: Path, image: np.ndarray, geometry: Geometry) -> None:
    """Write an image (H, W, D) in the file's own axes, float32."""
    _write(path, _image_of(image.astype(np.float32)), geometry)


def _read(path: Path, name: str, reading: Reading) -> tuple[np.ndarray, Geometry]:
    if suffix_of(path) in H5:
        return _read_h5(path, name, reading)
    if suffix_of(path) in NIFTI:
        _open(path, lambda: _check_nifti(path))
    image = _open(path, lambda: sitk.ReadImage(str(path)))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        channels = f" with {n} values each" if (n := image.GetNumberOfComponentsPerPixel()) > 1 else ""
        raise DataError(f"{path} has {_times(image.GetSize())} voxels{channels}: it must be one 3D volume")
    if "complex" in image.GetPixelIDTypeAsString():
        raise DataError(f"{path}: the {name} holds complex numbers")
    array = sitk.GetArrayFromImage(_oriented(image, reading.orientation)).transpose(2, 1, 0)
    return array, _geometry(image, reading)


def _check_nifti(path: Path) -> None:
    """Raises for a file that is cut off or damaged and for NaN, all of which ITK's reader silently takes as zeros."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as file:  # to its end, where its checksum is
            while file.read(2**20):
                pass
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise DataError(f"{path} holds NaN or infinite values")


def _geometry(image: sitk.Image | sitk.ImageFileReader, reading: Reading) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), reading.orientation)


def _read_h5(path: Path, name: str, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """h5 files state no orientation: their axes are taken as stored."""

    geometry = _h5_geometry(path, name, reading)

    def load() -> np.ndarray:
        with h5py.File(path) as file:
            return file[name][()]

    return _open(path, load), geometry


def _h5_geometry(path: Path, name: str, reading: Reading) -> Geometry:
    """Without a look at the voxels, which have to be decompressed."""

    def look() -> tuple[tuple[int, ...], np.dtype, object]:
        with h5py.File(path) as file:
            if not isinstance(file.get(name), h5py.Dataset):
                raise DataError(f"{path}: there is no dataset named {name} in the file")
            stated = [place.attrs["spacing"] for place in (file[name], file, file.get("image")) if _has_spacing(place)]
            return file[name].shape or (), file[name].dtype, (stated or [reading.voxel])[0]

    shape, dtype, spacing = _open(path, look)
    if len(shape) != 3 or not math.prod(shape):
        raise DataError(f"{path}: {name} is of {_times(shape) or 'one'} voxels: it must be one 3D volume")
    if dtype.kind not in ("fiu" if name == "image" else "fiub"):
        raise DataError(f"{path}: the {name} holds {dtype}, not numbers")
    if spacing is None:
        raise DataError(f"{path} says nothing of its voxels' size: give it an attribute `spacing`, or set data.voxel")
    try:
        spacing = tuple(float(mm) for mm in np.broadcast_to(spacing, 3))
    except ValueError:
        spacing = ()
    if not spacing or not all(0 < mm < math.inf for mm in spacing):
        raise DataError(f"{path}: its attribute `spacing` must be one number or three, in mm, each above 0")
    return Geometry(shape, spacing, (0.0,) * 3, tuple(np.eye(3).ravel()), "stored")


def _has_spacing(place: h5py.Group | h5py.Dataset | None) -> bool:
    return place is not None and "spacing" in place.attrs


# What ITK, h5py, nibabel and gzip raise for a damaged file, by where the damage is.
_UNREADABLE = (OSError, RuntimeError, KeyError, EOFError, ValueError, zlib.error)


def _open(path: Path, read: Callable):
    try:
        return read()
    except DataError:
        raise
    except (*_UNREADABLE, nibabel.filebasedimages.ImageFileError) as error:  # the last line says what is wrong
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DataError(f"{path} cannot be read: {re.sub(r'^.*ERROR: ', '', reason[0]).strip()}") from error


def _normalised(image: np.ndarray, how: str | list[float]) -> np.ndarray:
    if how == "none":
        return image
    if how == "zscore":
        return ((image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)).astype(np.float32)
    low, high = how
    return ((image.clip(low, high) - low) / (high - low)).astype(np.float32)


def _image_of(array: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))


def _write(path: Path, image: sitk.Image, geometry: Geometry) -> None:
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    partial = path.with_name(f".partial-{path.name}")
    try:
        sitk.WriteImage(image, partial, useCompression=True)
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {str(error).strip().splitlines()[-1]}") from error
    os.replace(partial, path)


def _oriented(image: sitk.Image, orientation: str) -> sitk.Image:
    return image if orientation == "stored" else sitk.DICOMOrient(image, orientation)


def _code_of(image: sitk.Image) -> str:
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def _empty(geometry: Geometry, size: tuple[int, ...]) -> sitk.Image:
    image = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def _times(numbers) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
