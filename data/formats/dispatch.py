"""Which format a file has, by its ending."""

from pathlib import Path

from data.formats import hdf5, metaimage, mgh, nifti, nrrd
from data.formats.header import Header

NIFTI = (".nii.gz", ".nii", ".hdr")
NRRD = (".nrrd", ".nhdr")
METAIMAGE = (".mha", ".mhd")
MGH = (".mgz", ".mgh")
H5 = (".h5", ".hdf5")
SUFFIXES = (*NIFTI, *NRRD, *METAIMAGE, *MGH, *H5)
DETACHED = (".nhdr", ".mhd", ".hdr")  # headers whose voxels are always in another file
MAY_BE_DETACHED = (*DETACHED, ".nrrd", ".mha")


def suffix_of(path: Path) -> str:
    """The ending of a scan's file name; "" if the file is no scan.

    Example:
        >>> suffix_of(Path("p12.nii.gz")), suffix_of(Path("notes.txt"))
        ('.nii.gz', '')
    """
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def read_header(path: Path, name: str = "image") -> Header:
    """What the header of a scan's file states.

    Args:
        path: the file.
        name: the dataset of an h5 file.

    Raises:
        DataError: the header is damaged, or claims what cannot be.
        OSError, EOFError, zlib.error: the file cannot be read.
    """
    suffix = suffix_of(path)
    if suffix in H5:
        return hdf5.read_header(path, name)
    formats = {NIFTI: nifti, NRRD: nrrd, METAIMAGE: metaimage, MGH: mgh}
    return next(of for suffixes, of in formats.items() if suffix in suffixes).read_header(path)
