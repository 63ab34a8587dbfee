"""Reads scans into arrays and writes arrays back: NIfTI, NRRD, MetaImage and h5 files.

The axes of arrays are those of the file's index (x, y, z), or those of a given orientation. Geometry is that of
SimpleITK: origin, direction cosines and spacing in mm.
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

from data.case import DataError, shorten_list
from data.settings import Number, Sizes

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".hdf5")
H5 = (".h5", ".hdf5")
NIFTI = (".nii.gz", ".nii")
DETACHED = (".nhdr", ".mhd")  # headers whose voxels are in another file
AXES = ("LR", "PA", "SI")  # an orientation has one letter of each


class Reading(BaseModel):
    """How an image file becomes the array that a network gets. Records hold it, to read new scans in the same way.

    Args:
        orientation: what the axes of the array increase towards, such as "RAS" or "LPS"; "stored" for the file's axes.
        normalise: "zscore" of the whole scan; a window [low, high] that is clipped to and scaled to 0..1; or "none".
        voxel: mm of a voxel of h5 files without an attribute `spacing`.
        channel: which of nnU-Net's channels <case>_0000, <case>_0001, … is read.

    Raises:
        pydantic.ValidationError: no such orientation, or a window whose low is not below its high.

    Example:
        >>> Reading(normalise=[-100, 300]).orientation
        'RAS'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    orientation: str = Field(
        "RAS", description='what the three axes increase towards, such as RAS or LPS; "stored" for those of the file'
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
    """The grid of a file, by which labels can be written back onto it.

    Args:
        size: voxels along each axis of the file.
        spacing: mm of a voxel along each axis of the file.
        origin: the position of the first voxel, in mm.
        direction: the direction cosines of the axes, nine numbers, row by row.
        orientation: of the arrays that were read from the file, see `Reading`.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    orientation: str

    @property
    def array_spacing(self) -> tuple[float, ...]:
        """mm of a voxel along each axis of the arrays that were read."""
        voxel = _blank_image(self, (1, 1, 1))
        return tuple(_reorient(voxel, self.orientation).GetSpacing())

    def differences(self, other: "Geometry") -> list[str]:
        """How this grid differs from another by more than rounding, one line each.

        Example:
            >>> axes = (1, 0, 0, 0, 1, 0, 0, 0, 1)
            >>> grid = Geometry((64, 64, 40), (1, 1, 2), (0, 0, 0), axes, "RAS")
            >>> grid.differences(Geometry((64, 64, 40), (1, 1, 2), (0, 0, 5), axes, "RAS"))
            ['an origin 5 mm away']
        """
        found = [] if self.size == other.size else [f"{_by(self.size)} voxels, not {_by(other.size)}"]
        tolerance = 1e-3 * min(self.spacing)
        if not np.allclose(self.spacing, other.spacing, rtol=0, atol=tolerance):
            found.append(f"voxels of {_by(self.spacing)} mm, not {_by(other.spacing)}")
        if not np.allclose(self.direction, other.direction, rtol=0, atol=1e-3):
            found.append("another direction of the axes")
        if (distance := np.linalg.norm(np.subtract(self.origin, other.origin))) > 0.01 * min(self.spacing):
            found.append(f"an origin {distance:.3g} mm away")
        return found


def suffix_of(path: Path) -> str:
    """The ending of a scan's file name; "" if the file is no scan.

    Example:
        >>> suffix_of(Path("p12.nii.gz")), suffix_of(Path("notes.txt"))
        ('.nii.gz', '')
    """
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """The name of a scan's file without its ending.

    Example:
        >>> stem_of(Path("scans/p12.nii.gz"))
        'p12'
    """
    return path.name[: len(path.name) - len(suffix_of(path))]


def by_stem(paths: Iterable[Path]) -> tuple[dict[str, Path], list[str]]:
    """The scans among some files.

    Args:
        paths: any files. Those that are no scans and hidden ones are ignored.

    Returns:
        The scans by name without ending; and the problems, one line for each second file of a name.
    """
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(path for path in paths if suffix_of(path) and not path.name.startswith(".")):
        if (other := found.setdefault(stem_of(path), path)) != path:
            problems.append(f"{other} and {path.name} are both called {stem_of(path)}: remove one of them")
    return found, problems


def file_hash(path: Path) -> str:
    """The sha256 of a scan's file. For a header whose voxels are in another file it includes the voxels.

    Raises:
        OSError: the file cannot be opened.
        DataError: the voxels cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    if suffix_of(path) in DETACHED:
        digest.update(sitk.GetArrayFromImage(_read_or_raise(path, lambda: sitk.ReadImage(str(path)))).tobytes())
    return digest.hexdigest()


def read_image(path: Path, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """Read an image as a network gets it.

    Args:
        path: a NIfTI, NRRD, MetaImage or h5 file with one 3D volume.
        reading: orientation and normalisation.

    Returns:
        The image (H, W, D), float32, and the geometry of the file.

    Raises:
        DataError: the file cannot be read, or the image is not finite, constant or no 3D volume. The message names it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "scan.nii.gz"
        >>> sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(4, 8, 8))), str(file))
        >>> image, geometry = read_image(file, Reading(normalise="zscore"))
        >>> image.shape, image.dtype, geometry.spacing
        ((8, 8, 4), dtype('float32'), (1.0, 1.0, 1.0))
        >>> folder.cleanup()
    """
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


def read_label(path: Path, reading: Reading, values: list[int]) -> tuple[np.ndarray, Geometry]:
    """Read a label and number its structures.

    Args:
        path: a file with one 3D volume, or an h5 file with a dataset `label`.
        reading: the orientation.
        values: the values of the structures in the file. 0 is background.

    Returns:
        The label (H, W, D), uint8; class c = 1..C is the c-th of `values`. And the geometry of the file.

    Raises:
        DataError: the file cannot be read, or it holds other values. The message names it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "label.nii.gz"
        >>> sitk.WriteImage(sitk.GetImageFromArray(np.full((4, 8, 8), 255, np.uint8)), str(file))
        >>> label, _ = read_label(file, Reading(), values=[255])
        >>> label.shape, int(label.max())
        ((8, 8, 4), 1)
        >>> folder.cleanup()
    """
    array, geometry = _read(path, "label", reading)
    if unknown := sorted(set(np.unique(array).tolist()) - {0, *values}):
        shown = shorten_list([f"{value:g}" for value in unknown])
        raise DataError(
            f"{path}: the label holds {shown}, but may hold 0, {', '.join(map(str, values))} (only these are declared)"
        )
    label = np.zeros(array.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        label[array == value] = number
    return label, geometry


def read_geometry(path: Path, reading: Reading, name: str = "image") -> Geometry:
    """The geometry of a scan, without reading its voxels.

    Args:
        path: the file.
        reading: orientation and voxel size.
        name: the dataset of an h5 file.

    Raises:
        DataError: the file cannot be read. The message names it.
    """
    if suffix_of(path) in H5:
        return _h5_geometry(path, name, reading)
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    _read_or_raise(path, header.ReadImageInformation)
    return _geometry(header, reading)


def has_label(path: Path) -> bool:
    """Whether an h5 file holds a label beside its image. Raises DataError if it cannot be read."""

    def search() -> bool:
        with h5py.File(path) as file:
            return "label" in file

    return _read_or_raise(path, search)


def write_labels(path: Path, labels: np.ndarray, geometry: Geometry, values: list[int]) -> None:
    """Write a label onto the grid of the scan that it belongs to.

    Args:
        path: the file. Its ending decides the format.
        labels: (H, W, D), integers 0..C, as `read_image` of the scan oriented it.
        geometry: of the scan.
        values: what the file holds for the classes 1..C.

    Raises:
        OSError: the file cannot be written.
    """
    stored = np.array([0, *values], np.uint8 if max(values) < 256 else np.uint16)[labels]
    grid = _blank_image(geometry, geometry.size)
    image = _to_sitk(stored)
    image.CopyInformation(_reorient(grid, geometry.orientation))
    if geometry.orientation != "stored":
        image = _reorient(image, _orientation_of(grid))
    _write(path, image, geometry)


def write_image(path: Path, image: np.ndarray, geometry: Geometry) -> None:
    """Write an image as float32.

    Args:
        path: the file. Its ending decides the format.
        image: (H, W, D), in the axes of the file.
        geometry: of the file.

    Raises:
        OSError: the file cannot be written.
    """
    _write(path, _to_sitk(image.astype(np.float32)), geometry)


def _read(path: Path, name: str, reading: Reading) -> tuple[np.ndarray, Geometry]:
    if suffix_of(path) in H5:
        return _read_h5(path, name, reading)
    if suffix_of(path) in NIFTI:
        _read_or_raise(path, lambda: _check_nifti(path))
    image = _read_or_raise(path, lambda: sitk.ReadImage(str(path)))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        channels = f" with {n} values each" if (n := image.GetNumberOfComponentsPerPixel()) > 1 else ""
        raise DataError(f"{path} has {_by(image.GetSize())} voxels{channels}: it must be one 3D volume")
    if "complex" in image.GetPixelIDTypeAsString():
        raise DataError(f"{path}: the {name} holds complex numbers, and must hold real ones")
    array = sitk.GetArrayFromImage(_reorient(image, reading.orientation)).transpose(2, 1, 0)
    return array, _geometry(image, reading)


def _check_nifti(path: Path) -> None:
    """Raise for a truncated or damaged file and for NaN. ITK would silently read zeros."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as file:  # to the end, because the checksum is there
            while file.read(2**20):
                pass
    voxels = np.asanyarray(nibabel.load(path).dataobj)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise DataError(f"{path} holds NaN or infinite values")


def _geometry(image: sitk.Image | sitk.ImageFileReader, reading: Reading) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), reading.orientation)


def _read_h5(path: Path, name: str, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """Image or label of an h5 file. Such a file states no orientation, so its axes are used as stored."""
    geometry = _h5_geometry(path, name, reading)

    def load() -> np.ndarray:
        with h5py.File(path) as file:
            return file[name][()]

    return _read_or_raise(path, load), geometry


def _h5_geometry(path: Path, name: str, reading: Reading) -> Geometry:
    """The geometry of an h5 file, without reading its voxels, which would have to be decompressed."""

    def read_attributes() -> tuple[tuple[int, ...], np.dtype, object]:
        with h5py.File(path) as file:
            if not isinstance(file.get(name), h5py.Dataset):
                raise DataError(f"{path}: there is no dataset named {name} in the file")
            spacings = [node.attrs["spacing"] for node in (file[name], file, file.get("image")) if _has_spacing(node)]
            return file[name].shape or (), file[name].dtype, (spacings or [reading.voxel])[0]

    shape, dtype, spacing = _read_or_raise(path, read_attributes)
    if len(shape) != 3 or not math.prod(shape):
        raise DataError(f"{path}: {name} has {_by(shape) or 'one'} voxels: it must be one 3D volume")
    if dtype.kind not in ("fiu" if name == "image" else "fiub"):
        raise DataError(f"{path}: the {name} holds {dtype}, not numbers")
    if spacing is None:
        raise DataError(f"{path} does not state its voxel size: give it an attribute `spacing`, or set data.voxel")
    try:
        spacing = tuple(float(mm) for mm in np.broadcast_to(spacing, 3))
    except ValueError:
        spacing = ()
    if not spacing or not all(0 < mm < math.inf for mm in spacing):
        raise DataError(f"{path}: the attribute `spacing` must be one number or three, in mm, each above 0")
    return Geometry(shape, spacing, (0.0,) * 3, tuple(np.eye(3).ravel()), "stored")


def _has_spacing(node: h5py.Group | h5py.Dataset | None) -> bool:
    return node is not None and "spacing" in node.attrs


# What ITK, h5py, nibabel and gzip raise for a damaged file. It depends on the position of the damage.
_UNREADABLE = (OSError, RuntimeError, KeyError, EOFError, ValueError, zlib.error)


def _read_or_raise(path: Path, read: Callable):
    """What `read` returns. Raises DataError, which names the file, for whatever a library raises."""
    try:
        return read()
    except DataError:
        raise
    except (*_UNREADABLE, nibabel.filebasedimages.ImageFileError) as error:  # the reason is in the last line
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise DataError(f"{path} cannot be read: {re.sub(r'^.*ERROR: ', '', reason[0]).strip()}") from error


def _normalised(image: np.ndarray, normalise: str | list[float]) -> np.ndarray:
    if normalise == "none":
        return image
    if normalise == "zscore":
        return ((image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)).astype(np.float32)
    low, high = normalise
    return ((image.clip(low, high) - low) / (high - low)).astype(np.float32)


def _to_sitk(array: np.ndarray) -> sitk.Image:
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


def _reorient(image: sitk.Image, orientation: str) -> sitk.Image:
    return image if orientation == "stored" else sitk.DICOMOrient(image, orientation)


def _orientation_of(image: sitk.Image) -> str:
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def _blank_image(geometry: Geometry, size: tuple[int, ...]) -> sitk.Image:
    image = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def _by(numbers: Iterable[float]) -> str:
    """Sizes for a message, such as 64 x 64 x 40."""
    return " x ".join(f"{number:g}" for number in numbers)
