"""From an experiment to its trials: which cells there are, which are done, and which are left to run."""

import inspect
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from benchmark.planning.case_roles import case_roles
from benchmark.planning.experiment import Experiment, ExperimentError, MethodEntry
from benchmark.planning.networks import check_network
from benchmark.planning.single_values import check_single_values
from benchmark.records import models, numerics
from benchmark.records.files import storage_error, write_text
from benchmark.records.models import FORMAT, Cell, Data
from benchmark.records.protocol import SMALLEST_PATCH
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.source_code import name_of
from benchmark.records.states import TO_RUN, cell_state
from benchmark.trial import external_masks
from benchmark.trial.specification import Trial, digest_of
from data.augment import AUGMENTATIONS
from data.cache import Dataset, prepare
from data.errors import one_line
from data.splits import Fold, split_hash
from methods.shared import registry
from methods.shared.method import Method, MethodSettings
from methods.shared.networks.registry import network_plugin


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, the state of its cell (see `benchmark.records.states`) and the reason."""

    trial: Trial
    state: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """An experiment with its data set and all its trials. A run makes it once and passes it on."""

    experiment: Experiment
    dataset: Dataset
    folder: ResultsFolder
    trials: list[PlannedTrial]

    def to_run(self, also: Iterable[str] = ()) -> list[PlannedTrial]:
        """The trials that are left to run, and those in the states `also`."""
        return [planned for planned in self.trials if planned.state in TO_RUN.union(also)]

    def reread(self) -> "Plan":
        """The same plan with the states that the results folder shows now.

        Raises:
            ResultsError: a record of another format came in meanwhile, which must not be written over.
        """
        self.folder.check_format()
        return replace(self, trials=_with_states([planned.trial for planned in self.trials], self.folder))


def make_plan(experiment: Experiment, folder: ResultsFolder, dataset: Dataset | None = None) -> Plan:
    """All trials of an experiment with their states.

    Args:
        experiment: what is to be run.
        folder: its results folder.
        dataset: the experiment's data set, if it is prepared already; else it is prepared here.

    Raises:
        ExperimentError, MethodError, DataError: something in the experiment is wrong.
        ResultsError: the folder holds a plan or records of another format, which must not be written over.
    """
    folder.check_format()
    dataset = dataset or prepare(experiment.data)
    return Plan(experiment, dataset, folder, _with_states(make_trials(experiment, dataset), folder))


def _with_states(trials: list[Trial], folder: ResultsFolder) -> list[PlannedTrial]:
    found = [(trial, cell_state(folder, trial.id, trial.wanted)) for trial in trials]
    return [PlannedTrial(trial, state.state, state.reason) for trial, state in found]


def make_trials(experiment: Experiment, dataset: Dataset) -> list[Trial]:
    """Every trial of the experiment, in the order of its tables.

    Methods are planned at each budget that leaves unlabelled cases, with the baseline as the "floor". With every label,
    only the baseline is planned, as the "ceiling". Equal trials are planned once. If some scans have no label, the
    budget with every label has a floor, which is also the ceiling.

    Raises:
        ExperimentError, MethodError: one line for the user.
    """
    entries = [(entry, "method") for entry in experiment.methods]
    baseline = _baseline(experiment)
    if baseline is not None:
        entries.insert(0, (baseline, "floor"))
    everything = len(dataset.with_label)
    for count in experiment.labelled:
        if count > everything:
            cases = f"training cases{' with a label' * (everything < len(dataset.train_ids))} of {dataset.name}"
            raise ExperimentError(f"labelled: {count} is more than the {everything} {cases}")
    _check_patch(experiment, dataset)
    _check_methods(experiment)
    for entry, _ in entries:
        check_network(entry.name, entry.settings, experiment.training, dataset.classes, dataset.channels)
    summary = _data_summary(experiment, dataset)
    trials: dict[str, Trial] = {}
    for count in experiment.labelled:
        for draw in experiment.draws if count < everything else ["first"]:  # every label: nothing is drawn
            for entry, role in entries if count < len(dataset.train_ids) else []:
                for seed in experiment.seeds_of(count):
                    trial = _make_trial(experiment, dataset, summary, entry, role, count, draw, seed)
                    trials.setdefault(trial.id, trial)
    if baseline is not None:
        for seed in experiment.seeds_of(everything):
            trial = _make_trial(experiment, dataset, summary, baseline, "ceiling", everything, "first", seed)
            trials.setdefault(trial.id, trial)
    if not trials:
        raise ExperimentError(
            f"nothing to run: labelled {experiment.labelled} leaves no unlabelled case of {everything}, "
            "and there is no baseline"
        )
    _check_names(experiment, list(trials.values()))
    for entry, _ in entries:
        check_single_values(entry.name, entry.settings, experiment.training, dataset.classes, dataset.channels)
    return list(trials.values())


def _baseline(experiment: Experiment) -> MethodEntry | None:
    """The baseline, under the name that the experiment gives it where it is among its methods too."""
    baseline = experiment.baseline
    same = [e for e in experiment.methods if baseline and (e.name, e.settings) == (baseline.name, baseline.settings)]
    return same[0] if same else baseline


def _check_patch(experiment: Experiment, dataset: Dataset) -> None:
    if AUGMENTATIONS[experiment.training.augmentation].resizes:
        return
    shapes = [dataset.image(case_id).shape for case_id in (*dataset.train_ids, *dataset.test_ids)]
    patch = experiment.training.patch
    largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))[: len(patch)]
    if any(p > 2 * n for p, n in zip(patch, largest, strict=True)):
        raise ExperimentError(
            f"training.patch {list(patch)} is more than twice as large as any case of {dataset.name} along some axis "
            f"(largest: {list(largest)}{_at(dataset.spacing)}): "
            f"it would hold mostly padding; {_smaller_patch_or_voxels(dataset, largest)}"
        )


def _smaller_patch_or_voxels(dataset: Dataset, largest: tuple[int, ...]) -> str:
    """What to do about a patch that is too large. If even the smallest patch is, voxels must be smaller."""
    if all(2 * n >= SMALLEST_PATCH for n in largest):
        return "choose a smaller one"
    spacing = dataset.spacing or dataset.native(dataset.train_ids[0]).spacing
    now = (spacing if isinstance(spacing, tuple) else (spacing,) * 3)[: len(largest)]
    needed = SMALLEST_PATCH // 2
    finer = [
        mm if n >= needed else math.floor(1000 * mm * n / needed) / 1000  # rounded down: not one voxel too few
        for mm, n in zip(now, largest, strict=True)
    ]
    sizes = ", ".join(f"{mm:g}" for mm in finer)
    return (
        f"no patch has fewer than {SMALLEST_PATCH} voxels along an axis: set data.spacing to [{sizes}] or less, so "
        f"that cases have at least {needed} voxels there"
    )


def _at(spacing: float | tuple[float, ...] | None) -> str:
    sizes = spacing if isinstance(spacing, tuple) else (spacing,)
    return "" if spacing is None else f" at data.spacing {' x '.join(f'{mm:g}' for mm in sizes)}"


def _check_methods(experiment: Experiment) -> None:
    """Refuse the same method with the same settings twice: both would be one row."""
    seen: dict[str, str] = {}
    for number, entry in enumerate(experiment.methods):
        settings = registry.settings_of(entry.name, entry.settings).model_dump(mode="json")
        earlier = seen.setdefault(json.dumps([entry.name, settings], sort_keys=True), f"methods.{number}")
        if earlier != f"methods.{number}":
            raise ExperimentError(f"methods.{number}: {entry.name!r} with these settings is {earlier} too: remove one")


def _check_names(experiment: Experiment, trials: list[Trial]) -> None:
    """Refuse one display name for two methods or settings: rows are told apart by it."""
    meaning: dict[str, tuple] = {}
    for trial in trials:
        identity = (trial.method, json.dumps(trial.settings, sort_keys=True))
        if meaning.setdefault(trial.cell.display, identity) != identity:
            raise ExperimentError(
                f"two methods are displayed as {trial.cell.display!r}: give one of them a `display` of its own"
            )
    if experiment.reference is not None and experiment.reference not in meaning:
        same = [trial.cell.display for trial in trials if trial.method == experiment.reference]
        advice = f"write {same[0]!r}" if same else f"choose one of {', '.join(meaning)}"
        raise ExperimentError(f"reference {experiment.reference!r} is no display name of a planned method: {advice}")


def _is_supervised(entry: MethodEntry, experiment: Experiment) -> bool:
    settings = registry.settings_of(entry.name, entry.settings)
    method = registry.get(entry.name)
    return _asked(method, "patches", settings, experiment.training.batch_size)[1] == 0


def _asked(method: type[Method], name: str, *arguments) -> Any:
    """What a class method of a method returns. A plug-in's may raise anything."""
    try:
        return getattr(method, name)(*arguments)
    except registry.MethodError:  # says in its own words what the user is to do
        raise
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        file = inspect.getsourcefile(method)
        raise registry.MethodError(f"{file}: {method.__name__}.{name}() raised {reason}; mend it there") from error


