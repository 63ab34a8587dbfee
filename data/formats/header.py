"""What a scan's header claims, and whether the file is large enough for it. Nothing here reads voxels."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from data.case import DataError
from data.geometry import by

MOST_VOXELS = 2**31  # of one file; a larger claim is taken for damage
MOST_PACKED = 1040  # bytes that a byte of deflated data can unpack to; 1032 is the format's limit
MOST_HEADER = 2**16  # bytes of a header in text
MOST_FILES = 10_000  # that a header may name
LARGEST = 2**62  # of a whole number in a header


@dataclass(frozen=True)
class Header:
    """What the header of a scan's file states.

    Args:
        shape: voxels along each axis of the file.
        stated: each statement of the voxel size, in mm, by the name of its field. Impossible sizes are kept for
            messages.
        data_files: the files with the voxels, if they are not in the file itself.
        problem: why the position in space cannot be used, with advice; "" if it can.
        unit: the unit of the stated sizes, if that is not mm. These sizes are then not used.
    """

    shape: tuple[int, ...]
    stated: dict[str, tuple[float, ...]]
    data_files: tuple[Path, ...] = ()
    problem: str = ""
    unit: str = ""


def other_unit(*units: str) -> str:
    """The first unit of length that is not mm; "" if there is none. ITK ignores units and takes all sizes for mm.

    Example:
        >>> other_unit("mm", "?", "um")
        'um'
    """
    return next((unit for unit in units if not re.fullmatch(r"(?i)mm|millimet(er|re)s?|\?*", unit.strip())), "")


def damaged(path: Path, what: str) -> DataError:
    """The error for a file that is no scan, or a damaged one."""
    return DataError(f"{path} cannot be read: {what}")


def hint(block: bytes) -> str:
    """What the first bytes tell about a file that is no scan."""
    if not block:
        return ", it is empty"
    if block.startswith(b"version https://git-lfs"):
        return ", but a pointer of git-lfs: `git lfs pull` fetches the file itself"
    if block.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return ", but a web page: download it again"
    return ""


def check_claim(path: Path, shape: tuple[int, ...], voxel_bytes: float, stored: int, packed: bool) -> None:
    """Raise DataError for an impossible size, or if the file is too short for it.

    Args:
        path: for the message.
        shape: voxels along each axis, as claimed.
        voxel_bytes: bytes of a voxel, at least.
        stored: bytes that the file has for voxels.
        packed: whether these are compressed.
    """
    if not shape or min(shape) < 1:
        raise damaged(path, f"its header claims {by(shape) or 'no'} voxels")
    if math.prod(shape) > MOST_VOXELS:
        raise damaged(path, f"its header claims {by(shape)} voxels, and at most 2^31 are read")
    claimed = math.prod(shape) * voxel_bytes
    if claimed > stored * (MOST_PACKED if packed else 1):
        raise damaged(
            path,
            f"its header claims {by(shape)} voxels, {claimed:,.0f} bytes, but the file has {stored:,} for them"
            f"{' (compressed)' * packed}: it is cut off or damaged",
        )


def local_files(path: Path, names: list[str]) -> tuple[Path, ...]:
    """The files of voxels that a header names.

    Raises:
        DataError: a name leads out of the header's folder, by itself or through a link. Otherwise a header could read
            any file of the machine.
    """
    found = []
    if len(names) > MOST_FILES or any("\0" in name for name in names):
        raise damaged(path, "its header names files that cannot be")
    for name in names:
        file = path.parent / name
        folders = {resolved(path.parent), resolved(path).parent}
        if Path(name).is_absolute() or ".." in Path(name).parts or not _inside(resolved(file), folders):
            raise DataError(
                f"{path} takes its voxels from {name}, outside of its own folder, which is not read. Put the file "
                "itself beside it, or write the scan as one file (.nii.gz, .nrrd, .mha)"
            )
        if not file.is_file():
            raise damaged(path, f"its voxels should be in {file}, and there is no such file")
        found.append(file)
    return tuple(found)


def resolved(path: Path) -> Path:
    """A path with its links followed. Circular links stay as they are; `Path.resolve` would raise."""
    return Path(os.path.realpath(path))


def _inside(file: Path, folders: set[Path]) -> bool:
    return any(file.is_relative_to(folder) for folder in folders)


def series(path: Path, pattern: str, first: str, last: str, step: str) -> list[str]:
    """The names that a numbered series of files has.

    Example:
        >>> series(Path("a.mhd"), "slice%02d.raw", "1", "3", "1")
        ['slice01.raw', 'slice02.raw', 'slice03.raw']
    """
    try:
        numbers = range(int(first), int(last) + (1 if int(step) > 0 else -1), int(step))
        if not re.fullmatch(r"[^%]*%0?\d{0,2}[di][^%]*", pattern) or not 0 < len(numbers) <= MOST_FILES:
            raise ValueError
    except (ValueError, OverflowError):
        raise damaged(path, f"its voxels are in files {pattern[:60]!r}, which cannot be") from None
    return [pattern % number for number in numbers]


def text_header(path: Path) -> bytes:
    """The first bytes of a file. A text header must fit into them."""
    with path.open("rb") as file:
        return file.read(MOST_HEADER)


def listed(path: Path, lines: bytes) -> list[str]:
    """The files that a header lists, one a line."""
    if path.stat().st_size >= MOST_HEADER:
        raise damaged(path, "its header lists too many files")
    return [line.strip() for line in lines.decode("latin-1").splitlines() if line.strip()]


def numbers(path: Path, field: str, text: str, kind: type = float) -> tuple:
    """The numbers of a field. Raises DataError for anything else."""
    try:
        found = tuple(kind(word) for word in text.replace(",", " ").split())
    except ValueError:
        found = (LARGEST,)
    if kind is int and any(abs(number) >= LARGEST for number in found) or found == (LARGEST,):
        raise damaged(path, f"its field {field!r} is {text.strip()[:60]!r}, which cannot be")
    return found
