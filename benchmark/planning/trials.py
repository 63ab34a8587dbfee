"""The trials of an experiment: which cells its tables have, and what decides their numbers."""

import inspect
import os
from pathlib import Path
from typing import Any

from benchmark.planning.case_roles import case_roles
from benchmark.planning.experiment import Experiment, ExperimentError, MethodEntry
from benchmark.planning.networks import check_network
from benchmark.planning.refusals import check_methods, check_names, check_patch
from benchmark.planning.single_values import check_single_values
from benchmark.records import numerics
from benchmark.records.models import Cell, Data
from benchmark.records.source_code import name_of
from benchmark.trial.specification import Trial, digest_of
from data.cache import Dataset
from data.errors import one_line
from data.splits import Fold, split_hash
from methods.shared import registry
from methods.shared.method import Method, MethodSettings
from methods.shared.networks.registry import network_plugin


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
    check_patch(experiment, dataset)
    check_methods(experiment)
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
    check_names(experiment, list(trials.values()))
    for entry, _ in entries:
        check_single_values(entry.name, entry.settings, experiment.training, dataset.classes, dataset.channels)
    return list(trials.values())


def seed_by_seed(trials: list[Trial]) -> list[Trial]:
    """All trials of the first seed, then all of the next. In each, floors and ceiling come first."""
    seeds = list(dict.fromkeys(trial.seed for trial in trials))
    return sorted(trials, key=lambda trial: (seeds.index(trial.seed), trial.cell.role == "method"))


def _baseline(experiment: Experiment) -> MethodEntry | None:
    """The baseline, under the name that the experiment gives it where it is among its methods too."""
    baseline = experiment.baseline
    same = [e for e in experiment.methods if baseline and (e.name, e.settings) == (baseline.name, baseline.settings)]
    return same[0] if same else baseline


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
        test=dataset.test_ids, validation=validation, data=absolute(experiment.data.model_dump(mode="json")),
        data_summary=summary, training=experiment.training, evaluation=experiment.evaluation,
        plugins=experiment.plugins, numerics=numerics.current(entry.name, method_file, network_file),
    )  # fmt: skip


def absolute(data: dict) -> dict:
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
