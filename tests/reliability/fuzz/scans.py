"""Scans of every format that is read: their bytes, their headers, their voxels."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from helpers import la_folder, scan_folder, tiny
from reliability.fuzz.inputs import Input
from reliability.fuzz.scan_files import SUFFIXES, damage, volume, write_volume

from data.scans import Reading, file_hash, read_geometry, read_image, read_label

CONFIG = "experiment.yaml"
SIDES = {"A": "Tr", "B": "Tr", "C": "Ts"}


def make_examples(folder: Path) -> None:
    """Nothing: scans are as quickly made as copied."""


def make_input(chance: random.Random, examples: Path, folder: Path) -> Input:
    """A folder of three cases in one format; one file of one case is damaged."""
    suffix, root = chance.choice(SUFFIXES), folder / "scans"
    if suffix == ".h5" and chance.random() < 0.3:
        return _left_atrium(chance, folder)
    if suffix == ".nrrd" and chance.random() < 0.3:
        return _raw_left_atrium(chance, folder)
    h5 = suffix in (".h5", ".hdf5")
    for number, (case, side) in enumerate(SIDES.items()):
        write_volume(root / f"images{side}" / f"{case}{suffix}", volume(number), scan_folder.blob() if h5 else None)
        if not h5:
            write_volume(root / f"labels{side}" / f"{case}{suffix}", scan_folder.blob())
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "organ": 1}}))
    case = chance.choice("ABC")
    kind = "images" if h5 else chance.choice(("images", "labels"))
    path = root / f"{kind}{SIDES[case]}" / f"{case}{suffix}"
    mutation = damage(chance, path, is_label=kind == "labels")
    data = {"source": "folder", "root": str(root), "voxel": [1.0, 1.0, 1.0]}
    if chance.random() < 0.3:
        data |= {"spacing": 2.0, "orientation": "stored", "normalise": [-1.0, 1.0]}
    _write_config(folder, data)
    return _input(mutation, path, kind)


def _left_atrium(chance: random.Random, folder: Path) -> Input:
    root = la_folder.write_la_folder(folder / "scans")
    [path] = root.glob(f"*/{chance.choice('ABC')}/mri_norm2.h5")
    mutation = damage(chance, path, is_label=False)
    _write_config(folder, {
        "source": "la", "root": str(root), "split": {"train": "train.list", "test": "test.list"}, "spacing": None,
    })  # fmt: skip
    return _input(mutation, path, "images")


def _raw_left_atrium(chance: random.Random, folder: Path) -> Input:
    """The challenge's own files, for `data prepare la`."""
    for number, case in enumerate("AB"):
        place = folder / "raw" / case
        scan_folder.write(place / "lgemri.nrrd", volume(number), spacing=(0.625,) * 3)
        scan_folder.write(place / "laendo.nrrd", scan_folder.blob(255), spacing=(0.625,) * 3)
    path = folder / "raw" / chance.choice("AB") / chance.choice(("lgemri.nrrd", "laendo.nrrd"))
    mutation = damage(chance, path, is_label=path.stem == "laendo")
    command = ["data", "prepare", "la", "--from=raw", "--to=prepared", f"--crop={chance.choice(('label', 'centre'))}"]
    return Input(f"{path.parent.name}/{path.name}: {mutation}", [command], [path.name, path.stem, "raw"])


def _write_config(folder: Path, data: dict) -> None:
    (folder / CONFIG).write_text(yaml.safe_dump(tiny.VALUES | {"data": data, "labelled": [1]}))


def _input(mutation: str, path: Path, kind: str) -> Input:
    command = ["data", "info", CONFIG, "--picture", "picture.png"]
    whole = f"{path.parent.name}/{path.name}: {mutation}"
    names = [path.name, *(f"{path.name.partition('.')[0]}{end}" for end in ":."), "data."]
    return Input(whole, [command], names, further=[_is_sound(path, kind)])


def _is_sound(path: Path, kind: str) -> Callable[[], None]:
    def check() -> None:
        """what is read of a damaged file is a volume of finite numbers with voxels of a size"""
        reading = Reading(voxel=(1.0, 1.0, 1.0))
        if path.is_file():
            file_hash(path)
        if kind == "images":
            array, geometry = read_image(path, reading)
            assert array.dtype == np.float32 and np.isfinite(array).all(), "an image that is not finite"
        else:
            array, geometry = read_label(path, reading, [1])
            assert array.dtype == np.uint8 and array.max() <= 1, "a label of no structure"
        read_geometry(path, reading)
        assert array.ndim == 3 and array.size, f"{array.shape} voxels"
        assert all(0 < mm < np.inf for mm in geometry.spacing), f"voxels of {geometry.spacing} mm"
        assert sorted(array.shape) == sorted(geometry.size), f"{array.shape} voxels, {geometry.size} in the header"

    return check
