"""How large a voxel is: the rules for `data info`, `run`, `predict` and `add-masks`."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.case import DataError
from data.formats.header import Header
from data.geometry import by
from data.reading import Reading

SAME = 2e-3  # relative difference of two statements of one size that is taken for rounding


def voxel_size(path: Path, header: Header, reading: Reading) -> tuple[float, ...]:
    """mm of a voxel along each axis of a scan's file.

    Args:
        path: for messages.
        header: of the file.
        reading: `voxel` decides where the file states no size, or two different ones.

    Raises:
        DataError: the file states none or several, and the settings do not decide.

    Example:
        >>> header = Header((9, 9, 9), {"pixdim": (1, 1, 1), "sform": (0.8, 0.8, 3)})
        >>> voxel_size(Path("a.nii"), header, Reading(voxel="sform"))
        (0.8, 0.8, 3)
        >>> voxel_size(Path("a.nii"), header, Reading())
        Traceback (most recent call last):
        data.case.DataError: a.nii states voxels of 1 x 1 x 1 mm (pixdim) and of 0.8 x 0.8 x 3 mm (sform): set \
data.voxel to the right field, pixdim or sform, or to three sizes in mm
    """
    usable = {field: sizes for field, sizes in header.stated.items() if _possible(sizes) and not header.unit}
    if isinstance(reading.voxel, str) and reading.voxel in usable:
        return usable[reading.voxel]
    first = next(iter(usable.values()), None)
    if first is not None and all(np.allclose(first, other, rtol=SAME, atol=0) for other in usable.values()):
        return first
    if isinstance(reading.voxel, tuple):
        return reading.voxel
    if first is not None:
        states = " and of ".join(f"{by(sizes)} mm ({field})" for field, sizes in usable.items())
        fields = "the right field, pixdim or sform, or to " if "pixdim" in usable else ""
        raise DataError(f"{path} states voxels of {states}: set data.voxel to {fields}three sizes in mm")
    unit = f" {header.unit}" if header.unit else ""
    wrong = "; ".join(f"{field} is {by(sizes) or 'empty'}{unit}" for field, sizes in header.stated.items())
    attribute = ", or give it an attribute `spacing`" if path.name.lower().endswith((".h5", ".hdf5")) else ""
    raise DataError(
        f"{path} does not state its voxel size{f' ({wrong})' if wrong else ''}: set data.voxel to the mm along its "
        f"axes of {by(header.shape)} voxels{attribute}. [1, 1, 1] gives distances in voxels, as papers on such files do"
    )


def differ(spacings: Iterable[tuple[float, ...]]) -> bool:
    """Whether cases have voxels of several sizes, by more than 1 % of the smallest side.

    Example:
        >>> differ([(1.0, 1.0, 2.0), (1.0, 1.0, 2.001)]), differ([(1.0, 1.0, 2.0), (1.0, 1.0, 2.5)])
        (False, True)
    """
    sizes = np.array(list(spacings))
    return bool(len(sizes)) and bool(np.ptp(sizes, axis=0).max() > 0.01 * sizes.min())


def _possible(sizes: tuple[float, ...]) -> bool:
    return len(sizes) == 3 and all(0 < mm < math.inf for mm in sizes)
