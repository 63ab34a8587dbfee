"""Writes folders as the distributors of data sets hand them out, small."""

from pathlib import Path

import h5py
import numpy as np
import pydicom
from helpers.scan_folder import write
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PLANE, SPACING = (40, 44), (0.8, 0.9, 1.5)  # columns and rows; mm along x, y, z


def ct(number: int, slices: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A scan in Hounsfield units and the label of an organ of 80 HU, both (x, y, z)."""
    rng = np.random.default_rng(number)
    image = rng.normal(-60, 30, (*PLANE, slices)).round().astype(np.int16)
    image[:2] = -1000  # air
    label = np.zeros(image.shape, np.uint8)
    label[10:24, 8 + number % 5 : 22, 5:18] = 1
    image[label > 0] += 140
    return image, label


def write_series(folder: Path, image: np.ndarray, shuffled: bool = True, skip: int | None = None) -> None:
    """One DICOM series. File names do not tell the order of slices."""
    folder.mkdir(parents=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    names = np.random.default_rng(0).permutation(image.shape[2]) if shuffled else range(image.shape[2])
    for z, name in enumerate(names):
        if z == skip:
            continue
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        one = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.PatientID, one.InstanceNumber = "CT", folder.parts[-3], int(z) + 1
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [-10.0, 20.0, -300 + SPACING[2] * z]
        one.PixelSpacing, one.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]  # rows first
        one.Columns, one.Rows = image.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleIntercept, one.RescaleSlope = -1024, 1
        one.PixelData = (image[:, :, z].T.astype(np.int16) + 1024).tobytes()
        one.save_as(folder / f"1-{name:03d}.dcm", enforce_file_format=True)


def write_pancreas(folder: Path, numbers: list[int]) -> None:
    """As TCIA hands out Pancreas-CT: DICOM series, and labels without a position in space."""
    for number in numbers:
        image, label = ct(number)
        write_series(folder / f"Pancreas-CT/PANCREAS_{number:04d}/11-24-2015/Pancreas-1", image)
        write(folder / f"TCIA_pancreas_labels-02-05-2017/label{number:04d}.nii.gz", label, (1, 1, 1), (0, 0, 0), "RAS")


def write_brats(folder: Path, cases: list[str]) -> None:
    """As the challenge hands out BraTS-2019: skulls are stripped, labels are 1, 2 and 4."""
    for number, case in enumerate(cases):
        rng = np.random.default_rng(number)
        image = np.zeros((40, 40, 30), np.int16)
        image[4:36, 4:36, 3:27] = rng.integers(200, 900, (32, 32, 24))
        label = np.zeros(image.shape, np.uint8)
        label[10:20, 10:20, 8:16], label[20:24, 10:20, 8:16], label[12:15, 12:15, 10:12] = 2, 1, 4
        image[label > 0] += 900
        for kind, array in {"flair": image, "t1": image // 2, "seg": label}.items():
            write(folder / f"HGG/{case}/{case}_{kind}.nii.gz", array, (1, 1, 1), (0, -239, 0), "LPS")


def heart(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume of 0 to 900 and its three structures, both (x, y, z)."""
    rng = np.random.default_rng(number)
    image = rng.integers(5, 500, (36, 40, 5)).astype(np.uint16)
    label = np.zeros(image.shape, np.uint8)
    for value in (1, 2, 3):
        label[4 + 8 * value : 10 + 8 * value, 8:24, 1:4] = value
    image[label > 0] += 100 * label[label > 0].astype(np.uint16)
    image[0, 0, 0], image[1, 0, 0] = 0, 900
    return image, label


def write_acdc(folder: Path, frames: dict[str, tuple[int, int]]) -> None:
    """As the challenge hands out ACDC: two frames of each patient, at any number, and the whole film."""
    for patient, numbers in frames.items():
        for place, frame in enumerate(numbers):
            image, label = heart(10 * int(patient[-3:]) + place)
            at = folder / patient / f"{patient}_frame{frame:02d}"
            write(at.with_name(f"{at.name}.nii.gz"), image, (1.5, 1.5, 10), (0, 0, 0), "LPS")
            write(at.with_name(f"{at.name}_gt.nii.gz"), label, (1.5, 1.5, 10), (0, 0, 0), "LPS")
        (folder / patient / f"{patient}_4d.nii.gz").write_bytes(b"")


def write_h5(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    """A file with image and label, as papers share them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = image, label
