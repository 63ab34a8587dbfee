"""Prepares raw scans of the 2018 Atrial Segmentation Challenge as UA-MT's authors distribute them.

The raw files are `<case>/lgemri.nrrd` and `<case>/laendo.nrrd`. The margins of the distributed crops were drawn
without a seed (UA-MT release, `la_heart_processing.py`), so these files cannot be reproduced bit for bit. Here the
margins of a case depend on (seed, case).
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
from data.files import replace_text
from data.la import FILE, IMAGES, MM, PREPARATION
from data.randomness import generator
from data.reading import Reading
from data.scans import raw_hashes, read_image, read_label

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
class PreparedCase:
    """What was done to one case.

    Args:
        case: its id.
        raw: the sha256 of the image's and of the label's file.
        x, y: the crop, as the first voxel of the scan and the one after the last.
        label_lost: the share of the label outside of the crop.
        grid: how the grids that the files state differ from what is assumed, one line each.
    """

    case: str
    raw: str
    x: tuple[int, int]
    y: tuple[int, int]
    label_lost: float
    grid: list[str] = field(default_factory=list)


def raw_cases(folder: Path) -> list[str]:
    """The cases of a folder, sorted. Raises DataError if there is none, or if a label is missing."""
    cases = sorted(path.parent.name for path in folder.glob(f"*/{IMAGE}"))
    if not cases:
        below = sorted({str(path.parents[1]) for path in folder.rglob(IMAGE)})
        found = f"; {shorten_list(below)} does" if below else ""
        raise DataError(f"{folder} holds no <case>/{IMAGE}: give the folder of the challenge's training set{found}")
    if missing := [case for case in cases if not (folder / case / LABEL).is_file()]:
        raise DataError(f"{len(missing)} of {len(cases)} cases in {folder} have no {LABEL}: {shorten_list(missing)}")
    return cases


def prepare_la(folder: Path, to: Path, seed: int, crop: Crop) -> Iterator[PreparedCase]:
    """Z-score each scan as a whole, crop it and write it.

    Re-running skips cases that were prepared from the same files with the same rule and seed.

    Args:
        folder: the challenge's folder of training cases.
        to: where the cases are written, in the layout of the distribution.
        seed: decides the margins of crop "label".
        crop: "label" around the ground truth, as distributed; "centre" without using labels.

    Yields:
        Each case, after it was written.

    Raises:
        DataError: a file cannot be read or written, or `to` holds cases of another rule or seed, or distributed ones.

    Source:
        UA-MT release, `dataloaders/la_heart_processing.py`.
    """
    record = to / PREPARATION
    description = {"rule": RULES[crop], "crop": crop, "seed": seed}
    if not record.exists() and any(to.glob(f"**/{FILE}")):
        raise DataError(f"{to} holds left-atrium cases that were not prepared here: choose another folder with --to")
    done = _read_record(record, description)

    def write_record() -> None:
        to.mkdir(parents=True, exist_ok=True)
        replace_text(record, json.dumps(description | {"cases": {c: asdict(p) for c, p in done.items()}}, indent=1))

    try:
        write_record()  # before the first case, so that an interrupted preparation is recognised
        for case in raw_cases(folder):
            target = to / IMAGES / case / FILE
            raw = raw_hashes(folder / case / name for name in (IMAGE, LABEL))
            if case not in done or done[case].raw != raw or not target.is_file():
                image, label, done[case] = _prepare_case(folder / case, raw, crop, seed)
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, image, label)
                write_record()
            yield done[case]
    except OSError as error:
        raise DataError(f"cannot write to {to}: {error}") from error


def _read_record(record: Path, description: dict) -> dict[str, PreparedCase]:
    """The cases of an earlier preparation. Raises DataError if its rule or seed was another."""
    if not record.exists():
        return {}
    try:
        earlier = json.loads(record.read_text(encoding="utf-8"))
        cases = {case: PreparedCase(**values) for case, values in earlier.pop("cases").items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise DataError(f"{record} cannot be read ({error}): remove it and prepare the cases again") from error
    if earlier != description:
        raise DataError(
            f"{record.parent} holds cases of another preparation ({earlier.get('crop')}, seed {earlier.get('seed')}): "
            "choose another folder with --to"
        )
    return cases


def _prepare_case(folder: Path, raw: str, crop: Crop, seed: int) -> tuple[np.ndarray, np.ndarray, PreparedCase]:
    reading = Reading(orientation="stored", voxel=(MM, MM, MM))  # for files that do not state it
    image, geometry = read_image(folder / IMAGE, reading)
    label, label_geometry = read_label(folder / LABEL, reading, ATRIUM)
    differences = label_geometry.differences(geometry)
    if label_geometry.size != geometry.size:
        raise DataError(
            f"{folder / LABEL} is not on the grid of {IMAGE} ({', '.join(differences)}): correct it, or remove the case"
        )
    notes = [f"{LABEL} is not on the grid of {IMAGE}, which was ignored: {difference}" for difference in differences]
    if not np.allclose(geometry.spacing, MM, rtol=0.01):
        mm = " x ".join(f"{size:g}" for size in geometry.spacing)
        notes.append(f"{IMAGE} states voxels of {mm} mm; {MM:g} x {MM:g} x {MM:g} was used instead")
    if not label.any():
        raise DataError(f"{folder / LABEL} is empty: correct it, or remove the case")
    rng = generator(seed, f"margins {folder.name}")
    boxes = _box_around_label(label, rng) if crop == "label" else _box_around_centre(image)
    inside = tuple(slice(*box) for box in boxes)
    lost = 1 - label[inside].sum() / label.sum()
    return image[inside], label[inside], PreparedCase(folder.name, raw, *boxes, round(float(lost), 6), notes)


def _box_around_label(label: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """The crop in x and y. As in the release, its end is the last labelled voxel, before the margin is added."""
    boxes = []
    for axis in (0, 1):
        occupied = np.nonzero(label.any(axis=tuple({0, 1, 2} - {axis})))[0]
        first, last = int(occupied[0]), int(occupied[-1])
        wider = max(PATCH - (last - first), 0) // 2
        before, after = rng.integers(*MARGINS, 2)
        boxes.append((max(first - int(before) - wider, 0), min(last + int(after) + wider, label.shape[axis])))
    return boxes


def _box_around_centre(image: np.ndarray) -> list[tuple[int, int]]:
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
