"""Cases as plain arrays on disk, built once and then opened as memory maps.

Each entry is a folder: a case on one grid, as `image.npy`, `label.npy` and `entry.json`. Its name is a hash of the
case's content, the spacing and the version of the preparation (`data/version.py`). So an entry is never out of date.
All experiments and processes may share a cache. It may be deleted when nothing runs.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from data import resample
from data.case import Case, DataError, collect_problems, raise_problems, shorten_list
from data.names import name_problems
from data.progress import follow
from data.reader import reading_scans
from data.settings import existing_folder
from data.sources import DataSettings, Source, open_source
from data.splits import read_list
from data.version import PREPARATION
from data.voxel_size import differ

OTHERS = "name other training cases"
MOST_VOXELS = 2**29  # of a case on the training grid: 2 GB


class Dataset:
    """The cases of a data set, prepared: their arrays on the training grid and on their own.

    It holds paths and no arrays, so it is small to pickle.

    Attributes:
        classes: the number C of foreground classes.
        spacing: mm of a voxel of the training grid, one number or one an axis; None: each case's own grid.
        train_ids, test_ids: the training cases, and the cases that are scored.
        with_label: the training cases that have a label.
        left_out: cases with a label that data.validation or data.validation_cases take out of training.
        labelled_pool: both of these, in the order of the split.
        validation_cases: those that data.validation_cases names.
    """

    def __init__(self, source: Source, settings: DataSettings, native: dict[str, Path], training: dict[str, Path]):
        self.source = source
        self.name: str = source.name
        self.classes: int = source.classes
        self.channels: int = source.channels
        self.spacing = settings.spacing
        self.train_ids, self.test_ids, self.validation_cases = _sides(source, settings)
        self._native = native
        self._training = training
        self.labelled_pool = [i for i in source.train_ids if _has_label(native[i])]
        self.with_label = [i for i in self.labelled_pool if i in self.train_ids]
        self.left_out = [i for i in self.labelled_pool if i not in self.train_ids]

    def image(self, case_id: str) -> np.ndarray:
        """The image on the training grid: a read-only float32 memory map (H, W, D), or (H, W, D, M) of M channels."""
        return _array(self._training[case_id], "image")

    def label(self, case_id: str) -> np.ndarray:
        """The label on the training grid: a read-only uint8 memory map (H, W, D). Raises DataError without a label."""
        try:
            return _array(self._training[case_id], "label")
        except FileNotFoundError as error:
            raise DataError(
                f"case {case_id} of {self.name} has no label: take it out of the labelled and the test cases"
            ) from error

    def native_shape(self, case_id: str) -> tuple[int, int, int]:
        """Voxels of the case on its own grid, from the header of its image. The label is not opened."""
        return _array(self._native[case_id], "image").shape[:3]

    def label_files(self, case_id: str) -> list[Path]:
        """All files with the label of a training or test case: in the cache, and where it was read from."""
        cached = {entries[case_id] / "label.npy" for entries in (self._native, self._training) if case_id in entries}
        return [*sorted(cached), *self.source.label_files(case_id)]

    def native(self, case_id: str) -> Case:
        """The case on its own grid, as memory maps: metrics are computed there."""
        return _open_case(case_id, self._native[case_id])

    def fingerprint(self, ids: list[str]) -> str:
        """sha256 of the ids, the content of their arrays and the training grid's spacing.

        It takes the native arrays, which are the same on every machine. Interpolated ones may differ in the last bit.
        """
        return self._hash(ids, self.spacing)

    def stored_fingerprint(self, ids: list[str]) -> str:
        """The fingerprint of cases as they are stored, without the training grid: sixteen hex digits."""
        return self._hash(ids, None)[:16]

    def _hash(self, ids: list[str], spacing: float | tuple[float, ...] | None) -> str:
        contents = [[case_id, _description(self._native[case_id])["content"]] for case_id in ids]
        return hashlib.sha256(json.dumps([contents, spacing]).encode()).hexdigest()

    @property
    def test_fingerprint(self) -> str:
        """The fingerprint of the test cases, which all figures of a table share: sixteen hex digits."""
        return self.fingerprint(self.test_ids)[:16]


@reading_scans()
def prepare(settings: DataSettings, cache: Path | None = None, for_training: bool = True) -> Dataset:
    """The data set that `settings` describe. Builds what the cache lacks.

    Any number of processes may prepare at once.

    Args:
        settings: the `data` block of an experiment.
        cache: folder of the cache. By default $SEMISEG_CACHE, else ~/.cache/semiseg-bench.
        for_training: False leaves every case on its own grid, to look at it. Voxel sizes may then differ.

    Raises:
        DataError: something is wrong with the data, its settings or the cache's folder.
        DataProblems: several things are wrong with single cases. It lists all of them.
    """
    folder = cache_folder(cache)
    source = open_source(settings)
    raise_problems(name_problems([*source.train_ids, *source.test_ids]))
    sides = _sides(source, settings)
    native: dict[str, Path] = {}
    training: dict[str, Path] = {}
    problems = list(source.problems)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for case_id in follow(list(dict.fromkeys([*source.train_ids, *sides[1]])), "reading cases"):
            with collect_problems(problems):
                content = source.content_key(case_id)
                native[case_id] = _entry(folder, [content, None, PREPARATION], partial(source.read, case_id))
        problems += _problems_together(native, sides)
        if for_training and settings.spacing is None:
            problems += _problem_of_spacings([_description(entry)["spacing"] for entry in native.values()])
        raise_problems([*dict.fromkeys(problems)], "data info CONFIG")
        if not for_training:
            return Dataset(source, settings, native, native)
        for case_id, entry in follow(native.items(), "resampling cases", total=len(native)):
            training[case_id] = entry
            if settings.spacing is not None:
                case, spacing = _open_case(case_id, entry), _three(settings.spacing)
                _check_spacing(case, spacing)
                key = [_description(entry)["content"], spacing, PREPARATION]
                training[case_id] = _entry(folder, key, partial(resample.resample_case, case, spacing, source.classes))
    except OSError as error:
        raise DataError(
            f"cannot build the cache in {folder} ({error}): set SEMISEG_CACHE to a folder with room that can be written"
        ) from error
    return Dataset(source, settings, native, training)


def cache_folder(cache: Path | None = None) -> Path:
    """The folder of the cache. Raises DataError if it lies in an unknown home directory."""
    name = str(cache or os.environ.get("SEMISEG_CACHE") or "~/.cache/semiseg-bench")
    expanded = os.path.expanduser(name)
    if expanded.startswith("~"):
        raise DataError(f"no home directory is known for the cache {name}: set SEMISEG_CACHE to a folder")
    return Path(expanded).absolute()


def _sides(source: Source, settings: DataSettings) -> tuple[list[str], list[str], list[str]]:
    """Training, test and validation cases.

    With data.validation these training cases stand in the place of the test cases. Those that data.validation_cases
    names choose a checkpoint. No other scan of the patients of either is for training.
    """
    test, chosen = settings.validation, settings.validation_cases
    if isinstance(chosen, str):
        if not hasattr(settings, "root"):
            raise DataError(
                f"data.validation_cases {chosen!r} is a list file, and {source.name} has no folder: give a number"
            )
        chosen = read_list(existing_folder(settings.root, chosen) / chosen, key="data.validation_cases")
    choosing = chosen if isinstance(chosen, list) else []
    for key, named in (("validation", test), ("validation_cases", choosing)):
        if tested := [case_id for case_id in named if case_id in source.test_ids]:
            raise DataError(f"data.{key} names {shorten_list(tested)}, which are test cases of {source.name}: {OTHERS}")
        if unknown := [case_id for case_id in named if case_id not in source.train_ids]:
            raise DataError(f"data.{key} names {shorten_list(unknown)}, which are no training cases of {source.name}")
    theirs = {source.patient_of(case_id) for case_id in test}
    if both := [case_id for case_id in choosing if source.patient_of(case_id) in theirs]:
        raise DataError(
            f"data.validation_cases names {shorten_list(both)}, whose patients are scored (data.validation): {OTHERS}"
        )
    theirs |= {source.patient_of(case_id) for case_id in choosing}
    train = [i for i in source.train_ids if source.patient_of(i) not in theirs]
    return train, list(test or source.test_ids), list(choosing)


def _problems_together(native: dict[str, Path], sides: tuple[list[str], ...]) -> list[str]:
    """Problems that only all cases together show: the same image twice, or a scored case without a label."""
    described = {case_id: _description(entry) for case_id, entry in native.items()}
    problems = []
    first: dict[str, str] = {}
    for case_id, description in described.items():
        if (other := first.setdefault(description["image"], case_id)) != case_id:
            across = "a training and a test case" if (case_id in sides[1]) != (other in sides[1]) else "two cases"
            problems.append(f"{other} and {case_id} have the same image, and are {across}: remove one")
    problems += [
        f"{case_id}: a {kind} case without a label, which cannot be scored: add it, or take the case out of the {kind}"
        for kind, ids in (("test", sides[1]), ("validation", sides[2]))
        for case_id in ids
        if case_id in described and "label.npy" not in described[case_id]["files"]
    ]
    return problems


def _problem_of_spacings(spacings: list[tuple[float, ...]]) -> list[str]:
    if not differ(spacings):
        return []
    middle = ", ".join(f"{mm:.3g}" for mm in np.median(spacings, axis=0))
    ends = zip(np.min(spacings, axis=0), np.max(spacings, axis=0), strict=True)
    ranges = " x ".join(f"{low:.3g}..{high:.3g}" for low, high in ends)
    return [f"voxels differ from case to case ({ranges} mm): set data.spacing; the median is [{middle}]"]


def _three(spacing: float | tuple[float, float, float]) -> tuple[float, float, float]:
    return spacing if isinstance(spacing, tuple) else (spacing,) * 3


def _check_spacing(case: Case, spacing: tuple[float, float, float]) -> None:
    shape = resample.grid_shape(case.shape, case.spacing, spacing)
    if math.prod(shape) > MOST_VOXELS:
        sizes, mm = " x ".join(map(str, shape)), " x ".join(f"{each:g}" for each in dict.fromkeys(spacing))
        raise DataError(f"data.spacing {mm} makes {sizes} voxels of case {case.id}: choose a larger one, in mm")


def _entry(folder: Path, key: list, make: Callable[[], Case]) -> Path:
    """The folder of an entry. It is built with `make` if it is missing or damaged."""
    entry = folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    if _is_whole(entry):
        return entry
    with FileLock(f"{entry}.lock"):
        if not _is_whole(entry):  # another process may have built it meanwhile
            _build(entry, make())
    return entry


def _build(entry: Path, case: Case) -> None:
    # Written beside and renamed, so that an entry is there as a whole or not at all. The lock is held, so a folder
    # that is already there is what an interrupted process left.
    unfinished = entry.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    content = hashlib.sha256(json.dumps(case.spacing).encode())
    files = {}
    for name, array in (("image", case.image), ("label", case.label)):
        if array is not None:
            np.save(unfinished / f"{name}.npy", array)
            files[f"{name}.npy"] = (unfinished / f"{name}.npy").stat().st_size
            content.update(f"{name} {array.dtype.str} {array.shape}".encode())
            content.update(np.ascontiguousarray(array))
    image = hashlib.sha256(str(case.image.shape).encode() + np.ascontiguousarray(case.image).tobytes()).hexdigest()
    description = {
        "case": case.id, "spacing": case.spacing, "files": files, "content": content.hexdigest(), "image": image,
    }  # fmt: skip
    (unfinished / "entry.json").write_text(json.dumps(description), encoding="utf-8")
    shutil.rmtree(entry, ignore_errors=True)
    unfinished.rename(entry)


def _is_whole(entry: Path) -> bool:
    try:
        return all((entry / name).stat().st_size == size for name, size in _description(entry)["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def _description(entry: Path) -> dict:
    return json.loads((entry / "entry.json").read_text(encoding="utf-8"))


def _has_label(entry: Path) -> bool:
    return "label.npy" in _description(entry)["files"]


def _array(entry: Path, name: str) -> np.ndarray:
    return np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def _open_case(case_id: str, entry: Path) -> Case:
    description = _description(entry)
    label = _array(entry, "label") if _has_label(entry) else None
    return Case(case_id, _array(entry, "image"), label, tuple(description["spacing"]))
