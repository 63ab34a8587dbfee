"""A small folder of phantom scans in the layout of a user's own scans, to try the benchmark with."""

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from data.case import Case, DataError
from data.geometry import IDENTITY, Geometry
from data.phantom import PhantomSettings, PhantomSource
from data.resample import resample_case
from data.scans import write_image, write_labels

SPACING = (1.1, 1.1, 2.3)  # mm; not round, so that errors of scale would show
WALL = 4  # voxels of the phantom: 5 mm
LABELS = {"cavity": 1, "wall": 2}


def write_example(folder: Path, labelled: int = 7, unlabelled: int = 3, test: int = 3, seed: int = 0) -> None:
    """Write imagesTr, labelsTr, imagesTs, labelsTs and dataset.json with small scans.

    Args:
        folder: must not exist yet.
        labelled: training scans with a label.
        unlabelled: further training scans, without a label.
        test: test scans, with labels.
        seed: of the phantoms.

    Raises:
        DataError: the folder exists or cannot be written.
    """
    settings = PhantomSettings(source="phantom", train=labelled + unlabelled, test=test, size=(48, 48, 32), seed=seed)
    source = PhantomSource(settings)
    try:
        folder.mkdir(parents=True)
        for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (folder / name).mkdir()
        described = {"name": "Example", "labels": {"background": 0} | LABELS}
        (folder / "dataset.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        for number, case_id in enumerate([*source.train_ids, *source.test_ids]):
            side = "Tr" if case_id in source.train_ids else "Ts"
            has_label = side == "Ts" or number < labelled
            _write(folder, f"scan{number:02d}", side, _with_two_structures(source.read(case_id)), has_label)
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error}): give a folder that does not exist yet") from error


def _with_two_structures(case: Case) -> Case:
    """The case with two structures: the inside of the atrium as cavity, and its outer 5 mm as wall."""
    inside = ndimage.distance_transform_edt(case.label) > WALL
    label = np.where(inside, LABELS["cavity"], np.where(case.label > 0, LABELS["wall"], 0)).astype(np.uint8)
    return resample_case(Case(case.id, case.image, label, case.spacing), SPACING, len(LABELS))


def _write(folder: Path, name: str, side: str, case: Case, has_label: bool) -> None:
    geometry = Geometry(case.image.shape, SPACING, (-30.5, 12.25, 100), IDENTITY, "stored")  # LPS, as from a scanner
    write_image(folder / f"images{side}" / f"{name}.nii.gz", 200 + 90 * case.image, geometry)
    if has_label:
        write_labels(folder / f"labels{side}" / f"{name}.nii.gz", case.label, geometry, list(LABELS.values()))
