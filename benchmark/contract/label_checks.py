"""The contract's check on scans that lie on a disk, where a method could look for labels that it is not given."""

import atexit
import inspect
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from benchmark.contract.small_training import (
    LABELLED,
    UNLABELLED,
    Cases,
    SmallTraining,
    Subject,
    first_difference,
    phantoms,
    require,
    same,
    with_noise_for_labels,
)
from benchmark.records.protocol import Evaluation
from benchmark.trial.label_watch import LabelWatch, peeked
from benchmark.trial.scoring import predict_labels
from benchmark.trial.watch import place_of
from data.cache import Dataset, prepare
from data.folder import FolderSettings
from data.geometry import Geometry
from data.scans import write_image, write_labels
from methods.shared import registry

TEST = ["test-000", "test-001"]
EYE = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def never_opens_labels_that_are_not_its_own(subject: Subject) -> None:
    file = Path(inspect.getsourcefile(registry.get(subject.name)))
    results = []
    for folder in _folders():
        with _cache_in(folder):
            dataset = _prepared(folder)
            watch = LabelWatch(None, partial(place_of, method_file=file, shown_file=str(file)))
            with watch.watching(dataset, LABELLED):
                small = SmallTraining(subject.name, cases=dataset, iterations=2).run()
                results.append((small, _predictions(small, dataset)))
            small.stream = None  # it holds the data set, which the method shall not find in the second round
        require(not watch.openings, f"{peeked(watch.openings)}: use the batch, and in predict() the images, alone")
    (small, predictions), (other, other_predictions) = results
    difference = first_difference(small, other)
    require(
        difference is None and same(predictions, other_predictions),
        f"{difference or 'what predict() gives'} changes when labels of unlabelled and test cases are scrambled on the "
        "disk: the method finds them there, which makes its figures worthless",
    )


def _predictions(small: SmallTraining, dataset: Dataset) -> list[Tensor]:
    training, method = small.training, small.method.eval()
    evaluation = Evaluation(stride=training.patch)
    return [
        torch.from_numpy(predict_labels(method, dataset, case_id, training, evaluation, window_batch=4))
        for case_id in TEST
    ]


@cache
def _folders() -> tuple[Path, Path]:
    """Two folders of the same scans. In the second the labels of unlabelled and of test cases are noise."""
    place = tempfile.TemporaryDirectory(prefix="semiseg-check-")
    atexit.register(place.cleanup)
    folders = Path(place.name) / "true", Path(place.name) / "scrambled"
    for folder, cases in zip(folders, (phantoms(), with_noise_for_labels(phantoms(), UNLABELLED + TEST)), strict=True):
        _write(folder, cases)
    return folders


def _write(folder: Path, cases: Cases) -> None:
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True)
    for case_id, image in cases.images.items():
        side = "Ts" if case_id in TEST else "Tr"
        geometry = Geometry(image.shape, (1.0,) * 3, (0.0,) * 3, EYE, "stored")
        write_image(folder / f"images{side}" / f"{case_id}.nii.gz", image, geometry)
        write_labels(folder / f"labels{side}" / f"{case_id}.nii.gz", cases.labels[case_id], geometry, [1])


def _prepared(folder: Path) -> Dataset:
    settings = FolderSettings(
        source="folder", root=str(folder), labels={"target": 1}, orientation="stored", normalise="none"
    )
    return prepare(settings, _cache_of(folder))


def _cache_of(folder: Path) -> Path:
    return folder.with_name(f"cache of {folder.name}")


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """A method that looks for the cache shall find this one."""
    before = os.environ.get("SEMISEG_CACHE")
    os.environ["SEMISEG_CACHE"] = str(_cache_of(folder))
    try:
        yield
    finally:
        if before is None:
            del os.environ["SEMISEG_CACHE"]
        else:
            os.environ["SEMISEG_CACHE"] = before