def _make_trial(
    experiment: Experiment, dataset: Dataset, summary: Data, entry: MethodEntry, role: str, count: int, draw, seed: int
) -> Trial:
    method = registry.get(entry.name)
    settings = registry.settings_of(entry.name, entry.settings)
    supervised = _is_supervised(entry, experiment)
    labelled, unlabelled, validation = case_roles(experiment, dataset, count, draw, supervised)
    used = [*labelled, *unlabelled, *dataset.test_ids, *validation]
    digest = digest_of(
        dataset.fingerprint(used), labelled, unlabelled, dataset.test_ids, entry.name,
        settings.model_dump(mode="json"), seed, experiment.training,
    )  # fmt: skip
    trial_id = f"{entry.name}-{count}-s{seed}-{digest}"
    info = method.info
    method_file = name_of(Path(inspect.getsourcefile(method)).resolve())
    network_file = network_plugin(experiment.training.network.name)
    cell = Cell(
        trial=trial_id,
        method=entry.name,
        variant=_asked(method, "variant", settings),
        display=entry.display or info.title,
        year=info.year,
        source=info.source,
        fidelity=info.fidelity,
        settings=settings.model_dump(mode="json", exclude_defaults=True),
        unpublished=_unpublished(method, settings),
        labelled=len(labelled),
        unlabelled=len(unlabelled),
        draw=draw,
        seed=seed,
        role=role,
        method_file=method_file,
        network_file=network_file,
        patches=_asked(method, "patches", settings, experiment.training.batch_size),
    )
    return Trial(
        id=trial_id, cell=cell, settings=settings.model_dump(mode="json"), labelled=labelled, unlabelled=unlabelled,
        test=dataset.test_ids, validation=validation, data=_absolute(experiment.data.model_dump(mode="json")),
        data_summary=summary, training=experiment.training, evaluation=experiment.evaluation,
        plugins=experiment.plugins, numerics=numerics.current(entry.name, method_file, network_file),
    )  # fmt: skip


