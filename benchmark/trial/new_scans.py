"""New scans, segmented by a finished trial."""

import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.planning.experiment import ExperimentError
from benchmark.planning.experiment_file import load_stored_experiment
from benchmark.records import numerics, source_code
from benchmark.records.files import ResultsError
from benchmark.records.models import Record
from benchmark.records.protocol import Training
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE
from benchmark.trial.failures import place_of_predict
from benchmark.trial.finite import DivergedError
from benchmark.trial.inference import fold_batch_norm, label_map, predict_volume
from benchmark.trial.probabilities import PredictionError
from benchmark.trial.process_state import configure_torch
from benchmark.trial.scoring import postprocessed
from benchmark.trial.setup import choose_device
from benchmark.trial.training import build_method
from benchmark.trial.weights import load_weights
from data.augment import AUGMENTATIONS
from data.cache import MOST_VOXELS
from data.case import DataError, collect_problems, raise_problems
from data.channels import CHANNEL, group_channels, read_channels
from data.formats.dispatch import suffix_of
from data.names import name_problems
from data.reader import reading_scans
from data.reading import Reading
from data.resample import grid_shape, resample_image
from data.scan_files import ScanFiles, scan_files, stem_of
from data.scans import write_labels
from methods.shared import registry
from methods.shared.method import Method
from methods.shared.networks.registry import network_plugin

SAME = 0.01  # of a voxel's side: what counts as the spacing that a network was trained at


class Segmented(NamedTuple):
    """A scan that was segmented. labels: the file that was written. volumes: of each structure, in ml."""

    scan: Path
    labels: Path
    volumes: dict[str, float]


def predict_scans(
    record: Path,
    images: Path,
    to: Path,
    normalise: str | None = None,
    voxel: str | None = None,
    plugins: Sequence[str] = (),
    trust: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Segmented]:
    """Segment a scan, or each of a folder, and write <name>.nii.gz on the scan's own grid.

    The scan is read and resampled as the trial's own cases were. `normalise` and `voxel`, if given, take the place of
    the trial's settings of these names. Raises ResultsError for a folder that is no finished record, DataError for
    scans that cannot be read and ExperimentError where labels would take the place of a scan, before any is segmented.
    `plugins` and `trust`: as of `load_stored_experiment`; a method that is built in needs neither. `say` gets one line
    if other code than today's trained the record.
    """
    with reading_scans():
        yield from _predict(record, images, to, normalise, voxel, plugins, trust, say)


def _predict(
    record: Path,
    images: Path,
    to: Path,
    normalise: str | None,
    voxel: str | None,
    plugins: Sequence[str],
    trust: bool,
    say: Callable[[str], None],
) -> Iterator[Segmented]:
    trial = _finished_trial(record)
    data, cell, evaluation = trial.data, trial.cell, trial.evaluation
    try:
        if not data.reading or not data.class_names:
            raise ValueError("how its scans were read is not known")
        training = Training(**trial.training.model_dump())
        reading = Reading(**data.reading | ({"normalise": normalise} if normalise else {}))
        values = list(data.class_names.values())
        spacing = np.broadcast_to(data.spacing or data.native_spacing, 3).astype(float)
    except (TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"{record} is of an older version of the harness: train it again with this one") from error
    given = {name for file in plugins for name in registry.load_plugin(file)}
    if cell.method not in given and not registry.is_built_in(cell.method):
        experiment = ResultsFolder(_absolute(record).parent.parent).experiment_file
        load_stored_experiment(experiment, trust=trust, methods=[cell.method])
    if changes := _other_code(trial, training):
        say(f"{record} was trained by other code than today's ({'; '.join(changes)}): labels may differ from its own")
    if voxel is not None:
        reading = reading.model_copy(update={"voxel": _voxel(voxel)})
    scans = _scans(images, reading, to)
    targets = {name: to / f"{name}.nii.gz" for name in scans}
    given_files = {_absolute(file) for files in scans.values() for file in files}
    if over := [target for target in targets.values() if _absolute(target) in given_files]:
        raise ExperimentError(
            f"--to {to}: the labels would take the place of the scan {over[0]}: choose another folder"
        )
    problems = []
    for files in scans.values():
        with collect_problems(problems):
            image, geometry = read_channels(files, reading)
            if math.prod(grid_shape(image.shape[:3], geometry.array_spacing, spacing)) > MOST_VOXELS:
                sizes = " x ".join(f"{size:g}" for size in geometry.array_spacing)
                raise DataError(f"{files[0]}: too large for the network's grid, because its voxels have {sizes} mm")
    raise_problems([problem.replace("data.voxel", "--voxel") for problem in problems])

    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExperimentError(f"--to {to} cannot be made a folder: {error}") from error
    place = choose_device("auto")
    if training.precision == "fp16" and place.type == "cpu":  # which is for GPUs; weights are fp32
        training = training.model_copy(update={"precision": "fp32"})
    configure_torch(training)
    settings = registry.settings_of(cell.method, cell.settings)
    method = build_method(cell.method, settings, training, len(values), cell.seed, place, reading.channels)
    with _one_line(record, registry.get(cell.method)):
        load_weights(record, method, place)
    folded = fold_batch_norm(method)
    for name, files in scans.items():
        image, geometry = read_channels(files, reading)
        spacing_of_scan = geometry.array_spacing
        same = all(math.isclose(a, b, rel_tol=SAME) for a, b in zip(spacing_of_scan, spacing, strict=True))
        grid = image if same else resample_image(image, grid_shape(image.shape[:3], spacing_of_scan, spacing))
        with _one_line(files[0], registry.get(cell.method)):
            probabilities = predict_volume(
                folded.predict, grid, len(values), training.patch, evaluation.stride, 4, place,
                resizes=AUGMENTATIONS[training.augmentation].resizes,
            )  # fmt: skip
        found = label_map(probabilities, image.shape[:3], training.head)
        labels = postprocessed(found, len(values), evaluation)
        write_labels(targets[name], labels, geometry, values)
        counts = np.bincount(labels.ravel(), minlength=len(values) + 1)[1:]
        millilitres = counts * np.prod(spacing_of_scan) / 1000
        yield Segmented(files[0], targets[name], dict(zip(data.class_names, millilitres.tolist(), strict=True)))


