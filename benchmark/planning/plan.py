"""From an experiment to its trials: which cells there are, which are done, and which are left to run."""

import hashlib
import inspect
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.planning.experiment import Experiment, ExperimentError, MethodEntry
from benchmark.records.files import storage_error, write_text
from benchmark.records.fingerprint import name_of
from benchmark.records.folder import FORMAT, ResultsFolder
from benchmark.records.states import cell_state
from benchmark.trial import external_masks
from benchmark.trial.specification import Trial
from data.cache import Dataset, prepare
from data.splits import Fold, labelled_ids, split_hash, unlabelled_ids
from methods.shared import registry
from methods.shared.method import Method, MethodSettings


@dataclass(frozen=True)
class Cell:
    """A trial, where it stands (see `benchmark.records.states`) and why."""

    trial: Trial
    state: str
    reason: str


def make_trials(experiment: Experiment, dataset: Dataset) -> list[Trial]:
    """Every trial of the experiment, in the order of its tables.

    Methods are planned at each budget that leaves unlabelled cases, and beside them the baseline as the "floor"; with
    every label there is the baseline alone is, as the "ceiling". A trial that is asked for twice is planned once: where
    scans without a label remain at the budget with every label, its floor is the ceiling, too.
    Raises ExperimentError or MethodError with one line for the user.
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
    return list(trials.values())


def _baseline(experiment: Experiment) -> MethodEntry | None:
    """The baseline, under the name that the experiment gives it where it is among its methods too."""
    baseline = experiment.baseline
    same = [e for e in experiment.methods if baseline and (e.name, e.settings) == (baseline.name, baseline.settings)]
    return same[0] if same else baseline


def _check_patch(experiment: Experiment, dataset: Dataset) -> None:
    shapes = [dataset.image(case_id).shape for case_id in (*dataset.train_ids, *dataset.test_ids)]
    largest = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    patch = experiment.training.patch
    if any(p > 2 * n for p, n in zip(patch, largest, strict=True)):
        raise ExperimentError(
            f"training.patch {list(patch)} is more than twice as large as any case of {dataset.name} along some axis "
            f"(largest: {list(largest)}{_at(dataset.spacing)}): "
            "it would hold mostly padding; choose a smaller one"
        )


def _at(spacing: float | tuple[float, ...] | None) -> str:
    sizes = spacing if isinstance(spacing, tuple) else (spacing,)
    return "" if spacing is None else f" at data.spacing {' x '.join(f'{mm:g}' for mm in sizes)}"


def _check_methods(experiment: Experiment) -> None:
    """Twice the same method would be one row, under the first one's name."""
    seen: dict[str, str] = {}
    for number, entry in enumerate(experiment.methods):
        settings = registry.settings_of(entry.name, entry.settings).model_dump(mode="json")
        earlier = seen.setdefault(json.dumps([entry.name, settings], sort_keys=True), f"methods.{number}")
        if earlier != f"methods.{number}":
            raise ExperimentError(f"methods.{number}: {entry.name!r} with these settings is {earlier} too: remove one")


def _check_names(experiment: Experiment, trials: list[Trial]) -> None:
    """Rows are told apart by their display name, so one name may stand for one method with one set of settings only."""
    meaning: dict[str, tuple] = {}
    for trial in trials:
        identity = (trial.method, json.dumps(trial.settings, sort_keys=True))
        if meaning.setdefault(trial.cell["display"], identity) != identity:
            raise ExperimentError(
                f"two methods are displayed as {trial.cell['display']!r}: give one of them a `display` of its own"
            )
    if experiment.reference is not None and experiment.reference not in meaning:
        raise ExperimentError(
            f"reference {experiment.reference!r} is not the display name of a planned method: {', '.join(meaning)}"
        )


def _is_supervised(entry: MethodEntry, experiment: Experiment) -> bool:
    settings = registry.settings_of(entry.name, entry.settings)
    method = registry.get(entry.name)
    return _asked(method, "patches", settings, experiment.training.batch_size)[1] == 0


def _asked(method: type[Method], name: str, *arguments) -> Any:
    """What a class method of a method answers; a plug-in's may be wrong in any way."""
    try:
        return getattr(method, name)(*arguments)
    except registry.MethodError:  # says in its own words what the user is to do
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        file = inspect.getsourcefile(method)
        raise registry.MethodError(f"{file}: {method.__name__}.{name}() raised {reason}; mend it there") from error