def _absolute(data: dict) -> dict:
    """The data block for a worker, whose working directory and environment may be others."""
    if "root" in data:
        data["root"] = os.path.abspath(os.path.expanduser(os.path.expandvars(data["root"])))
    return data


def _unpublished(method: type[Method], settings: MethodSettings) -> list[str]:
    """The settings that differ from the published defaults without choosing another published variant."""
    defaults = method.Settings()
    changed = settings.model_dump(exclude_defaults=True)
    return [
        f"{key} = {value}"
        for key, value in changed.items()
        if method.variant(defaults.model_copy(update={key: value})) == method.variant(defaults)
    ]


def _data_summary(experiment: Experiment, dataset: Dataset) -> Data:
    settings = experiment.data.model_dump(mode="json")
    spacings = {case_id: list(dataset.native(case_id).spacing) for case_id in dataset.test_ids}
    first = spacings[dataset.test_ids[0]]
    return Data(
        name=dataset.name,
        source=settings["source"],
        spacing=settings["spacing"],
        native_spacing=first,
        other_spacings={case_id: spacing for case_id, spacing in spacings.items() if spacing != first},
        fingerprint=dataset.test_fingerprint,
        stored_fingerprints={
            side: dataset.stored_fingerprint(ids)
            for side, ids in (("train", dataset.train_ids), ("test", dataset.test_ids))
        },
        split=_split_text(settings),
        split_hash=split_hash(dataset.train_ids, dataset.test_ids),
        recipe=dataset.source.recipe,
        folds=settings["split"] if isinstance(getattr(experiment.data, "split", None), Fold) else None,
        train=len(dataset.train_ids),
        with_label=len(dataset.with_label),
        test=len(dataset.test_ids),
        classes=dataset.classes,
        class_names=dataset.source.class_names,
        validation_cases=len(dataset.validation_cases) or experiment.data.validation_cases or 0,
        reading=dataset.source.reading.model_dump(mode="json"),
        preparation=dataset.source.preparation,
    )


def _split_text(settings: dict) -> str:
    split = settings.get("split", "generated")
    if not isinstance(split, str):
        lists = "train" in split
        split = " / ".join(split.values()) if lists else ", ".join(f"{key} {value}" for key, value in split.items())
    held_out = len(settings["validation"])
    return f"{split}; {held_out} of its training cases in the place of the test cases" if held_out else split


def write_plan(plan: Plan) -> None:
    """plan.json, from which reports know what was planned, and experiment.yaml, from which it can be planned again.

    Rows of masks that other tools made are planned, too, if the folder holds them.
    """
    experiment, folder = plan.experiment, plan.folder
    stored = models.StoredPlan(
        format=FORMAT,
        experiment=experiment.name,
        title=experiment.title or experiment.name,
        reference=experiment.reference,
        tuned=experiment.tuned,
        data=plan.trials[0].trial.data_summary,
        training=experiment.training.model_dump(),
        evaluation=experiment.evaluation,
        report=experiment.report,
        shapes={case_id: list(plan.dataset.native_shape(case_id)) for case_id in plan.dataset.test_ids},
        cells=[planned.trial.cell for planned in plan.trials] + external_masks.cells_of(folder),
    )
    content = experiment.model_dump(mode="json")
    if "$" not in content["data"].get("root", "$"):  # else it is of the machine that reads it
        content["data"] = _absolute(content["data"])
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        folder.write_plan(stored)
        write_text(folder.experiment_file, text)
    except OSError as error:
        if (full := storage_error(folder.folder, error)) is None:
            raise
        raise full from error
