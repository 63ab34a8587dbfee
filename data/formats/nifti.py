"""NIfTI and Analyze files: what their header claims, and whether their voxels are complete."""

import gzip
import math
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np

from data.case import DataError
from data.formats.header import Header, check_claim, damaged, hint, local_files
from data.geometry import by

SLACK = 2**24  # bytes that may follow the voxels
BLOCK = 2**20
MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # codes of metre and micrometre; any other is taken for mm
LEAST_SHEAR = 0.01  # cosine of the angle between two axes: half a degree off the right angle


def read_header(path: Path) -> Header:
    """The header of a .nii, .nii.gz or .hdr file. Raises DataError for impossible claims."""
    with _open(path) as file:
        block = file.read(540)
    header = _parse(path, block)
    shape = _shape(path, header)
    voxels = _voxel_file(path)
    kind, offset = _data_type(path, header), _offset(path, header)
    stored = voxels.stat().st_size
    packed = voxels.name.lower().endswith(".gz")
    check_claim(path, shape, kind.itemsize, stored if packed else max(stored - offset, 0), packed)
    unit = MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0) if "xyzt_units" in header else 1.0
    stated = {"pixdim": tuple(abs(float(mm)) * unit for mm in header["pixdim"][1:4])}
    affine = _sform(header)
    if affine is not None:
        stated["sform"] = tuple(float(mm) * unit for mm in np.linalg.norm(affine, axis=0))
        if int(header["qform_code"]) <= 0:  # else ITK takes the qform where the sform cannot be used
            _check_axes(path, affine)
    others = () if voxels == path else (voxels,)
    return Header(shape, stated, others, _problem(header))


def check_voxels(path: Path) -> None:
    """Raise DataError for voxels that are cut off, damaged, not finite, or more than the header claims.

    ITK would silently read zeros for the first three. The file is read once, in blocks.
    """
    with _open(path) as file:
        header = _parse(path, file.read(540))
    kind, offset = _data_type(path, header), _offset(path, header)
    voxels = _voxel_file(path)
    left = math.prod(_shape(path, header)) * kind.itemsize
    packed = voxels.name.lower().endswith(".gz")
    if kind.kind != "f" and not packed:
        return  # its length was checked, and it has no checksum
    with _open(voxels) as file:
        file.read(offset)
        while left:
            block = file.read(min(left, BLOCK))
            if not block:
                raise damaged(path, "its voxels are cut off")
            left -= len(block)
            whole = len(block) - len(block) % kind.itemsize
            if kind.kind == "f" and not np.isfinite(np.frombuffer(block[:whole], kind)).all():
                raise DataError(f"{path} holds NaN or infinite values")
        beyond = 0
        while packed and (block := file.read(BLOCK)):  # to the end, because the checksum is there
            beyond += len(block)
            if beyond > SLACK:
                raise damaged(path, "it unpacks to far more bytes than its header claims")


def _open(path: Path) -> BinaryIO:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _voxel_file(path: Path) -> Path:
    """The file with the voxels. In a pair it ends in .img or .img.gz."""
    if not path.name.lower().endswith(".hdr"):
        return path
    stem = path.name[: -len(".hdr")]
    names = [f"{stem}{ending}" for ending in (".img", ".IMG", ".img.gz")]
    found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
    if not found:
        raise damaged(path, f"its voxels should be in {stem}.img beside it")
    return local_files(path, [found[0].name])[0]


def _parse(path: Path, block: bytes) -> nibabel.analyze.AnalyzeHeader:
    """The header of NIfTI-1, NIfTI-2 or Analyze, as its first bytes tell."""
    length = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    if 540 in length and len(block) >= 540 and block[4:7] in (b"n+2", b"ni2"):
        kind = nibabel.Nifti2Header
    elif 348 in length and len(block) >= 348:
        kind = nibabel.Nifti1Header if block[344:347] in (b"n+1", b"ni1") else nibabel.AnalyzeHeader
    else:
        raise damaged(path, f"it is no NIfTI file{hint(block)}")
    if kind is nibabel.AnalyzeHeader and not path.name.lower().endswith(".hdr"):
        raise damaged(path, "it is no NIfTI file: its mark n+1 is missing")
    if kind is nibabel.Nifti2Header and path.name.lower().endswith(".hdr"):
        raise damaged(path, "pairs of NIfTI-2 are not read: write it as one file, .nii.gz")
    size = 540 if kind is nibabel.Nifti2Header else 348
    return kind(block[:size], check=False)


def _shape(path: Path, header: nibabel.analyze.AnalyzeHeader) -> tuple[int, ...]:
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise damaged(path, f"its header claims {dim[0]} dimensions")
    return tuple(dim[1 : dim[0] + 1])


def _data_type(path: Path, header: nibabel.analyze.AnalyzeHeader) -> np.dtype:
    code = int(header["datatype"])
    known = {int(c) for c in nibabel.nifti1.data_type_codes.code.values()} - {0, 1, 255}
    if code not in known:
        raise damaged(path, f"its header claims data type {code}, which NIfTI does not have")
    return np.dtype(nibabel.nifti1.data_type_codes.dtype[code]).newbyteorder(header.endianness)


def _offset(path: Path, header: nibabel.analyze.AnalyzeHeader) -> int:
    offset = float(header["vox_offset"])
    single = header["magic"].item()[:2] == b"n+" if "magic" in header else False
    least = (544 if isinstance(header, nibabel.Nifti2Header) else 352) if single else 0
    if offset == 0:
        return least
    if not (math.isfinite(offset) and least <= offset <= 2**40 and offset == int(offset)):
        raise damaged(path, f"its header claims that voxels begin at byte {offset:g}")
    return int(offset)


def _sform(header: nibabel.analyze.AnalyzeHeader) -> np.ndarray | None:
    """The nine numbers of the sform, if the file has one."""
    if "sform_code" not in header or int(header["sform_code"]) <= 0:
        return None
    return np.array([header[row][:3] for row in ("srow_x", "srow_y", "srow_z")], np.float64)


def _check_axes(path: Path, affine: np.ndarray) -> None:
    """Raise DataError for axes that have no length or are not at right angles."""
    lengths = np.linalg.norm(affine, axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        raise DataError(
            f"{path}: its sform has an axis of length 0 or NaN: write the right one, or set its sform_code to 0"
        )
    cosine = np.abs(np.triu((affine / lengths).T @ (affine / lengths), 1)).max()
    if cosine > LEAST_SHEAR:
        raise DataError(
            f"{path}: the axes of its sform are {math.degrees(math.asin(min(cosine, 1))):.1f} degrees off right "
            "angles: resample the scan to a grid without shear, as nibabel.processing.resample_to_output does"
        )


def _problem(header: nibabel.analyze.AnalyzeHeader) -> str:
    """Why the file does not tell how its axes lie in space, with advice."""
    if "sform_code" not in header:
        return "an Analyze file does not say which side is left: convert it to NIfTI, or set data.orientation: stored"
    pixdim = header["pixdim"][1:4]
    if (pixdim < 0).any():
        return (
            f"its pixdim is negative ({by(pixdim)} mm), and programs disagree about which axes that mirrors. Write "
            "positive sizes and a right sform, or set data.orientation: stored"
        )
    return ""
