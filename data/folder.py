"""A folder of scans in the layout of nnU-Net and the Medical Segmentation Decathlon.

    imagesTr/<case>.nii.gz      training scans; or <case>_0000.nii.gz, <case>_0001.nii.gz, as nnU-Net names channels
    labelsTr/<case>.nii.gz      their labels; a case without this file is always unlabelled
    imagesTs, labelsTs          test scans, if the folder defines the split
    dataset.json                optional: `name`, `labels` and names of channels, as in nnU-Net or the Decathlon

NIfTI, NRRD, MetaImage and FreeSurfer's files are read with their geometry. An h5 file holds `image` and perhaps
`label`.
"""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from data.case import Case, DataError, collect_problems, raise_problems, shorten_list
from data.channels import CHANNEL, choose_channels, found_channels, group_channels, read_channels
from data.dataset_json import channel_names, problem_of_labels, read_description, structures
from data.formats.dispatch import H5, MAY_BE_DETACHED, METAIMAGE, NRRD, SUFFIXES, read_header, suffix_of
from data.geometry import Geometry
from data.names import nearly
from data.reading import Reading
from data.recipes.recipe import PREPARED, recipe_of
from data.scan_files import scan_files
from data.scans import file_hash, has_label, read_geometry, read_label
from data.settings import CommonSettings, existing_folder
from data.splits import ListFiles, Split, check_patients, divide, patients, read_lists

FOLDERS = ("imagesTr", "imagesTs", "labelsTr", "labelsTs")


