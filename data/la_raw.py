"""From the raw scans of the 2018 Atrial Segmentation Challenge (`<case>/lgemri.nrrd`, `laendo.nrrd`) to files laid out
as UA-MT's authors distribute theirs.

Theirs cannot be made again bit for bit: the margins of their crop were drawn unseeded (UA-MT release,
`la_heart_processing.py`). Here each case's are drawn from (seed, case).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from scipy import ndimage

from data.case import DataError, shorten_list
from data.la import FILE, IMAGES, MM, PREPARATION
from data.randomness import generator
from data.scans import Reading, file_hash, read_image, read_label

Crop = Literal["label", "centre"]
IMAGE, LABEL = "lgemri.nrrd", "laendo.nrrd"
ATRIUM = [255]  # its value in laendo.nrrd
MARGINS = (10, 20)  # voxels a side, the upper end excluded
PATCH = 112  # a crop is at least this wide, where the scan allows
BOX = 320  # voxels of the crop that looks at no label: 200 mm

RULES = {
    "label": "cropped in x and y around the ground truth with random margins of 10 to 19 voxels, all slices kept",
    "centre": f"cropped without a look at labels to {BOX} x {BOX} voxels in x and y around the centre of intensity, "
    "all slices kept",
}


@dataclass(frozen=True)
class Prepared:
    """One case: the sha256 of its image and its label's file, the box of its crop in voxels of the scan (first, end),
    the share of the label left outside, and what the files say of their grid that is not as it is taken to be."""

    case: str
    raw: str
    x: tuple[int, int]
    y: tuple[int, int]
    label_lost: float
    grid: list[str] = field(default_factory=list)


def raw_cases(folder: Path) -> list[str]:
    """The cases below a folder; DataError if there are none, or if a file of one is missing."""
    cases = sorted(path.parent.name for path in folder.glob(f"*/{IMAGE}"))
    if not cases:
        raise DataError(f"{folder} holds no <case>/{IMAGE}: give the folder of the challenge's training set")
    if missing := [case for case in cases if not (folder / case / LABEL).is_file()]:
        raise DataError(f"{len(missing)} of {len(cases)} cases in {folder} have no {LABEL}: {shorten_list(missing)}")
    return cases


def prepare_la(folder: Path, to: Path, seed: int, crop: Crop) -> Iterator[Prepared]:
    """Z-score each scan as a whole, crop it and write it below `to`, one by one.

    What is there already from the same files, rule and seed is not made again. Raises DataError for a file that cannot
    be read, and where `to` holds other cases: of another rule or seed, or distributed ones.
    """
    stated = to / PREPARATION
    description = {"rule": RULES[crop], "crop": crop, "seed": seed}
    if not stated.exists() and any(to.glob(f"**/{FILE}")):
        raise DataError(f"{to} holds left-atrium cases that were not prepared here: choose another folder with --to")
    done = _done(stated, description)

    def state() -> None:
        to.mkdir(parents=True, exist_ok=True)
        _replace(stated, json.dumps(description | {"cases": {c: asdict(p) for c, p in done.items()}}, indent=1))

    try:
        state()  # before the first case: then one that was interrupted in it is known as ours
        for case in raw_cases(folder):
            target = to / IMAGES / case / FILE
            raw = " ".join(file_hash(folder / case / name) for name in (IMAGE, LABEL))
            if case not in done or done[case].raw != raw or not target.is_file():
                image, label, done[case] = _prepared(folder / case, raw, crop, seed)
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, image, label)
                state()
            yield done[case]
    except OSError as error:
        raise DataError(f"cannot write to {to}: {error}") from error


def _done(stated: Path, description: dict) -> dict[str, Prepared]:
    if not stated.exists():
        return {}
    try:
        earlier = json.loads(stated.read_text(encoding="utf-8"))
        cases = {case: Prepared(**values) for case, values in earlier.pop("cases").items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{stated} cannot be read ({error}): remove it and prepare the cases again") from error
    if earlier != description:
        raise DataError(
            f"{stated.parent} holds cases of another preparation ({earlier.get('crop')}, seed {earlier.get('seed')}): "
            "choose another folder with --to"
        )
    return cases


def _prepared(folder: Path, raw: str, crop: Crop, seed: int) -> tuple[np.ndarray, np.ndarray, Prepared]:
    reading = Reading(orientation="stored")
    image, geometry = read_image(folder / IMAGE, reading)
    label, grid = read_label(folder / LABEL, reading, ATRIUM)
    differences = grid.differences(geometry)
    if grid.size != geometry.size:
        raise DataError(f"{folder / LABEL}: {', '.join(differences)}")
    said = [f"{LABEL} is said to have {difference}" for difference in differences]
    if not np.allclose(geometry.spacing, MM, rtol=0.01):
        mm = " x ".join(f"{each:g}" for each in geometry.spacing)
        said.append(f"{IMAGE} is said to have voxels of {mm} mm, and is taken to have {MM:g} x {MM:g} x {MM:g}")
    if not label.any():
        raise DataError(f"{folder / LABEL} is empty")
    rng = generator(seed, f"margins {folder.name}")
    boxes = _around_label(label, rng) if crop == "label" else _in_the_middle(image)
    inside = tuple(slice(*box) for box in boxes)
    lost = 1 - label[inside].sum() / label.sum()
    return image[inside], label[inside], Prepared(folder.name, raw, *boxes, round(float(lost), 6), said)


def _around_label(label: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """As the release has it: the last voxel counts as the end, which a margin makes up for."""
    boxes = []
    for axis in (0, 1):
        places = np.nonzero(label.any(axis=tuple({0, 1, 2} - {axis})))[0]
        first, last = int(places[0]), int(places[-1])
        wider = max(PATCH - (last - first), 0) // 2
        before, after = rng.integers(*MARGINS, 2)
        boxes.append((max(first - int(before) - wider, 0), min(last + int(after) + wider, label.shape[axis])))
    return boxes


def _in_the_middle(image: np.ndarray) -> list[tuple[int, int]]:
    centre = ndimage.center_of_mass(image - image.min())
    boxes = []
    for axis in (0, 1):
        width = min(BOX, image.shape[axis])
        first = int(np.clip(round(centre[axis] - width / 2), 0, image.shape[axis] - width))
        boxes.append((first, first + width))
    return boxes


def _write(target: Path, image: np.ndarray, label: np.ndarray) -> None:
    partial = target.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=label, compression="gzip")
    os.replace(partial, target)


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
