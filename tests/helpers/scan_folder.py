"""Writes small folders of scans as a user might have them."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIZE = (9, 8, 7)


def scan(number: int = 0) -> np.ndarray:
    """An image (x, y, z) of noise that no other number has."""
    return np.random.default_rng(number).normal(size=SIZE).astype(np.float32)


def blob(value: int = 1) -> np.ndarray:
    label = np.zeros(SIZE, np.uint8)
    label[2:6, 2:6, 2:5] = value
    return label


def write(path: Path, array: np.ndarray, spacing=(1.0, 1.5, 2.0), origin=(3.0, -4.0, 5.0), code="LPS") -> Path:
    """A volume (x, y, z) whose axes have the orientation `code`."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(*reversed(range(array.ndim)))))
    if array.ndim == 3:
        image.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(code))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, path)
    return path


def write_folder(root: Path, train: int = 3, test: int = 1, suffix: str = ".nii.gz", **labels) -> Path:
    """imagesTr, labelsTr, imagesTs, labelsTs and dataset.json of `train` and `test` scans: A, B, … and then on."""
    names = [chr(ord("A") + number) for number in range(train + test)]
    for number, name in enumerate(names):
        side = "Tr" if number < train else "Ts"
        write(root / f"images{side}" / f"{name}{suffix}", scan(number))
        write(root / f"labels{side}" / f"{name}{suffix}", blob())
    (root / "dataset.json").write_text(json.dumps({"labels": labels or {"background": 0, "organ": 1}}))
    return root
