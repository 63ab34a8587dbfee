"""The ACDC volumes that semi-supervised papers share (SSL4MIS), as a folder that `source: folder` reads.

The distribution has `data/<case>.h5` with `image` and `label`, both (slices, y, x), and lists of cases. Its images are
scaled to 0..1, min to max of a volume. It states no voxel sizes, so voxels are 1 mm here and distances are in voxels,
as in the papers.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.case import DataError
from data.geometry import Geometry
from data.reading import Reading
from data.scans import read_image, read_label, write_image, write_labels

VOLUMES = "data"  # folder of the distribution
STRUCTURES = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
READING = Reading(orientation="stored", normalise="none", voxel=(1.0, 1.0, 1.0))
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def acdc_volumes(folder: Path) -> list[Path]:
    """The files of the volumes, sorted. Raises DataError if there is none."""
    files = sorted((folder / VOLUMES).glob("*.h5"))
    if not files:
        raise DataError(f"{folder} holds no {VOLUMES}/<case>.h5: give the folder ACDC of the distribution")
    return files


def prepare_acdc(folder: Path, to: Path) -> Iterator[str]:
    """Write imagesTr, labelsTr, dataset.json and the lists of cases.

    Slices become the last axis: a protocol in 2D takes slices of it. Images are scaled to 0..1, min to max of a volume.

    Args:
        folder: of the distribution.
        to: the new folder. Files of an earlier preparation are replaced.

    Yields:
        Each case, after it was written.

    Raises:
        DataError: a file cannot be read or written.

    Source:
        SSL4MIS, `dataloaders/acdc_data_processing.py`.
    """
    try:
        for name in ("imagesTr", "labelsTr"):
            (to / name).mkdir(parents=True, exist_ok=True)
        described = {"name": "ACDC", "channel_names": {"0": "MRI"}, "labels": {"background": 0} | STRUCTURES}
        (to / "dataset.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        for path in sorted(folder.glob("*.list")):
            (to / path.name).write_bytes(path.read_bytes())
        for path in acdc_volumes(folder):
            _write(path, to)
            yield path.stem
    except OSError as error:
        raise DataError(f"cannot write to {to}: {error}") from error


def _write(path: Path, to: Path) -> None:
    image, _ = read_image(path, READING)
    label, _ = read_label(path, READING, list(STRUCTURES.values()))
    if image.shape != label.shape:
        raise DataError(f"{path}: image {image.shape} and label {label.shape} differ in shape; download the file again")
    image, label = image.transpose(2, 1, 0), label.transpose(2, 1, 0)
    geometry = Geometry(image.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXES, "stored")
    low, high = np.min(image), np.max(image)
    write_image(to / "imagesTr" / f"{path.stem}.nii.gz", (image - low) / (high - low), geometry)
    write_labels(to / "labelsTr" / f"{path.stem}.nii.gz", label, geometry, list(STRUCTURES.values()))
