"""NIfTI files whose headers state sizes field by field."""

import gzip

import nibabel
import numpy as np
from helpers.scan_folder import scan

TRUE = (0.8, 0.8, 3.0)


def nifti(path, pixdim=TRUE, sform=TRUE, qform=None, unit=2, array=None):
    """A NIfTI file with exactly these sizes in its header; None leaves a field out."""
    header = nibabel.Nifti1Header()
    array = scan() if array is None else array
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    if qform is not None:
        header.set_qform(np.diag([*qform, 1]), code=1)
    if sform is not None:
        header.set_sform(np.diag([*sform, 1]) if np.ndim(sform) == 1 else sform, code=1)
    header["pixdim"][1:4] = pixdim
    header["xyzt_units"] = unit
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    content = header.binaryblock + bytes(4) + array.tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path
