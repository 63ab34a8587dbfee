"""Device, data set and a freshly built method for a trial."""

import json
from functools import cache, lru_cache
from pathlib import Path

import torch
from pydantic import TypeAdapter

from benchmark.cluster import plugin_files
from benchmark.planning.experiment import Execution, ExperimentError
from benchmark.records import numerics, source_code
from benchmark.records.numerics import Numerics
from benchmark.trial.process_state import configure_torch
from benchmark.trial.specification import Trial, digest_of
from benchmark.trial.training import build_method
from data.cache import Dataset, prepare
from data.case import DataError, shorten_list
from data.sources import DataSettings
from methods.shared import registry
from methods.shared.method import Method

WORKERS_FOR_A_GPU = 4  # data workers of a method with extra arrays, on a GPU


def set_up(trial: Trial, execution: Execution) -> tuple[torch.device, Dataset, Method]:
    for plugin in needed_plugins(trial):
        _load_plugin(plugin)
    _check_numerics(trial)
    configure_torch(trial.training)
    device = choose_device(execution.device)
    if trial.training.precision == "fp16" and device.type == "cpu":
        raise ExperimentError("training.precision fp16 is for GPUs, and this trial has none: use bf16 or fp32")
    dataset = dataset_of(trial)
    settings = registry.settings_of(trial.method, trial.settings)
    method = build_method(trial.method, settings, trial.training, dataset.classes, trial.seed, device, dataset.channels)
    return device, dataset, method


def needed_plugins(trial: Trial) -> list[str]:
    """The plug-ins that bring the trial's method and network: what others do as they are imported is not its."""
    files = (Path(file) for file in (trial.cell.method_file, trial.cell.network_file))
    return list(dict.fromkeys(p for file in files if file.is_absolute() for p in _plugins_with(file, trial)))


def _plugins_with(file: Path, trial: Trial) -> list[str]:
    """The plug-ins that are this file or import it."""
    beside = [plugin for plugin in trial.plugins if file.is_relative_to(Path(plugin).parent)]
    return [
        plugin
        for plugin in beside
        if file.relative_to(Path(plugin).parent).as_posix() in source_code.plugin_files(plugin_files.location(plugin))
    ] or trial.plugins


def _check_numerics(trial: Trial) -> None:
    """Raises ExperimentError if this process has other code than the one that planned the trial."""
    info, planned = registry.get(trial.method).info, trial.numerics
    here = Numerics(
        training=numerics.TRAINING, scoring=numerics.SCORING, preparation=numerics.PREPARATION, method=info.numerics
    )
    for kind, file in (("method", trial.cell.method_file), ("network", trial.cell.network_file)):
        if isinstance(getattr(planned, kind), dict):
            here = here.model_copy(update={kind: numerics.plugin_version(plugin_files.location(file))})
    if changes := numerics.changed(planned, here, *Numerics.model_fields):
        raise ExperimentError(
            f"the code changed after the run had begun ({'; '.join(changes)}): run it again with --retry-failed"
        )


@cache
def _load_plugin(path: str) -> None:
    """Once a process, as every other module: its code must stay the code that the record's numerics version names."""
    registry.load_plugin(plugin_files.location(path))


def dataset_of(trial: Trial) -> Dataset:
    """The trial's data set, prepared. Raises DataError where that is not possible."""
    return _dataset(json.dumps(trial.data, sort_keys=True))


@lru_cache(maxsize=2)
def _dataset(settings: str) -> Dataset:
    return prepare(TypeAdapter(DataSettings).validate_json(settings))


def choose_device(name: str) -> torch.device:
    """The device that execution.device names; auto is the GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ExperimentError("execution.device is cuda, but torch finds no CUDA device here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def data_workers(execution: Execution, method: Method, device: torch.device) -> int:
    """Processes that prepare a trial's batches. One keeps a CPU busy, and a GPU where it only cuts out patches; for
    extra_arrays, such as distance maps, a GPU would wait for it most of the time."""
    if execution.data_workers != "auto":
        return execution.data_workers
    return WORKERS_FOR_A_GPU if device.type == "cuda" and method.extra_arrays() else 1


def check_data(trial: Trial) -> None:
    """Whether the trial's cases have the content here that they had where it was planned.

    Raises:
        DataError: they have not, or cannot be read.
    """
    dataset = dataset_of(trial)
    used = [*trial.labelled, *trial.unlabelled, *trial.test, *trial.validation]
    if missing := sorted(set(used) - {*dataset.train_ids, *dataset.test_ids, *dataset.labelled_pool}):
        raise DataError(f"{dataset.name} lacks {shorten_list(missing)}, which the run was planned with")
    digest = digest_of(
        dataset.fingerprint(used), trial.labelled, trial.unlabelled, trial.test, trial.method, trial.settings,
        trial.seed, trial.training,
    )  # fmt: skip
    if not trial.id.endswith(f"-{digest}"):
        raise DataError(f"cases of {dataset.name} have another content than when the run was planned")
