"""The left-atrium data set: 100 LGE-MRI scans of the 2018 Atrial Segmentation Challenge.

UA-MT's authors distribute them as `2018LA_Seg_Training Set/<ID>/mri_norm2.h5`, with cubic voxels of 0.625 mm.

The images are used as they are stored. They were z-scored before they were cropped, so mean and deviation of a crop are
not 0 and 1. The papers do not normalise them again.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from data.case import Case, DataError, shorten_list
from data.geometry import by
from data.reading import Reading
from data.recipes.recipe import OTHER_CASES
from data.scans import read_image, read_label
from data.settings import CommonSettings, existing_folder
from data.splits import Fold, ListFiles, Share, Split, divide, read_lists

IMAGES = "2018LA_Seg_Training Set"
FILE = "mri_norm2.h5"
PREPARATION = "preparation.json"  # beside cases that `data prepare la` made
WHOLE = "z-scored as whole scans"
MM = 0.625  # of a voxel, along each axis
# The published split, 80 and 20 cases: byte-identical in the releases of UA-MT, DTC, DTML, SASSNet, MC-Net and BCP.
OFFICIAL = Path(__file__).parent / "lists"
OFFICIAL_LISTS = ListFiles(train="la_train.list", test="la_test.list")


class LASettings(CommonSettings):
    """Where the left-atrium cases are, and which of them are for training and for testing."""

    source: Literal["la"]
    root: str = Field(description="folder of the data set; may contain ${VARIABLES} of the environment")
    split: Literal["official"] | Split = Field(
        "official", description="the published 80/20 split, list files, or a share or fold of the folder's cases"
    )


class LASource:
    """The cases of a left-atrium folder. Raises DataError if the folder, a list or a case is missing."""

    name = "LA"
    classes = 1
    channels = 1
    channel_names = ["LGE-MRI"]
    class_names = {"left atrium": 1}
    reading = Reading(orientation="stored", normalise="none", voxel=(MM, MM, MM))
    patient_of = staticmethod(str)
    problems: list[str] = []
    notes: list[str] = []

    def __init__(self, settings: LASettings):
        root = existing_folder(settings.root, f"'{IMAGES}'")
        self._images = images_folder(root)
        if isinstance(settings.split, Share | Fold):
            ids = sorted(path.parent.name for path in self._images.glob(f"*/{FILE}"))
            folders = (path for path in self._images.iterdir() if path.is_dir() and not path.name.startswith("."))
            if empty := sorted(path.name for path in folders if not (path / FILE).is_file()):
                self.problems = [f"{self._images}: {shorten_list(empty)} without {FILE}: add it, or remove the folder"]
            self.train_ids, self.test_ids = divide(ids, settings.split)
        else:
            lists = OFFICIAL_LISTS if settings.split == "official" else settings.split
            self.train_ids, self.test_ids = read_lists(OFFICIAL if lists is OFFICIAL_LISTS else root, lists, f"/{FILE}")
        self.preparation = _preparation(self._images)
        self.recipe = "la" if settings.split == "official" else f"la{OTHER_CASES}"
        ids = self.train_ids + self.test_ids
        if missing := [case_id for case_id in ids if not self._file(case_id).is_file()]:
            raise DataError(
                f"{len(missing)} of the split's {len(ids)} cases are missing in {self._images} (<case>/{FILE}): "
                f"{shorten_list(missing)}; add them, or set data.split to list files of the cases you have"
            )

    def content_key(self, case_id: str) -> str:
        """sha256 of the case's file."""
        try:
            with self._file(case_id).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"cannot read a case: {error}") from error

    def read(self, case_id: str) -> Case:
        """The case as stored. Raises DataError, which names the file, if it cannot be read or its content is wrong."""
        path = self._file(case_id)
        try:
            image, geometry = read_image(path, self.reading)
            label, _ = read_label(path, self.reading, [1])
        except DataError as error:
            raise DataError(f"{error}; download the file again") from error
        if not np.allclose(geometry.spacing, MM, rtol=0.01):
            raise DataError(
                f"{path} states voxels of {by(geometry.spacing)} mm, and this data set has {MM:g}: download the "
                "file again, or read your own scans with source: folder"
            )
        if image.shape != label.shape:
            raise DataError(
                f"{path}: image {image.shape} and label {label.shape} differ in shape; download the file again"
            )
        return Case(case_id, image, label, (MM, MM, MM))

    def label_files(self, case_id: str) -> list[Path]:
        """The case's file, which holds image and label."""
        return [self._file(case_id)]

    def geometry(self, case_id: str) -> None:
        """None: the distributed files do not say where the voxels lie."""

    def _file(self, case_id: str) -> Path:
        return self._images / case_id / FILE


def _preparation(images: Path) -> str:
    """How the images of a folder were prepared, by the file beside it."""
    file = images.parent / PREPARATION
    try:
        preparation = json.loads(file.read_text(encoding="utf-8"))
        return f"{WHOLE}, then {preparation['rule']} (from the raw scans, seed {preparation['seed']})"
    except FileNotFoundError:
        return f"{WHOLE}, then cropped in x and y around the ground truth, test cases too, as distributed"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}): prepare the cases again") from error


def images_folder(root: Path) -> Path:
    """The folder of the cases: that of the distribution, or `root` if it contains them directly."""
    return root / IMAGES if (root / IMAGES).is_dir() else root
