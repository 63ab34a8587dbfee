"""Equal tuning: every method gets the same number of settings to try, and is judged on cases that no table shows.

Trials of a search run at full length: none is stopped early, for a consistency ramp is below 0.3 until half-time, and a
method that profits from it late would lose. Each is a trial like any other, in the folder `tuning/` of the results; the
settings with the best mean Dice on the validation cases then run under the experiment's own budgets, draws and seeds,
in `tuned/`.
"""

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
import yaml

from benchmark.planning.experiment import Execution, Experiment, ExperimentError, MethodEntry, Tuned, Tuning
from benchmark.planning.plan import Plan, PlannedTrial, make_plan
from benchmark.records.files import ResultsError, write_text
from benchmark.records.results_folder import TUNED, ResultsFolder
from benchmark.records.states import DIVERGED, DONE, FAILED, STALE, cell_state
from data.cache import Dataset
from data.randomness import generator, integer_seed
from data.splits import labelled_ids
from methods.shared import registry

ROUND = 4  # settings that Optuna proposes before it hears how they did
WIDE = 10  # a range whose ends are so many times apart is searched by orders of magnitude
DIGITS = 3  # of a proposed number
ENDED = {DONE, STALE, FAILED, DIVERGED}

# Runs what is left of an experiment on a data set, if that is prepared already. Returns its plan with the states after
# the run, and False if anything failed.
Run = Callable[[Experiment, ResultsFolder, Dataset | None], tuple[Plan, bool]]


@dataclass(frozen=True)
class Tried:
    """Settings of a method over its published ones, and their mean Dice on the validation cases, 0 if they failed."""

    settings: dict
    dice: float


def tune(plan: Plan, run: Run) -> bool:
    """Search, choose, and run what was chosen. False if something failed or was interrupted: call it again to go on.

    Args:
        plan: of the experiment with published settings, after its run.
        run: runs an experiment in a folder.
    """
    experiment, folder = plan.experiment, ResultsFolder(plan.folder.folder / "tuning")
    held_out, budget = validation_cases(experiment, plan.dataset), search_budget(experiment, plan.dataset)
    tried: list[list[Tried]] = [[] for _ in experiment.methods]
    dataset = None  # without the validation cases; the same in every round
    while any(new := [proposals(entry, mine, experiment.tuning) for entry, mine in _pairs(experiment, tried)]):
        planned = [[t.settings for t in mine] + more for mine, more in zip(tried, new, strict=True)]
        searched, _ = run(search_experiment(experiment, held_out, budget, planned), folder, dataset)
        dataset = searched.dataset
        if not has_ended(searched):
            return False
        trials = {_resolved(found.trial.method, found.trial.settings): found for found in searched.trials}
        stale = sum(found.state == STALE for found in searched.trials)
        tried = [
            [Tried(settings, _dice(trials[_resolved(entry.name, settings)], folder, experiment)) for settings in mine]
            for entry, mine in _pairs(experiment, planned)
        ]
    chosen = [max(mine, key=lambda tried: tried.dice).settings for mine in tried]  # of equals the first: as published
    _write_choice(experiment, held_out, budget, tried, chosen, folder)
    tuned, target = tuned_experiment(experiment, budget, chosen, stale), ResultsFolder(plan.folder.folder / TUNED)
    _share_records(make_plan(tuned, target, plan.dataset), plan.folder)
    _, complete = run(tuned, target, plan.dataset)
    return complete


def _pairs(experiment: Experiment, of_methods: list) -> Iterator[tuple[MethodEntry, Any]]:
    return zip(experiment.methods, of_methods, strict=True)


def has_ended(plan: Plan) -> bool:
    """Whether no trial is left to run, failed ones aside: what goes on from here needs no other."""
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
            "the ceiling uses, and one must be left: choose fewer validation cases, budgets or draws"
        )
    return sorted(free[:wanted])


def proposals(entry: MethodEntry, tried: list[Tried], tuning: Tuning) -> list[dict]:
    """The settings to try next; none when `tuning.settings_per_method` were tried.

    The published ones come first, then ones from the ranges that the method declares. They depend on the arguments
    alone, so that a search which was stopped goes on as it was.

    A method without ranges, or with fewer choices, tries fewer.
    """
    ranges = _ranges(entry)
    known = {_resolved(entry.name, earlier.settings) for earlier in tried} or {_resolved(entry.name, entry.settings)}
    new = [] if tried else [entry.settings]
    most = tuning.settings_per_method
    if tuning.search == "optuna":
        most = min(most, len(tried) + ROUND)
    draw = _random if tuning.search == "random" else _optuna
    for attempt in range(20 * tuning.settings_per_method if ranges else 0):  # some may come twice
        if len(tried) + len(new) >= most:
            break
        candidate = entry.settings | draw(entry, ranges, tried, tuning, len(tried) * 1000 + attempt)
        if (meaning := _resolved(entry.name, candidate)) not in known:
            known.add(meaning)
            new.append(candidate)
    return new


def most_trials(experiment: Experiment) -> int:
    """Trials of the search at most: a method may have fewer choices than draws."""
    return sum(experiment.tuning.settings_per_method if _ranges(entry) else 1 for entry in experiment.methods)