def _make_trial(
    experiment: Experiment, dataset: Dataset, summary: dict, entry: MethodEntry, role: str, count: int, draw, seed: int
) -> Trial:
    method = registry.get(entry.name)
    settings = registry.settings_of(entry.name, entry.settings)
    labelled = labelled_ids(dataset.labelled_pool, count, draw, dataset.left_out)
    supervised = _is_supervised(entry, experiment)
    unlabelled = [] if supervised else unlabelled_ids(dataset.train_ids, labelled)
    used = [*labelled, *unlabelled, *dataset.test_ids]
    decisive = {
        "data": dataset.fingerprint(used),
        "labelled": labelled,
        "unlabelled": unlabelled,
        "test": dataset.test_ids,
        "method": entry.name,
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "training": experiment.training.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    trial_id = f"{entry.name}-{count}-s{seed}-{digest}"
    info = method.info
    cell = {
        "trial": trial_id,
        "method": entry.name,
        "variant": _asked(method, "variant", settings),
        "display": entry.display or info.title,
        "year": info.year,
        "source": info.source,
        "fidelity": info.fidelity,
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "unpublished": _unpublished(method, settings),
        "labelled": len(labelled),
        "unlabelled": len(unlabelled),
        "draw": draw,
        "seed": seed,
        "role": role,
    }
    return Trial(
        id=trial_id, cell=cell, method=entry.name, method_file=name_of(Path(inspect.getsourcefile(method)).resolve()),
        settings=settings.model_dump(mode="json"), labelled=labelled, unlabelled=unlabelled, test=dataset.test_ids,
        seed=seed, data=_absolute(experiment.data.model_dump(mode="json")), data_summary=summary,
        training=experiment.training, evaluation=experiment.evaluation, plugins=experiment.plugins,
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


def _data_summary(experiment: Experiment, dataset: Dataset) -> dict:
    settings = experiment.data.model_dump(mode="json")
    spacings = {case_id: list(dataset.native(case_id).spacing) for case_id in dataset.test_ids}
    first = spacings[dataset.test_ids[0]]
    return {
        "name": dataset.name,
        "source": settings["source"],
        "spacing": dataset.spacing,
        "native_spacing": first,
        "other_spacings": {case_id: spacing for case_id, spacing in spacings.items() if spacing != first},
        "fingerprint": dataset.test_fingerprint,
        "split": _split_text(settings),
        "split_hash": split_hash(dataset.train_ids, dataset.test_ids),
        "folds": settings["split"] if isinstance(getattr(experiment.data, "split", None), Fold) else None,
        "train": len(dataset.train_ids),
        "with_label": len(dataset.with_label),
        "test": len(dataset.test_ids),
        "classes": dataset.classes,
        "class_names": dataset.source.class_names,
        "reading": dataset.source.reading.model_dump(mode="json"),
        "preparation": dataset.source.preparation,
    }


def _split_text(settings: dict) -> str:
    split = settings.get("split", "generated")
    if not isinstance(split, str):
        lists = "train" in split
        split = " / ".join(split.values()) if lists else ", ".join(f"{key} {value}" for key, value in split.items())
    held_out = len(settings["validation"])
    return f"{split}; {held_out} of its training cases in the place of the test cases" if held_out else split


def make_plan(experiment: Experiment, results: ResultsFolder) -> list[Cell]:
    """All cells of an experiment with their standing; builds the data cache where it must.

    Raises ResultsError over a plan or records of another format: they would be trained again, and written over.
    """
    results.check_format()
    dataset = prepare(experiment.data)
    evaluation = experiment.evaluation.model_dump(mode="json")
    return [
        Cell(trial, *cell_state(trial.id, trial.method_file, evaluation, results))
        for trial in make_trials(experiment, dataset)
    ]


def write_plan(experiment: Experiment, cells: list[Cell], results: ResultsFolder) -> None:
    """plan.json, from which reports know what was planned, and experiment.yaml, from which it can be planned again.

    Rows of masks from elsewhere that the folder holds are planned, too.
    """
    summary = cells[0].trial.data_summary
    plan = {
        "format": FORMAT,
        "experiment": experiment.name,
        "title": experiment.title or experiment.name,
        "reference": experiment.reference,
        "tuned": experiment.tuned and experiment.tuned.model_dump(),
        "data": summary,
        "training": experiment.training.model_dump(mode="json"),
        "evaluation": experiment.evaluation.model_dump(mode="json"),
        "cells": [cell.trial.cell | {"method_file": cell.trial.method_file} for cell in cells]
        + external_masks.cells_of(results),
    }
    content = experiment.model_dump(mode="json")
    if "$" not in content["data"].get("root", "$"):  # else it is of the machine that reads it
        content["data"] = _absolute(content["data"])
    stored = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        write_text(results.plan_file, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
        write_text(results.experiment_file, stored)
    except OSError as error:
        if (full := storage_error(results.folder, error)) is None:
            raise
        raise full from error