class FolderSettings(CommonSettings, Reading):
    """Where the scans are, how they are divided into training and test cases, and how they are read."""

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
    def _check_labels(cls, labels: dict[str, int] | None) -> dict[str, int] | None:
        if labels is not None and (problem := problem_of_labels(labels)):
            raise ValueError(problem)
        return labels

    @field_validator("patients")
    @classmethod
    def _check_expression(cls, patients: str | None) -> str | None:
        try:
            re.compile(patients or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return patients


class FolderSource:
    """The cases of such a folder.

    Args:
        settings: of the folder. `problems` lists what is wrong with single cases.

    Raises:
        DataError: the folder as a whole cannot be used.
    """

    def __init__(self, settings: FolderSettings):
        self.reading = Reading.model_validate({key: getattr(settings, key) for key in Reading.model_fields})
        self._root = existing_folder(settings.root, "imagesTr")
        description = read_description(self._root)
        self.name = settings.name or str(description.get("name") or self._root.name)
        values = settings.labels or structures(description, self._root)
        self.class_names = dict(sorted(values.items(), key=lambda item: item[1]))
        self.classes = len(self.class_names)
        self.patient_of = patients(settings.patients)
        self.problems: list[str] = []
        self.notes: list[str] = []
        files = {name: self._files(name) for name in FOLDERS}
        self._look_beside()
        self._labels = self._label_files(files)
        # Four digits at the end of a name are no channel if a label has the whole name.
        found, names = [], channel_names(description)
        numbered = bool(files["imagesTr"]) and all(map(CHANNEL.fullmatch, files["imagesTr"]))
        if numbered and not any(stem in self._labels for stem in files["imagesTr"]):
            found = found_channels([*files["imagesTr"], *files["imagesTs"]])
        self.reading = choose_channels(self.reading, found, names, self._root)
        if found:
            train, test = (self._images_of_channels(name, files[name]) for name in ("imagesTr", "imagesTs"))
        else:
            train, test = ({case: [path] for case, path in files[name].items()} for name in ("imagesTr", "imagesTs"))
        self.channels = self.reading.channels
        self.channel_names = [names.get(number, "") for number in self.reading.channel_numbers or [0]]
        if not train:
            because = f" ({self.problems[0]})" if self.problems else ""
            raise DataError(
                f"{self._root / 'imagesTr'} holds no scan ({', '.join(SUFFIXES)}): add the training scans{because}"
            )
        if shared := sorted(set(train) & set(test)):
            self.problems.append(f"{shorten_list(shared)}: in imagesTr and in imagesTs: remove one of the two files")
        self._images = train | test
        if orphans := sorted(set(self._labels) - set(self._images)):
            close = next(filter(None, (nearly(case, self._images) for case in orphans)), "")
            self.problems.append(
                f"{shorten_list(orphans)}: a label without an image in {self._root}{close}: add the image, or remove "
                "the label"
            )
        self.train_ids, self.test_ids = self._split(settings, list(train), list(test))
        self.recipe, self.preparation = recipe_of(self._root, self.train_ids, self.test_ids)
        if unused := [case for case in self._images if case not in {*self.train_ids, *self.test_ids}]:
            self.notes.append(f"{self._root}: {len(unused)} cases are in no part of data.split: {shorten_list(unused)}")

    def content_key(self, case_id: str) -> str:
        """The sha256 of the case's files and of how they are read."""
        reading = json.dumps([self.reading.cache_key(), self._values()], sort_keys=True)
        paths = [path for path in (*self._images[case_id], self._labels.get(case_id)) if path is not None]
        try:
            files = [file_hash(path) for path in paths]
            # Earlier versions took such sizes for mm. The unit in the key keeps their cache entries from being used.
            units = [read_header(path).unit for path in paths if suffix_of(path) in (*NRRD, *METAIMAGE)]
        except OSError as error:
            raise DataError(f"cannot read a case: {error}") from error
        return hashlib.sha256(" ".join([reading, *files, *filter(None, units)]).encode()).hexdigest()

    def read(self, case_id: str) -> Case:
        """The case, oriented and normalised as the settings say. Raises DataError or DataProblems if it is unusable."""
        problems: list[str] = []
        label = None
        with collect_problems(problems):
            image, geometry = read_channels(self._images[case_id], self.reading)
        if case_id in self._labels:
            with collect_problems(problems):
                label, _ = read_label(self._labels[case_id], self.reading, self._values())
            if mismatch := self._grid_mismatch(case_id):
                problems.append(f"{self._labels[case_id]}: not on its image's grid: {mismatch}")
        raise_problems(problems)
        return Case(case_id, image, label, geometry.array_spacing)

    def _grid_mismatch(self, case_id: str) -> str:
        """How the grid of a label differs from that of its image. A file that cannot be read is reported elsewhere."""
        with suppress(DataError):
            geometry = read_geometry(self._labels[case_id], self.reading, "label")
            return geometry.mismatch(read_geometry(self._images[case_id][0], self.reading), self.reading.grid_tolerance)
        return ""

    def label_files(self, case_id: str) -> list[Path]:
        """The file with the case's label. If that is only a header, also the files with its voxels."""
        path = self._labels.get(case_id)
        if path is None:
            return []
        return [path, *(read_header(path, "label").data_files if suffix_of(path) in MAY_BE_DETACHED else ())]

    def geometry(self, case_id: str) -> Geometry | None:
        """The geometry of the case's image; None for an h5 file, which does not state it."""
        path = self._images[case_id][0]
        return None if suffix_of(path) in H5 else read_geometry(path, self.reading)

    def _values(self) -> list[int]:
        return list(self.class_names.values())

    def _files(self, name: str) -> dict[str, Path]:
        found = scan_files(self._root / name)
        self.problems += found.problems
        self.notes += found.notes
        return found.scans

    def _look_beside(self) -> None:
        """Report other folders beside those that are read: a name may be misspelled."""
        others = sorted(path.name for path in self._root.iterdir() if path.is_dir() and path.name not in FOLDERS)
        for name in others:
            if meant := [folder for folder in FOLDERS if folder.casefold() == name.strip().casefold()]:
                self.problems.append(f"{self._root / name} is not read: rename it to {meant[0]}")
        if others := [name for name in others if not name.startswith(".")]:
            self.notes.append(f"{self._root}: folders that are not read: {shorten_list(others)}")
        if scans := sorted(path.name for path in self._root.iterdir() if path.is_file() and suffix_of(path)):
            self.notes.append(
                f"{self._root}: scans that are not read: {shorten_list(scans)}; they belong into imagesTr or labelsTr"
            )

    def _images_of_channels(self, name: str, files: dict[str, Path]) -> dict[str, list[Path]]:
        """The files of each case that has the chosen channels."""
        if unnumbered := [stem for stem in files if CHANNEL.fullmatch(stem) is None]:
            self.problems.append(
                f"{shorten_list(unnumbered)}: no channel in the name in {self._root / name}, as imagesTr has them: "
                "rename the file"
            )
        images, lacking = group_channels(files, self.reading.channel_numbers)
        if lacking:
            self.problems.append(f"{lacking} in {self._root / name}: add the file, or remove the case")
        if others := sorted(set(found_channels(files)) - set(self.reading.channel_numbers)):
            self.notes.append(
                f"{self._root / name}: channels that are not taken: {', '.join(f'{number:04d}' for number in others)}"
            )
        return images

    def _label_files(self, files: dict[str, dict[str, Path]]) -> dict[str, Path]:
        """The file with the label of each case that has one: a label file, or an h5 file with image and label."""
        labels = files["labelsTr"] | files["labelsTs"]
        if shared := sorted(set(files["labelsTr"]) & set(files["labelsTs"])):
            self.problems.append(f"{shorten_list(shared)}: a label in labelsTr and one in labelsTs: remove one")
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
                again = "resume `data prepare`, or " if (self._root / PREPARED).exists() else ""
                raise DataError(
                    f"data.split names cases that {self._root} lacks: {shorten_list(missing)}; {again}correct it"
                )
        elif settings.split == "given":
            if not test:
                raise DataError(f"{self._root / 'imagesTs'} holds no scan: set data.split, for instance {{test: 0.25}}")
            chosen = train, test
        else:
            labelled = [case for case in train if case in self._labels]
            if not labelled:
                because = f" ({self.problems[0]})" if self.problems else ""
                raise DataError(f"{self._root / 'labelsTr'} holds no label of a training scan: add the labels{because}")
            _, chosen_test = divide(labelled, settings.split, patient_of)
            tested = {patient_of(case) for case in chosen_test}
            chosen = [case for case in train if patient_of(case) not in tested], chosen_test
        check_patients(*chosen, patient_of)
        return chosen