def search_experiment(
    experiment: Experiment, held_out: list[str], budget: int, settings: list[list[dict]]
) -> Experiment:
    """The experiment whose methods are all these settings, at this budget and the first draw, scored on `held_out`.
    What two entries of one method both try is one row."""
    entries: dict[str, MethodEntry] = {}
    for entry, mine in zip(experiment.methods, settings, strict=True):
        for number, candidate in enumerate(mine):
            name = f"{entry.display or registry.get(entry.name).info.title} #{number}"
            row = MethodEntry(name=entry.name, display=name, settings=candidate)
            entries.setdefault(_resolved(entry.name, candidate), row)
    return experiment.model_copy(update={
        "name": f"{experiment.name}-tuning", "title": f"{experiment.title or experiment.name}: search",
        "data": experiment.data.model_copy(update={"validation": held_out}), "methods": list(entries.values()),
        "baseline": None, "reference": None, "labelled": [budget], "draws": experiment.draws[:1],
        "evaluation": experiment.evaluation.model_copy(update={"checkpoints": None}),
        "seeds": [experiment.tuning.seed], "tuning": None, "execution": _copied_to(experiment, "tuning"),
    })  # fmt: skip


def tuned_experiment(experiment: Experiment, budget: int, chosen: list[dict], stale: int = 0) -> Experiment:
    """The experiment with the settings that were chosen, which knows how. Entries of one method that chose the same are
    one row. stale: trials of the search that code of before a change has made."""
    tuning = experiment.tuning
    how = (
        f"equally tuned, up to {tuning.settings_per_method} settings a method by {tuning.search} search, "
        f"chosen by mean Dice on {tuning.validation} training cases whose labels none but the ceiling uses, "
        f"with {budget} labelled; "
        "a method that declares no range, as the supervised V-Net, has nothing to tune"
        + (f"; stale trials of the search, made by other numerics versions: {stale}" if stale else "")
    )
    entries: dict[str, MethodEntry] = {}
    for entry, settings in zip(experiment.methods, chosen, strict=True):
        meaning = _resolved(entry.name, settings)
        if meaning not in entries or entry.display == experiment.reference:
            entries[meaning] = entry.model_copy(update={"settings": settings})
    return experiment.model_copy(update={
        "name": f"{experiment.name}-tuned", "title": f"{experiment.title or experiment.name}, equally tuned",
        "tuned": Tuned(experiment=experiment.name, how=how),
        "methods": list(entries.values()), "tuning": None, "execution": _copied_to(experiment, TUNED),
    })  # fmt: skip


def _copied_to(experiment: Experiment, part: str) -> Execution:
    """A second store is a whole results folder, as the first is: each part has its own below it."""
    execution = experiment.execution
    return (
        execution
        if execution.copy_to is None
        else execution.model_copy(update={"copy_to": f"{execution.copy_to.rstrip('/')}/{part}"})
    )


def _resolved(method: str, settings: dict) -> str:
    """What settings mean, defaults included: the same text for what would be the same trial."""
    return json.dumps([method, registry.settings_of(method, settings).model_dump(mode="json")], sort_keys=True)


def _ranges(entry: MethodEntry) -> dict[str, list]:
    """What the method's settings may be, (low, high) or choices, but for those that the experiment fixes."""
    fields = registry.get(entry.name).Settings.model_fields
    searched = {name: registry.search_of(field) for name, field in fields.items()}
    return {name: search for name, search in searched.items() if search and name not in entry.settings}


def _distribution(search: list) -> optuna.distributions.BaseDistribution:
    if not registry.is_range(search):
        return optuna.distributions.CategoricalDistribution(search)
    low, high = search
    if all(type(end) is int for end in search):
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= WIDE)


def _random(entry: MethodEntry, ranges: dict, tried: list[Tried], tuning: Tuning, attempt: int) -> dict:
    """A draw of its own for each setting, named after it: one setting more leaves the others as they are."""
    values = {}
    for name, search in ranges.items():
        rng, distribution = generator(tuning.seed, f"tuning {entry.name}.{name}", attempt), _distribution(search)
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            values[name] = search[rng.integers(len(search))]
        elif isinstance(distribution, optuna.distributions.IntDistribution):
            values[name] = int(rng.integers(search[0], search[1] + 1))
        elif distribution.log:
            values[name] = math.exp(rng.uniform(*map(math.log, search)))
        else:
            values[name] = float(rng.uniform(*search))
    return _rounded(values)


def _optuna(entry: MethodEntry, ranges: dict, tried: list[Tried], tuning: Tuning, attempt: int) -> dict:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = integer_seed(tuning.seed, f"tuning {entry.name}", attempt) % 2**32
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=ROUND)
    )
    distributions = {name: _distribution(search) for name, search in ranges.items()}
    published = registry.settings_of(entry.name, entry.settings).model_dump()
    for earlier in tried:
        values = {name: earlier.settings.get(name, published[name]) for name in ranges}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                study.add_trial(optuna.create_trial(params=values, distributions=distributions, value=earlier.dice))
            except ValueError:  # a published value outside of its range teaches nothing
                continue
    return _rounded(study.ask(distributions).params)


def _rounded(values: dict) -> dict:
    return {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in values.items()}


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
        name = entry.display or registry.get(entry.name).info.title
        rows = [{"settings": dict(found.settings), "dice": round(found.dice, 4)} for found in mine]
        content[f"{number} {name}"] = {"chosen": dict(best), "tried": rows}
    write_text(folder.folder / "chosen.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _share_records(plan: Plan, results: ResultsFolder) -> None:
    """A trial that the experiment itself has run already need not run again: settings may be the published ones."""
    target = plan.folder
    target.create()
    for planned in plan.trials:
        trial = planned.trial.id
        if planned.state != DONE and results.finished_record(trial) is not None:
            folder = target.unpublished(trial)
            shutil.copytree(results.record(trial), folder, copy_function=_link, dirs_exist_ok=True)
            target.publish(trial)


def _link(source: str, target: str) -> None:
    """A record's files are replaced, never changed, so two records may share them; not every file system lets them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
