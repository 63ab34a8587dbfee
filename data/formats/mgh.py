"""FreeSurfer's files (.mgh, .mgz), which nibabel reads and ITK does not."""

import gzip
import math
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from data.formats.header import Header, check_claim, damaged, hint
from data.formats.nifti import BLOCK, SLACK

LPS = np.diag([-1.0, -1.0, 1.0])  # from nibabel's axes to ITK's


def read_header(path: Path) -> Header:
    """The header of a file. Raises DataError for impossible claims."""
    packed = path.name.lower().endswith(".mgz")
    with gzip.open(path) if packed else path.open("rb") as file:
        block = file.read(284)
    if len(block) < 284 or block[:4] != b"\0\0\0\1":
        raise damaged(path, f"it is no FreeSurfer volume{hint(block)}")
    header = nibabel.freesurfer.mghformat.MGHHeader(block, check=False)
    kinds = nibabel.freesurfer.mghformat.data_type_codes
    if int(header["type"]) not in kinds.code.values():
        raise damaged(path, f"its header claims data type {int(header['type'])}, which FreeSurfer does not have")
    shape = tuple(int(n) for n in header["dims"])
    voxel_bytes = np.dtype(kinds.dtype[int(header["type"])]).itemsize
    stored = path.stat().st_size - (0 if packed else 284)
    check_claim(path, shape, voxel_bytes, stored, packed)
    says = block[28:30] == b"\0\1"  # else a reader has to assume 1 mm and coronal slices, as nibabel does
    stated = {"delta": tuple(float(mm) for mm in header["delta"])} if says else {}
    problem = ""
    if not says:
        problem = "its header does not say how its axes lie: convert it to NIfTI, or set data.orientation: stored"
    cosines = header["Mdc"] @ header["Mdc"].T
    if says and not np.allclose(cosines, np.eye(3), atol=0.01):
        problem = "its axes are not at right angles: resample the scan to a grid without shear"
    return Header(shape, stated, (), problem)


def read_volume(path: Path) -> sitk.Image:
    """The scan as an image of ITK. Raises what nibabel raises."""
    if path.name.lower().endswith(".mgz"):
        _check_end(path)
    scan = nibabel.load(path)
    voxels = np.asanyarray(scan.dataobj)
    voxels = voxels.reshape(voxels.shape[:3]) if voxels.ndim > 3 and set(voxels.shape[3:]) == {1} else voxels
    if voxels.ndim != 3:
        raise damaged(path, f"it has {voxels.shape} voxels: it must be one 3D volume")
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose()).astype(voxels.dtype.newbyteorder("=")))
    sizes = nibabel.affines.voxel_sizes(scan.affine)
    if np.isfinite(scan.affine).all() and (sizes > 0).all():
        image.SetSpacing(sizes.tolist())
        image.SetOrigin((LPS @ scan.affine[:3, 3]).tolist())
        image.SetDirection((LPS @ scan.affine[:3, :3] / sizes).ravel().tolist())
    return image


def _check_end(path: Path) -> None:
    """Read to the end, where the checksum is, but not far beyond the voxels."""
    with gzip.open(path) as file:
        header = nibabel.freesurfer.mghformat.MGHHeader(file.read(284), check=False)
        kind = np.dtype(nibabel.freesurfer.mghformat.data_type_codes.dtype[int(header["type"])])
        left = math.prod(int(n) for n in header["dims"]) * kind.itemsize + SLACK
        while block := file.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise damaged(path, "it unpacks to far more bytes than its header claims")
