"""The left-atrium data set: 100 LGE-MRI scans of the 2018 Atrial Segmentation Challenge, as UA-MT's authors
distribute them (`2018LA_Seg_Training Set/<ID>/mri_norm2.h5`, 0.625 mm isotropic).

The images are used as they are stored: they were z-scored before they were cropped, so a crop's mean and deviation are
not 0 and 1, and normalising again would not be what the papers do.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from data.case import Case, DataError

IMAGES = "2018LA_Seg_Training Set"
FILE = "mri_norm2.h5"
# The published split, 80 and 20 cases: byte-identical in the releases of UA-MT, DTC, DTML, SASSNet, MC-Net and BCP.
OFFICIAL = Path(__file__).parent / "lists"


class ListFiles(BaseModel):
    """Two list files, one case a line, relative to the root folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str
    test: str


class LASettings(BaseModel):
    """Where the left-atrium cases are, and which of them are for training and for testing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["la"]
    root: str = Field(description="folder of the data set; may contain ${VARIABLES} of the environment")
    split: Literal["official"] | ListFiles = Field("official", description="the published 80/20 split, or list files")
    spacing: float | None = Field(None, gt=0, description="isotropic voxel size in mm to train at; none = as stored")


class LASource:
    """The cases of a left-atrium folder. Raises DataError where the folder, a list or a case is missing."""

    name = "LA"
    classes = 1

    def __init__(self, settings: LASettings):
        root = _existing_folder(settings.root)
        if settings.split == "official":
            train, test = OFFICIAL / "la_train.list", OFFICIAL / "la_test.list"
        else:
            train, test = root / settings.split.train, root / settings.split.test
        self.train_ids = _read_list(train)
        self.test_ids = _read_list(test)
        if both := sorted(set(self.train_ids) & set(self.test_ids)):
            raise DataError(
                f"{len(both)} cases are in both {train} and {test}, where each may be in one: {', '.join(both)}"
            )
        self._images = images_folder(root)
        ids = self.train_ids + self.test_ids
        if missing := [case_id for case_id in ids if not self._file(case_id).is_file()]:
            some = ", ".join(missing[:6]) + (", …" if len(missing) > 6 else "")
            raise DataError(
                f"{len(missing)} of the split's {len(ids)} cases are missing in {self._images} (<case>/{FILE}): "
                f"{some}; add them, or set data.split to list files of the cases you have"
            )

    def content_key(self, case_id: str) -> str:
        """sha256 of the case's file."""
        try:
            with self._file(case_id).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"cannot read a case: {error}") from error

    def read(self, case_id: str) -> Case:
        """The case as stored; DataError naming the file where it cannot be read or holds what it should not."""
        path = self._file(case_id)
        image, label = _read_h5(path)
        if image.ndim != 3 or image.shape != label.shape or not image.size:
            raise DataError(
                f"{path}: image {image.shape} and label {label.shape} must be 3D and of one shape, with voxels in it; "
                "download the file again"
            )
        if image.dtype.kind not in "fiu":
            raise DataError(f"{path}: the image holds {image.dtype}, not numbers; download the file again")
        with np.errstate(over="ignore"):
            image = image.astype(np.float32)
        if not np.isfinite(image).all():
            raise DataError(f"{path}: the image holds NaN or infinite values; download the file again")
        if not np.isin(label, (0, 1)).all():
            raise DataError(
                f"{path}: the label must be 0 or 1, but it holds {_some_values(label)}; mend it or leave it out"
            )
        return Case(case_id, image, label.astype(np.uint8), (0.625, 0.625, 0.625))

    def _file(self, case_id: str) -> Path:
        return self._images / case_id / FILE


def images_folder(root: Path) -> Path:
    """The folder of the cases: the distribution's, or `root` itself where it holds them directly."""
    return root / IMAGES if (root / IMAGES).is_dir() else root


def _existing_folder(root: str) -> Path:
    expanded = os.path.expandvars(os.path.expanduser(root))
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise DataError(
            f"data.root is {root}, but the environment variable {unset[1]} is not set: export {unset[1]}=FOLDER"
        )
    if not expanded:
        raise DataError(f"data.root is {root!r}, which is empty; set it to the folder that holds '{IMAGES}'")
    if not Path(expanded).is_dir():
        raise DataError(f"data.root: there is no folder {expanded}; set it to the folder that holds '{IMAGES}'")
    return Path(expanded).absolute()


def _read_list(path: Path) -> list[str]:
    """The ids of a list file, whose lines are `<ID>` or `<ID>/mri_norm2.h5` (the distribution has both)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list file {path} (data.split), one case a line: {error}") from error
    ids = [line.strip().removesuffix(f"/{FILE}") for line in lines if line.strip()]
    if not ids:
        raise DataError(f"the list file {path} (data.split) names no case: write one a line")
    # A case's id names folders and files, here and in results.
    if nested := [case_id for case_id in ids if case_id == ".." or Path(case_id).name != case_id]:
        raise DataError(f"the list file {path} (data.split) names {nested[0]!r}, which is no plain case id: write CASE")
    if twice := sorted({case_id for case_id in ids if ids.count(case_id) > 1}):
        raise DataError(f"the list file {path} names cases twice: {', '.join(twice)}; remove one")
    return ids


def _read_h5(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with h5py.File(path) as file:
            if missing := [name for name in ("image", "label") if not isinstance(file.get(name), h5py.Dataset)]:
                raise DataError(
                    f"{path}: there is no dataset named {' or '.join(missing)} in the file; download it again"
                )
            return file["image"][()], file["label"][()]
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises for a damaged file, by where the damage is
        raise DataError(f"{path} cannot be read, it is damaged or incomplete; download it again ({error})") from error


def _some_values(label: np.ndarray) -> str:
    values = np.unique(label)
    return ", ".join(str(value) for value in values[:6]) + (", …" if len(values) > 6 else "")
