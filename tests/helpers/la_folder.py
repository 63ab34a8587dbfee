"""Writes small folders of the left-atrium layout."""

from pathlib import Path

import h5py
import numpy as np

IMAGE = np.linspace(-1, 5, 5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)
LABEL = (IMAGE > 3).astype(np.uint8)


def write_la_case(root: Path, case_id: str, **datasets) -> Path:
    """The file of a case, holding these datasets."""
    folder = root / "2018LA_Seg_Training Set" / case_id
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "mri_norm2.h5", "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, compression="gzip")
    return folder / "mri_norm2.h5"


def write_la_folder(root: Path) -> Path:
    """A folder of three cases, with the two kinds of list files."""
    for case_id in "ABC":
        write_la_case(root, case_id, image=IMAGE, label=LABEL)
    (root / "train.list").write_text("A\nB\n")
    (root / "test.list").write_text("C/mri_norm2.h5\n\n")
    return root