def _other_code(trial: Record, training: Training) -> list[str]:
    """What differs between the code that trained a record and the code that is loaded, a short phrase each."""
    method_file = source_code.name_of(Path(inspect.getsourcefile(registry.get(trial.cell.method))).resolve())
    today = numerics.current(trial.cell.method, method_file, network_plugin(training.network.name))
    return numerics.changed(trial.numerics, today, "training", "preparation", "method", "network")


@contextmanager
def _one_line(what: Path, method: type[Method]) -> Iterator[None]:
    """What was trained, or is predicted, may be unfit for use: that is said in one line, and nothing is written."""
    try:
        yield
    except DivergedError as error:
        raise ResultsError(f"{what}: {error}") from error
    except PredictionError as error:
        raise ResultsError(f"{what}: {error} ({':'.join(map(str, place_of_predict(method)))})") from error


def _absolute(path: Path) -> Path:
    """As `Path.resolve`, which raises where a link leads to itself. The path may be "."."""
    return Path(os.path.realpath(path))


def _finished_trial(folder: Path) -> Record:
    folder = _absolute(folder)
    try:
        record = ResultsFolder(folder.parent.parent).read_record(folder.name)
    except ResultsError as error:
        raise ResultsError(f"{folder} cannot be used: {error}") from error
    if record is None or folder.parent.name != "records":
        raise ResultsError(f"{folder} is no record: give a folder RESULTS/records/TRIAL")
    if record.state != DONE or not os.path.exists(folder / "weights.pt"):
        raise ResultsError(f"{folder} is no finished trial with weights: choose one that `status` shows as done")
    return record


def _voxel(text: str) -> str | tuple[float, ...]:
    """What --voxel says: a field of NIfTI files, or three sizes in mm."""
    if text in ("pixdim", "sform"):
        return text
    try:
        sizes = tuple(float(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if len(sizes) != 3 or not all(0 < size < math.inf for size in sizes):
        raise ExperimentError(f"--voxel {text!r}: give pixdim, sform, or three sizes in mm such as 0.8,0.8,3")
    return sizes


def _scans(images: Path, reading: Reading, to: Path) -> dict[str, list[Path]]:
    """The files of each case, one a channel: of nnU-Net's channels those that the trial has seen."""
    if os.path.isdir(images):
        files = scan_files(images, ignore=to)
    elif os.path.isfile(images) and suffix_of(images):
        files = ScanFiles({stem_of(images): images})
    else:
        what = "is no scan" if os.path.exists(images) else "does not exist"
        raise ExperimentError(
            f"{images} {what}: give a scan (NIfTI, NRRD, MetaImage, FreeSurfer, h5) or a folder of them"
        )
    found = files.scans
    if found:
        raise_problems(files.problems + name_problems(found))
    if reading.channels > 1:
        return _of_several_channels(images, found, reading)
    channel = f"_{reading.channel or 0:04d}"
    of_channel = {name.removesuffix(channel): file for name, file in found.items() if name.endswith(channel)}
    numbered = reading.channel is not None and (of_channel or all(map(CHANNEL.fullmatch, found)))
    if numbered or len(of_channel) == len(found):
        found = of_channel
    if not found:
        because = f" ({files.problems[0]})" if files.problems else ""
        of = f" of channel {channel[1:]}" if reading.channel else ""
        raise ExperimentError(f"{images} holds no scan{of}{because}: give a scan or a folder of them")
    return {name: [file] for name, file in found.items()}


def _of_several_channels(images: Path, found: dict[str, Path], reading: Reading) -> dict[str, list[Path]]:
    cases, lacking = group_channels(found, reading.channel_numbers)
    if lacking or not cases:
        names = ", ".join(f"<case>_{number:04d}" for number in reading.channel_numbers)
        raise ExperimentError(
            f"{images}: {lacking or 'no scan has all channels'}: give a folder with {names} of each case, as the trial "
            "was trained on"
        )
    return cases
