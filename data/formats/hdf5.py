"""h5 files: datasets `image` and perhaps `label`, with the voxel size as an attribute `spacing`."""

import math
from pathlib import Path

import h5py
import numpy as np

from data.case import DataError
from data.formats.header import Header, check_claim
from data.geometry import by

MOST_LINKS = 32


def read_header(path: Path, name: str) -> Header:
    """What the file states of a dataset. Its voxels are not read."""
    with h5py.File(path) as file:
        data = dataset(file, name, path)
        check_dataset(path, name, data)
        nodes = {f"attribute `spacing` of {name}": data, "attribute `spacing` of the file": file}
        if name != "image" and isinstance(image := _resolve(file, "image", path), h5py.Dataset):
            nodes["attribute `spacing` of image"] = image
        stated = {
            field: _three(path, node.attrs["spacing"]) for field, node in nodes.items() if "spacing" in node.attrs
        }
        return Header(volume_shape(data.shape), stated)


def read_voxels(path: Path, name: str) -> np.ndarray:
    """The array of a dataset, as it is stored."""
    with h5py.File(path) as file:
        data = dataset(file, name, path)
        return data[()].reshape(volume_shape(data.shape))


def has_label(path: Path) -> bool:
    """Whether the file holds a label beside its image."""
    with h5py.File(path) as file:
        return _resolve(file, "label", path) is not None


def check_dataset(path: Path, name: str, data: h5py.Dataset) -> None:
    """Raise DataError for a dataset that is no volume of numbers, or is too large."""
    shape = data.shape or ()
    if len(volume_shape(shape)) != 3 or not math.prod(shape):
        raise DataError(f"{path}: {name} has {by(shape) or 'one'} voxels: it must be one 3D volume")
    if data.dtype.kind not in ("fiu" if name == "image" else "fiub"):
        raise DataError(f"{path}: the {name} holds {data.dtype}, not numbers")
    check_claim(path, shape, 0, path.stat().st_size, packed=True)  # chunks that were never written need no bytes


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without axes of length 1 after the third.

    Example:
        >>> volume_shape((64, 64, 40, 1)), volume_shape((64, 64, 40, 2))
        ((64, 64, 40), (64, 64, 40, 2))
    """
    return tuple(shape[:3]) if all(n == 1 for n in shape[3:]) else tuple(shape)


def dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """A dataset of the file. Raises DataError if it is missing, or if its values are in another file."""
    found = _resolve(file, name, path)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{path}: there is no dataset named {name} in the file")
    if found.is_virtual or found.external:
        raise _elsewhere(path, name, "virtual datasets" if found.is_virtual else "external storage")
    return found


def _resolve(file: h5py.File, name: str, path: Path) -> h5py.Dataset | h5py.Group | None:
    """The object that a name links to. Links are followed one by one, so that no other file is opened."""
    node, parts = file, name.split("/")
    for _ in range(MOST_LINKS):
        if not parts:
            return node
        if not isinstance(node, h5py.Group):
            return None
        part, *parts = parts
        link = node.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, name, f"a link to {link.filename}")
        if isinstance(link, h5py.SoftLink):
            node = file if link.path.startswith("/") else node
            parts = [step for step in link.path.split("/") if step not in ("", ".")] + parts
        elif link is None:
            return None
        else:
            node = node[part]
    raise DataError(f"{path}: the links to {name} lead in a circle")


def _elsewhere(path: Path, name: str, how: str) -> DataError:
    return DataError(
        f"{path}: the values of {name} are in another file ({how}), which is not read: copy them into this one"
    )


def _three(path: Path, spacing: object) -> tuple[float, ...]:
    try:
        sizes = tuple(float(mm) for mm in np.broadcast_to(spacing, 3))
    except (ValueError, TypeError):
        sizes = ()
    if not sizes or not all(0 < mm < math.inf for mm in sizes):
        raise DataError(f"{path}: the attribute `spacing` must be one number or three, in mm, each above 0")
    return sizes
