"""What the commands do that begin with a results folder: score again, add masks, segment new scans."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmark.cluster import shipped_code
from benchmark.command_line.plan_steps import PLANNING, planned_trials, print_remarks, run_trials, send
from benchmark.command_line.reporting import show_report
from benchmark.planning.experiment import Experiment, ExperimentError
from benchmark.planning.experiment_file import load_stored_experiment, read_experiment
from benchmark.planning.plan import Plan, make_plan, write_plan
from benchmark.records.locks import run_lock
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE, RESCORE, STALE, UNREADABLE
from benchmark.trial import external_masks
from data.cache import prepare
from data.progress import announced, follow


def evaluate(folder: ResultsFolder, overrides: list[str], plugins: list[str], trust: bool, console: Console) -> bool:
    """Score stored weights again under a changed evaluation block, also those of tuned settings. False if one failed.

    Older records may lack some of today's metrics. They get them from their stored predictions.
    `plugins` and `trust`: as of `load_stored_experiment`.
    """
    shipped_code.read()
    complete = True
    parts = [(part, load_stored_experiment(part.experiment_file, overrides, plugins, trust)) for part in folder.parts()]
    for part, experiment in parts:
        part.create()
        with run_lock(part):
            plan = _same_plan(experiment, part, console)
            write_plan(plan)
            todo = [planned for planned in plan.trials if planned.state == RESCORE]
            console.print(f"{len(todo)} of {len(plan.trials)} cells to score again, none to train")
            print_remarks(plan, console)
            if stale := sum(planned.state == STALE for planned in plan.trials):
                console.print(
                    f"{stale} stale cells are not scored, because other numerics versions made their weights. "
                    "`run --rerun stale` trains them again"
                )
            if damaged := [planned.reason for planned in plan.trials if planned.state == UNREADABLE]:
                line = f"{len(damaged)} unreadable cells are not scored ({damaged[0]}): `run` trains them again"
                console.print(line, soft_wrap=True)
            complete = run_trials(plan, todo, "local", console) and complete and not damaged
            complete = _add_later_metrics(plan, console) and complete
    show_report(console, folder)
    return complete


def _add_later_metrics(plan: Plan, console: Console) -> bool:
    """Give finished records the metrics that they lack. False if the copy of one could not be renewed."""
    from benchmark.trial import later_metrics

    trials = [planned.trial.id for planned in plan.reread().trials if planned.state == DONE]
    trials += [cell.trial for cell in external_masks.cells_of(plan.folder)]
    with announced("looking for records that lack metrics", console):
        added, reasons = later_metrics.add_to_all(plan.folder, trials, plan.dataset)
    if added:
        console.print(f"{len(added)} records got metrics that they lacked, from stored predictions")
    if reasons:
        console.print(f"{len(reasons)} records stay without some metrics: {reasons[0]}", soft_wrap=True)
    return send(plan, plan.experiment.execution.copy_to, console, renewed=added)


def check_metrics(folder: ResultsFolder, trial: str, console: Console) -> None:
    """Score a record once more with medpy itself and print the largest difference of each metric. Writes nothing."""
    from benchmark.trial.medpy_check import differences

    experiment = read_experiment(folder.experiment_file)
    found: dict[tuple[str, str], list[float]] = {}
    pairs = differences(folder, trial, prepare(experiment.data))
    for value, by_medpy in follow(pairs, "scoring with medpy"):
        found.setdefault((value.metric, value.unit), []).append(abs(value.value - by_medpy))
    table = Table("metric", "unit", "values compared", "largest difference from medpy")
    for (metric, unit), compared in found.items():
        table.add_row(metric, unit, str(len(compared)), f"{max(compared):.2g}")
    console.print(table)


def _same_plan(experiment: Experiment, folder: ResultsFolder, console: Console) -> Plan:
    """The plan of a folder, whose trials must not change.

    Raises:
        ExperimentError: some trials would be others today, so that finished records would belong to no cell.
    """
    external_masks.finish_interrupted(folder)
    planned = planned_trials(folder)
    with announced(PLANNING, console):
        plan = make_plan(experiment, folder)
    if others := planned - {found.trial.id for found in plan.trials}:
        raise ExperimentError(
            f"{len(others)} of the {len(planned)} trials of {folder.folder} have changed: the data or the defaults are "
            "not those of the run. Restore them, or `run` the experiment into another folder"
        )
    return plan


def add_masks(
    masks: Path, name: str, labelled: int, unlabelled: int, seed: int, folder: ResultsFolder, plugins: list[str],
    trust: bool, console: Console,
) -> bool:  # fmt: skip
    """Add masks of another tool to a results folder as a row, and write its report. False if copying failed.

    `plugins` and `trust`: as of `load_stored_experiment`.
    """
    folder.read_plan()
    experiment = load_stored_experiment(folder.experiment_file, plugins=plugins, trust=trust)
    with run_lock(folder):
        plan = _same_plan(experiment, folder, console)
        if labelled not in experiment.labelled:
            console.print(
                f"no method of this experiment has {labelled} labelled cases: the row stands alone in its budget "
                f"(the experiment has {', '.join(map(str, experiment.labelled))})",
                style="yellow", soft_wrap=True,
            )  # fmt: skip
        with announced("scoring the masks", console):
            trial = external_masks.score_masks(masks, name, labelled, unlabelled, seed, plan.dataset, folder)
        write_plan(plan)
        console.print(f"scored as {trial}", soft_wrap=True)
        show_report(console, folder)
        return send(plan, experiment.execution.copy_to, console)


def remove_masks(name: str, folder: ResultsFolder, plugins: list[str], trust: bool, console: Console) -> None:
    """Remove rows of another tool's masks from a results folder, and write its report.

    `plugins` and `trust`: as of `load_stored_experiment`.
    """
    folder.read_plan()
    experiment = load_stored_experiment(folder.experiment_file, plugins=plugins, trust=trust)
    with run_lock(folder):
        plan = _same_plan(experiment, folder, console)
        removed = external_masks.remove(name, folder)
        write_plan(plan)
        console.print(f"removed {', '.join(removed)}", soft_wrap=True)
        show_report(console, folder)


def predict(
    record: Path, images: Path, to: Path, normalise: str | None, voxel: str | None, plugins: list[str], trust: bool,
    console: Console,
) -> None:  # fmt: skip
    """Segment scans with a finished trial, one line each."""
    from benchmark.trial.new_scans import predict_scans

    def warn(line: str) -> None:
        console.print(line, style="yellow", soft_wrap=True)

    for found in predict_scans(record, images, to, normalise, voxel, plugins, trust, warn):
        volumes = ", ".join(f"{name} {volume:.1f} ml" for name, volume in found.volumes.items())
        console.print(f"{found.scan}: {found.labels} ({volumes})", soft_wrap=True)
        if empty := [name for name, volume in found.volumes.items() if not volume]:
            console.print(f"  nothing was found of {', '.join(empty)}", style="yellow", soft_wrap=True)
