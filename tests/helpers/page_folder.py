"""Adds made-up pictures and predictions to the results folders of results_folder.py, and writes their page."""

from pathlib import Path

import numpy as np
from helpers.results_folder import CASES

from benchmark.records.arrays import write_prediction
from reports.merging import read_folders
from reports.page import ReportedExperiment, write_page
from reports.tables import make_tables

SHAPE = (48, 40, 32)


def ball(shape, centre, radius) -> np.ndarray:
    """Where voxels are within `radius` of `centre`, both in voxels."""
    grid = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(axis=0) <= radius**2


def labels(shape=SHAPE, classes: int = 1, shift: float = 0.0, island: bool = False) -> np.ndarray:
    """A ball a structure, side by side; `island`: a corner belongs to the first, too."""
    found = np.zeros(shape, np.uint8)
    for number in range(classes):
        centre = (shape[0] * (number + 1) / (classes + 1) + shift, shape[1] / 2, shape[2] / 2)
        found[ball(shape, centre, min(shape) / 3)] = number + 1
    if island:
        found[-2:, -2:, -2:] = 1
    return found


def write_picture(folder: Path, case: str, label: np.ndarray, seed: int = 0) -> np.ndarray:
    """cases/<case>.npz with this truth and a noisy image, which is returned."""
    noise = np.random.default_rng(seed).integers(0, 80, label.shape)
    image = (noise + 120 * (label > 0)).astype(np.uint8)
    (folder / "cases").mkdir(exist_ok=True)
    np.savez_compressed(folder / "cases" / f"{case}.npz", image=image, label=label, content="made up")
    return image


def write_pictures(folder: Path, planned: dict, shape=SHAPE) -> None:
    """A picture of every case, and a prediction of it by every record: the truth a little aside, with an island."""
    classes = planned["data"]["classes"]
    for seed, case in enumerate(CASES):
        write_picture(folder, case, labels(shape, classes), seed)
    for number, record in enumerate(sorted((folder / "records").iterdir())):
        (record / "predictions").mkdir(exist_ok=True)
        for case in CASES:
            predicted = labels(shape, classes, shift=number % 5 + 1.0, island=True)
            write_prediction(record / "predictions" / f"{case}.npz", predicted, classes)


def page_of(*folders: Path, out: Path, **settings) -> Path:
    """The page on these results folders, without figures."""
    return write_page([ReportedExperiment(tables) for tables in make_tables(read_folders(folders))], out, **settings)
