"""Equal tuning: every method gets the same number of settings to try, and is judged on cases that no table shows.

No trial of a search is stopped early: a consistency ramp is below 0.3 until half-time, so a method that profits late
would lose. The search is a results folder, `tuning/`. The settings with the best mean Dice on the validation cases then
run under the experiment's own budgets, draws and seeds, in `tuned/`.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import yaml

from benchmark.planning.experiment import Execution, Experiment, ExperimentError, MethodEntry, Tuned
from benchmark.planning.plan import Plan, PlannedTrial, make_plan
from benchmark.planning.proposals import Tried, proposals, ranges_of, resolved
from benchmark.records.files import ResultsError, write_text
from benchmark.records.results_folder import TUNED, ResultsFolder
from benchmark.records.states import DIVERGED, DONE, FAILED, STALE, cell_state
from data.cache import Dataset
from data.randomness import generator
from data.splits import labelled_ids
from methods.shared import registry

ENDED = {DONE, STALE, FAILED, DIVERGED}

# Runs what is left of an experiment on a data set, if that is prepared already. Returns its plan with the states after
# the run, and False if anything failed.
Run = Callable[[Experiment, ResultsFolder, Dataset | None], tuple[Plan, bool]]


def tune(plan: Plan, run: Run) -> bool:
    """Search, choose, and run what was chosen. False if something failed or was interrupted. A further call goes on.

    Args:
        plan: of the experiment with published settings, after its run.
        run: runs an experiment in a folder.
    """
    experiment, folder = plan.experiment, ResultsFolder(plan.folder.folder / "tuning")
    held_out, budget = validation_cases(experiment, plan.dataset), search_budget(experiment, plan.dataset)
    tried: list[list[Tried]] = [[] for _ in experiment.methods]
    dataset = None  # without the validation cases; the same in every round
    while any(new := [_next(experiment, entry, mine) for entry, mine in _pairs(experiment, tried)]):
        planned = [[t.settings for t in mine] + more for mine, more in zip(tried, new, strict=True)]
        searched, _ = run(search_experiment(experiment, held_out, budget, planned), folder, dataset)
        dataset = searched.dataset
        if not has_ended(searched):
            return False
        trials = {resolved(found.trial.method, found.trial.settings): found for found in searched.trials}
        stale = sum(found.state == STALE for found in searched.trials)
        tried = [
            [Tried(settings, _dice(trials[resolved(entry.name, settings)], folder, experiment)) for settings in mine]
            for entry, mine in _pairs(experiment, planned)
        ]
    chosen = [
        max(mine, key=lambda tried: tried.dice).settings
        if mine
        else entry.settings  # of equals the first: as published
        for entry, mine in _pairs(experiment, tried)
    ]
    _write_choice(experiment, held_out, budget, tried, chosen, folder)
    tuned, target = tuned_experiment(experiment, budget, chosen, stale), ResultsFolder(plan.folder.folder / TUNED)
    _share_records(make_plan(tuned, target, plan.dataset), plan.folder)
    _, complete = run(tuned, target, plan.dataset)
    return complete


def _pairs(experiment: Experiment, of_methods: list) -> Iterator[tuple[MethodEntry, Any]]:
    return zip(experiment.methods, of_methods, strict=True)


def _next(experiment: Experiment, entry: MethodEntry, tried: list[Tried]) -> list[dict]:
    return proposals(entry, tried, experiment.tuning) if experiment.is_tuned(entry) else []


def has_ended(plan: Plan) -> bool:
    """Whether all trials have ended, failed ones included."""
    return all(planned.state in ENDED for planned in plan.trials)


def search_budget(experiment: Experiment, dataset: Dataset) -> int:
    """The first budget that leaves unlabelled cases: with every label only the upper bound is trained."""
    return next(count for count in experiment.labelled if count < len(dataset.train_ids))


def validation_cases(experiment: Experiment, dataset: Dataset) -> list[str]:
    """Training cases whose labels choose settings.

    No trial but the upper bound uses their labels, or that of another scan of their patients. They are the first free
    ones of one order, so that a further budget or draw changes few.

    Raises:
        ExperimentError: too few cases are free.
    """
    wanted, patient_of, everything = experiment.tuning.validation, dataset.source.patient_of, len(dataset.train_ids)
    if min(experiment.labelled) >= everything:
        raise ExperimentError(
            f"tuning: labelled {experiment.labelled} leaves no unlabelled case of {dataset.name}, and so no method to "
            "tune: add a smaller budget"
        )
    used = {
        patient_of(case) for count in experiment.labelled if count < everything for draw in experiment.draws
        for case in labelled_ids(dataset.with_label, count, draw)
    }  # fmt: skip
    order = generator(experiment.tuning.seed, "validation cases").permutation(len(dataset.with_label))
    free = [case for i in order if patient_of(case := dataset.with_label[i]) not in used]
    if wanted >= len(free):
        raise ExperimentError(
            f"tuning.validation {wanted}: only {len(free)} training cases of {dataset.name} have a label that only "
            "the ceiling uses, and one must remain. Choose fewer validation cases, budgets or draws"
        )
    return sorted(free[:wanted])


def most_trials(experiment: Experiment) -> int:
    """Trials of the search at most: a method may have fewer choices than draws."""
    tuned = filter(experiment.is_tuned, experiment.methods)
    return sum(experiment.tuning.settings_per_method if ranges_of(entry) else 1 for entry in tuned)


def search_experiment(
    experiment: Experiment, held_out: list[str], budget: int, settings: list[list[dict]]
) -> Experiment:
    """The experiment whose methods are all these settings, at this budget and the first draw, scored on `held_out`.

    Settings that two entries of one method try are one row.
    """
    entries: dict[str, MethodEntry] = {}
    for entry, mine in zip(experiment.methods, settings, strict=True):
        for number, candidate in enumerate(mine):
            name = f"{_title(entry)} #{number}"
            row = MethodEntry(name=entry.name, display=name, settings=candidate)
            entries.setdefault(resolved(entry.name, candidate), row)
    return experiment.model_copy(update={
        "name": f"{experiment.name}-tuning", "title": f"{experiment.title or experiment.name}: search",
        "data": experiment.data.model_copy(update={"validation": held_out}), "methods": list(entries.values()),
        "baseline": None, "reference": None, "labelled": [budget], "draws": experiment.draws[:1],
        "evaluation": experiment.evaluation.model_copy(update={"checkpoints": None}),
        "seeds": [experiment.tuning.seed], "tuning": None, "execution": _copied_to(experiment, "tuning"),
    })  # fmt: skip


def tuned_experiment(experiment: Experiment, budget: int, chosen: list[dict], stale: int = 0) -> Experiment:
    """The experiment with the chosen settings. It records how they were chosen.

    Methods that are not tuned keep their settings. Entries of one method with the same settings are one row.

    Args:
        experiment: with a `tuning` block.
        budget: labelled cases of the search.
        chosen: settings of each method.
        stale: how many trials of the search other numerics versions made.
    """
    entries: dict[str, MethodEntry] = {}
    for entry, settings in zip(experiment.methods, chosen, strict=True):
        meaning = resolved(entry.name, settings)
        if meaning not in entries or entry.display == experiment.reference:
            entries[meaning] = entry.model_copy(update={"settings": settings})
    tuned = [_title(entry) for entry in entries.values() if experiment.is_tuned(entry)]
    left_out = [_title(entry) for entry in entries.values() if not experiment.is_tuned(entry)]
    what = f"{', '.join(tuned)} tuned alike" if left_out else "equally tuned"
    tuning = experiment.tuning
    how = (
        f"{what}, up to {tuning.settings_per_method} settings a method by {tuning.search} search, "
        f"chosen by mean Dice on {tuning.validation} training cases whose labels only the ceiling uses, "
        f"with {budget} labelled; "
        + (f"not tuned: {', '.join(left_out)}; " if left_out else "")
        + "a method that declares no range, as the supervised V-Net, has nothing to tune"
        + (f"; stale trials of the search, made by other numerics versions: {stale}" if stale else "")
    )
    return experiment.model_copy(update={
        "name": f"{experiment.name}-tuned", "title": f"{experiment.title or experiment.name}, {what}",
        "tuned": Tuned(experiment=experiment.name, how=how, methods=tuned if left_out else None),
        "methods": list(entries.values()), "tuning": None, "execution": _copied_to(experiment, TUNED),
    })  # fmt: skip


def _title(entry: MethodEntry) -> str:
    return entry.display or registry.get(entry.name).info.title


def _copied_to(experiment: Experiment, part: str) -> Execution:
    """The execution block with a second store of its own for this part."""
    execution = experiment.execution
    return (
        execution
        if execution.copy_to is None
        else execution.model_copy(update={"copy_to": f"{execution.copy_to.rstrip('/')}/{part}"})
    )


def _dice(planned: PlannedTrial, folder: ResultsFolder, experiment: Experiment) -> float:
    """Mean Dice over validation cases and structures of a trial; 0 of a trial that failed.

    A structure that is neither there nor found has no Dice.

    Raises:
        ResultsError: the trial is stale, and its scores are of another evaluation or damaged.
    """
    if planned.state in (FAILED, DIVERGED):
        return 0.0
    found = cell_state(folder, planned.trial.id, planned.trial.wanted)
    if found.values is None:
        raise ResultsError(f"{planned.trial.id} of the search has no scores ({found.reason}): run --rerun stale")
    wanted = ("dice", experiment.evaluation.postprocessing)
    values = [v.value for v in found.values if (v.metric, v.postprocessing) == wanted and not math.isnan(v.value)]
    return fmean(values) if values else 0.0


def _write_choice(
    experiment: Experiment, held_out: list[str], budget: int, tried: list, chosen: list[dict], folder: ResultsFolder
) -> None:
    """tuning/chosen.yaml: what was tried, how it did, and what was taken."""
    content = {"validation": held_out, "labelled": budget}
    for number, (entry, mine, best) in enumerate(zip(experiment.methods, tried, chosen, strict=True)):
        if not mine:  # not tuned
            continue
        rows = [{"settings": dict(found.settings), "dice": round(found.dice, 4)} for found in mine]
        content[f"{number} {_title(entry)}"] = {"chosen": dict(best), "tried": rows}
    write_text(folder.folder / "chosen.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _share_records(plan: Plan, results: ResultsFolder) -> None:
    """Take over records of the experiment itself: chosen settings may be the published ones."""
    target = plan.folder
    target.create()
    for planned in plan.trials:
        trial = planned.trial.id
        if planned.state != DONE and results.finished_record(trial) is not None:
            folder = target.unpublished(trial)
            shutil.copytree(results.record(trial), folder, copy_function=_link, dirs_exist_ok=True)
            target.publish(trial)


def _link(source: str, target: str) -> None:
    """Link or copy a file. Files of records are replaced, never changed, so two records may share them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
