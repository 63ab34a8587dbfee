"""Reads scans into arrays and writes arrays back: NIfTI, NRRD, MetaImage, FreeSurfer and h5 files.

The axes of arrays are those of the file's index (x, y, z), or those of a given orientation. Geometry is that of
SimpleITK: origin, direction cosines and spacing in mm. Files are decoded in a process of their own (`data/reader.py`).
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from data.case import DataError
from data.formats.dispatch import DETACHED, MAY_BE_DETACHED, read_header, suffix_of
from data.geometry import Geometry, blank_image, orientation_of, reorient
from data.reader import decode
from data.reading import Reading


def file_hash(path: Path) -> str:
    """The sha256 of a scan's file. For a header whose voxels are in another file it includes the voxels.

    Raises:
        OSError: the file cannot be opened.
        DataError: the header is damaged, or the voxels cannot be read.
    """
    if suffix_of(path) in MAY_BE_DETACHED and (suffix_of(path) in DETACHED or read_header(path).data_files):
        path.stat()
        return decode("file_hash", path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def raw_hashes(paths: Iterable[Path]) -> str:
    """`file_hash` of each downloaded file, with spaces between. Raises DataError if one cannot be opened."""
    try:
        return " ".join(map(file_hash, paths))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): download it again") from error


def read_image(path: Path, reading: Reading) -> tuple[np.ndarray, Geometry]:
    """Read an image as a network gets it.

    Args:
        path: a NIfTI, NRRD, MetaImage, FreeSurfer or h5 file with one 3D volume.
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
    return decode("image", path, reading)


def read_series(folder: Path) -> tuple[np.ndarray, Geometry]:
    """Read a DICOM series.

    Args:
        folder: holds one series, at any depth.

    Returns:
        The image (H, W, D), float32, in the units of the file (Hounsfield units of a CT), and its geometry. Slices are
        in the order of their position.

    Raises:
        DataError: the folder has no series or several, or slices are missing.
    """
    return decode("series", folder)


def read_label(path: Path, reading: Reading, values: list[int]) -> tuple[np.ndarray, Geometry]:
    """Read a label and number its structures.

    Args:
        path: a file with one 3D volume, or an h5 file with a dataset `label`.
        reading: the orientation.
        values: the values of the structures in the file. 0 is background. A value may be off by 0.001.

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
    return decode("label", path, reading, values=values)


def read_geometry(path: Path, reading: Reading, name: str = "image") -> Geometry:
    """The geometry of a scan, without reading its voxels.

    Args:
        path: the file.
        reading: orientation and voxel size.
        name: the dataset of an h5 file.

    Raises:
        DataError: the file cannot be read. The message names it.
    """
    return decode("geometry", path, reading, name=name)


def has_label(path: Path) -> bool:
    """Whether an h5 file holds a label beside its image. Raises DataError if it cannot be read."""
    return decode("has_label", path)


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
    grid = blank_image(geometry, geometry.size)
    image = _to_sitk(stored)
    image.CopyInformation(reorient(grid, geometry.orientation))
    if geometry.orientation != "stored":
        image = reorient(image, orientation_of(grid))
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
