"""Your own scans: a folder in the layout of nnU-Net and the Medical Segmentation Decathlon.

    imagesTr/<case>.nii.gz      training scans; or <case>_0000.nii.gz, as nnU-Net names channels
    labelsTr/<case>.nii.gz      their labels: a case without this file is unlabelled and stays so
    imagesTs, labelsTs          test scans, where the split is the folder's own
    dataset.json                optional: `name`, and `labels` as nnU-Net or the Decathlon write them

NIfTI, NRRD and MetaImage are read with their geometry; an h5 file holds `image` and, if there is one, `label`.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from data.case import Case, DataError, some
from data.scans import (
    H5,
    SUFFIXES,
    Geometry,
    Reading,
    has_label,
    read_geometry,
    read_image,
    read_label,
    stem_of,
    suffix_of,
)
from data.settings import CommonSettings, existing_folder
from data.splits import ListFiles, Split, check_patients, divide, patients, read_lists

CHANNEL = re.compile(r"(.+)_(\d{4})")


class FolderSettings(CommonSettings, Reading):
    """A folder of scans, how they are divided, and how they are read."""

    source: Literal["folder"]
    root: str = Field(description="folder with imagesTr and labelsTr; may contain ${VARIABLES} of the environment")
    name: str | None = Field(None, description="what tables call the data; by default that of dataset.json")
    labels: dict[str, int] | None = Field(None, description="value of each structure; by default those of dataset.json")
    split: Literal["given"] | Split = Field(
        "given", description="imagesTr and imagesTs as they are, list files, or a share or fold of the labelled scans"
    )
    patients: str | None = Field(
        None, description="regular expression: the part of a case's name that names its patient"
    )

    @field_validator("labels")
    @classmethod
    def _values(cls, labels: dict[str, int] | None) -> dict[str, int] | None:
        if labels is not None and (not labels or min(labels.values()) < 1 or max(labels.values()) > 65535):
            raise ValueError("must name at least one structure, each with a value from 1 to 65535; 0 is background")
        if labels is not None and len(set(labels.values())) < len(labels):
            raise ValueError("gives two structures the same value")
        return labels

    @field_validator("patients")
    @classmethod
    def _an_expression(cls, patients: str | None) -> str | None:
        try:
            re.compile(patients or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return patients


class FolderSource:
    """The cases of such a folder. Raises DataError where it cannot be used at all; `problems` lists what is wrong with
    single cases."""

    preparation = None  # what the settings say, which the record holds

    def __init__(self, settings: FolderSettings):
        self.reading = Reading.model_validate({key: getattr(settings, key) for key in Reading.model_fields})
        self._root = existing_folder(settings.root, "imagesTr")
        described = _description(self._root)
        self.name = settings.name or str(described.get("name") or self._root.name)
        named = settings.labels or _labels_of(described, self._root)
        self.class_names = dict(sorted(named.items(), key=lambda item: item[1]))
        self.classes = len(self.class_names)
        self.problems: list[str] = []
        self._labels = self._label_files("labelsTr") | self._label_files("labelsTs")
        train, test = self._scans("imagesTr"), self._scans("imagesTs")
        if not train:
            raise DataError(f"{self._root / 'imagesTr'} holds no scan ({', '.join(SUFFIXES)})")
        if both := sorted(set(train) & set(test)):
            self.problems.append(f"{some(both)}: in imagesTr and in imagesTs, where each may be in one")
        self._images = train | test
        if without := sorted(set(self._labels) - set(self._images)):
            self.problems.append(f"{some(without)}: a label without an image")
        self.train_ids, self.test_ids = self._split(settings, list(train), list(test))

    def content_key(self, case_id: str) -> str:
        """sha256 of the case's files and of how they are read."""
        how = json.dumps([self.reading.model_dump(mode="json"), self._values()], sort_keys=True)
        digest = hashlib.sha256(how.encode())
        try:
            for path in (self._images[case_id], self._labels.get(case_id)):
                if path is not None:
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"cannot read a case: {error}") from error
        return digest.hexdigest()

    def read(self, case_id: str) -> Case:
        """The case in the orientation and normalised as the settings say; DataError with all that is wrong with it."""
        image, geometry = read_image(self._images[case_id], self.reading)
        label = None
        if case_id in self._labels:
            label, grid = read_label(self._labels[case_id], self.reading, self._values())
            if differences := grid.differences(geometry):
                raise DataError(f"{self._labels[case_id]}: not on its image's grid: {', '.join(differences)}")
        return Case(case_id, image, label, geometry.array_spacing)

    def geometry(self, case_id: str) -> Geometry | None:
        """Of the case's image; None of an h5 file, which has none."""
        path = self._images[case_id]
        return None if suffix_of(path) in H5 else read_geometry(path, self.reading)

    def _values(self) -> list[int]:
        return list(self.class_names.values())

    def _scans(self, name: str) -> dict[str, Path]:
        """The image of each case of a folder: of several channels the one that is asked for."""
        files = _files(self._root / name)
        stems = [stem_of(path) for path in files]
        split = [CHANNEL.fullmatch(stem) for stem in stems]
        # A name may end in four digits and mean no channel: then a label has the whole of it.
        if not files or not all(split) or any(stem in self._labels for stem in stems):
            return dict(zip(stems, files, strict=True))
        channels = sorted({found[2] for found in split})
        wanted = channels[0] if self.reading.channel is None else f"{self.reading.channel:04d}"
        if self.reading.channel is None and len(channels) > 1:
            raise DataError(
                f"{self._root / name} has the channels {', '.join(channels)}, and the networks take one: set "
                f"data.channel to its number"
            )
        if wanted not in channels:
            raise DataError(f"data.channel {self.reading.channel}: {self._root / name} has {', '.join(channels)}")
        chosen = {found[1]: path for found, path in zip(split, files, strict=True) if found[2] == wanted}
        if without := sorted({found[1] for found in split} - set(chosen)):
            self.problems.append(f"{some(without)}: no channel {wanted} in {self._root / name}")
        return chosen

    def _label_files(self, name: str) -> dict[str, Path]:
        labels = {stem_of(path): path for path in _files(self._root / name)}
        for path in _files(self._root / name.replace("labels", "images")):
            if suffix_of(path) not in H5:
                continue
            try:
                if has_label(path):
                    labels.setdefault(stem_of(path), path)
            except DataError as error:
                self.problems.append(str(error))
        return labels

    def _split(self, settings: FolderSettings, train: list[str], test: list[str]) -> tuple[list[str], list[str]]:
        patient_of = patients(settings.patients)
        if isinstance(settings.split, ListFiles):
            chosen = read_lists(self._root, settings.split)
            if missing := [case for case in (*chosen[0], *chosen[1]) if case not in self._images]:
                raise DataError(f"data.split names cases that {self._root} does not hold: {some(missing)}")
        elif settings.split == "given":
            if not test:
                raise DataError(f"{self._root / 'imagesTs'} holds no scan: set data.split, for instance {{test: 0.25}}")
            chosen = train, test
        else:
            known = [case for case in train if case in self._labels]
            divided = divide(known, settings.split, patient_of)
            tested = {patient_of(case) for case in divided[1]}
            chosen = [case for case in train if patient_of(case) not in tested], divided[1]
        check_patients(*chosen, patient_of)
        return chosen


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if suffix_of(path) and not path.name.startswith("."))


def _description(root: Path) -> dict:
    path = root / "dataset.json"
    if not path.exists():
        return {}
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; mend it or remove it and set data.labels") from error
    return described if isinstance(described, dict) else {}


def _labels_of(described: dict, root: Path) -> dict[str, int]:
    """Structures and their values: nnU-Net has {"liver": 1}, the Decathlon {"1": "liver"}."""
    labels = {}
    for key, value in dict(described.get("labels") or {}).items():
        name, number = (value, key) if str(key).isdigit() else (key, value)
        if not str(number).isdigit():
            raise DataError(f"{root / 'dataset.json'}: label {key!r} is {value!r}: regions are not supported")
        if int(number):
            labels[str(name)] = int(number)
    if not labels:
        raise DataError(
            f"{root / 'dataset.json'} names no structure: set data.labels, for instance {{atrium: 1}}, or add the file"
        )
    return labels
