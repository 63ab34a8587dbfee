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
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from data.case import Case, DataError, collect_problems, raise_problems, shorten_list
from data.scans import (
    H5,
    SUFFIXES,
    Geometry,
    Reading,
    by_stem,
    file_hash,
    has_label,
    read_geometry,
    read_image,
    read_label,
    suffix_of,
)
from data.settings import CommonSettings, existing_folder
from data.splits import ListFiles, Split, check_patients, divide, patients, read_lists

CHANNEL = re.compile(r"(.+)_(\d{4})")
MOST = 65535  # the largest value of a structure
MOST_STRUCTURES = 255  # labels are bytes here


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
        if labels is not None and (wrong := _wrong_with(labels)):
            raise ValueError(wrong)
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
        self.patient_of = patients(settings.patients)
        self.problems: list[str] = []
        files = {name: self._files(name) for name in ("imagesTr", "imagesTs", "labelsTr", "labelsTs")}
        self._labels = self._label_files(files)
        # A name may end in four digits and mean no channel: then a label has the whole of it.
        numbered = bool(files["imagesTr"]) and all(map(CHANNEL.fullmatch, files["imagesTr"]))
        if numbered and not any(stem in self._labels for stem in files["imagesTr"]):
            wanted = self._channel(files)
            train, test = (self._of_channel(name, files[name], wanted) for name in ("imagesTr", "imagesTs"))
        else:
            train, test = files["imagesTr"], files["imagesTs"]
        if not train:
            raise DataError(f"{self._root / 'imagesTr'} holds no scan ({', '.join(SUFFIXES)})")
        if both := sorted(set(train) & set(test)):
            self.problems.append(f"{shorten_list(both)}: in imagesTr and in imagesTs, where each may be in one")
        self._images = train | test
        if without := sorted(set(self._labels) - set(self._images)):
            self.problems.append(
                f"{shorten_list(without)}: a label without an image in {self._root}: add it, or remove the label"
            )
        self.train_ids, self.test_ids = self._split(settings, list(train), list(test))

    def content_key(self, case_id: str) -> str:
        """sha256 of the case's files and of how they are read."""
        how = json.dumps([self.reading.model_dump(mode="json"), self._values()], sort_keys=True)
        try:
            files = [file_hash(path) for path in (self._images[case_id], self._labels.get(case_id)) if path is not None]
        except OSError as error:
            raise DataError(f"cannot read a case: {error}") from error
        return hashlib.sha256(" ".join([how, *files]).encode()).hexdigest()

    def read(self, case_id: str) -> Case:
        """The case in the orientation and normalised as the settings say; DataProblems with all that is wrong."""
        problems: list[str] = []
        label = None
        with collect_problems(problems):
            image, geometry = read_image(self._images[case_id], self.reading)
        if case_id in self._labels:
            with collect_problems(problems):
                label, _ = read_label(self._labels[case_id], self.reading, self._values())
            if differences := self._off_grid(case_id):
                problems.append(f"{self._labels[case_id]}: not on its image's grid: {', '.join(differences)}")
        raise_problems(problems)
        return Case(case_id, image, label, geometry.array_spacing)

    def _off_grid(self, case_id: str) -> list[str]:
        """How a label's grid is not its image's, by what their files say; none that cannot be opened, which is told
        already."""
        with suppress(DataError):
            own = read_geometry(self._labels[case_id], self.reading, "label")
            return own.differences(read_geometry(self._images[case_id], self.reading))
        return []

    def geometry(self, case_id: str) -> Geometry | None:
        """Of the case's image; None of an h5 file, which has none."""
        path = self._images[case_id]
        return None if suffix_of(path) in H5 else read_geometry(path, self.reading)

    def _values(self) -> list[int]:
        return list(self.class_names.values())

    def _files(self, name: str) -> dict[str, Path]:
        folder = self._root / name
        found, problems = by_stem(folder.iterdir() if folder.is_dir() else ())
        self.problems += problems
        return found

    def _channel(self, files: dict[str, dict[str, Path]]) -> str:
        """The channel that is asked for, or the only one that training and test scans have; from here on it is told how
        they are read."""
        stems = [*files["imagesTr"], *files["imagesTs"]]
        channels = sorted({found[2] for stem in stems if (found := CHANNEL.fullmatch(stem))})
        if self.reading.channel is None:
            if len(channels) > 1:
                raise DataError(
                    f"{self._root} has the channels {shorten_list(channels)}, and the networks take one: "
                    "set data.channel to its number"
                )
            self.reading = self.reading.model_copy(update={"channel": int(channels[0])})
        wanted = f"{self.reading.channel:04d}"
        if wanted not in channels:
            raise DataError(f"data.channel {self.reading.channel}: {self._root} has {shorten_list(channels)}")
        return wanted

    def _of_channel(self, name: str, files: dict[str, Path], wanted: str) -> dict[str, Path]:
        """The image of each case that has this channel."""
        split = {stem: CHANNEL.fullmatch(stem) for stem in files}
        if other := [stem for stem, found in split.items() if found is None]:
            self.problems.append(
                f"{shorten_list(other)}: no channel in the name in {self._root / name}, as imagesTr has them"
            )
        found = {stem: (parts[1], parts[2]) for stem, parts in split.items() if parts is not None}
        chosen = {case: files[stem] for stem, (case, channel) in found.items() if channel == wanted}
        if without := sorted({case for case, _ in found.values()} - set(chosen)):
            self.problems.append(f"{shorten_list(without)}: no channel {wanted} in {self._root / name}")
        return chosen

    def _label_files(self, files: dict[str, dict[str, Path]]) -> dict[str, Path]:
        """The file with the label of each case that has one: its own, or an h5 file that has the image, too."""
        labels = files["labelsTr"] | files["labelsTs"]
        if both := sorted(set(files["labelsTr"]) & set(files["labelsTs"])):
            self.problems.append(f"{shorten_list(both)}: a label in labelsTr and one in labelsTs: remove one")
        for stem, path in (files["imagesTr"] | files["imagesTs"]).items():
            if suffix_of(path) not in H5:
                continue
            try:
                if has_label(path) and (other := labels.setdefault(stem, path)) != path:
                    self.problems.append(f"{stem} has a label in {path} and in {other}: remove one")
            except DataError as error:
                self.problems.append(str(error))
        return labels

    def _split(self, settings: FolderSettings, train: list[str], test: list[str]) -> tuple[list[str], list[str]]:
        patient_of = self.patient_of
        if isinstance(settings.split, ListFiles):
            chosen = read_lists(self._root, settings.split)
            if missing := [case for case in (*chosen[0], *chosen[1]) if case not in self._images]:
                raise DataError(f"data.split names cases that {self._root} does not hold: {shorten_list(missing)}")
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
    path, written = root / "dataset.json", described.get("labels")
    if not written:
        raise DataError(f"{path} names no structure: set data.labels, for instance {{atrium: 1}}, or add the file")
    if not isinstance(written, dict):
        raise DataError(f'{path}: labels must be pairs such as {{"liver": 1}}: correct them, or set data.labels')
    pairs = [(value, key) if _whole(key) is not None else (key, value) for key, value in written.items()]
    if odd := [f"{key!r}: {value!r}" for key, value in written.items() if "ignore" in (key, value)]:
        raise DataError(f"{path}: label {odd[0]}: parts to be ignored are not supported")
    values = [(str(name), _whole(number)) for name, number in pairs]
    if odd := [pair for pair, (_, value) in zip(pairs, values, strict=True) if value is None]:
        raise DataError(
            f"{path}: label {odd[0][0]!r} is {odd[0][1]!r}, which is no whole number (nnU-Net's regions are not "
            "supported): correct it, or set data.labels"
        )
    values = [(name, value) for name, value in values if value != 0]
    wrong = "names a structure twice" if len(dict(values)) < len(values) else _wrong_with(dict(values))
    if wrong:
        raise DataError(f"{path}: labels {wrong}: correct it, or set data.labels")
    return dict(values)


def _whole(number: Any) -> int | None:
    """The number if it is a whole one, written as such or as text."""
    if isinstance(number, str):
        return int(number) if re.fullmatch("[0-9]+", number) else None
    return number if type(number) is int else None


def _wrong_with(labels: dict[str, int]) -> str | None:
    if not labels or min(labels.values()) < 1 or max(labels.values()) > MOST:
        return f"must name at least one structure, each with a value from 1 to {MOST}; 0 is background"
    if len(labels) > MOST_STRUCTURES:
        return f"names {len(labels)} structures, where at most {MOST_STRUCTURES} can be"
    return "gives two structures the same value" if len(set(labels.values())) < len(labels) else None
