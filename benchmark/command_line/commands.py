"""What the commands do, once the command line is read."""

import inspect
import os
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from benchmark.cluster import shipped_code, stop_signals
from benchmark.command_line.cells import Line, print_cells
from benchmark.command_line.progress import ProgressView
from benchmark.command_line.reporting import show_report
from benchmark.planning import pretrained
from benchmark.planning.experiment import Experiment, ExperimentError
from benchmark.planning.experiment_file import load_stored_experiment, read_experiment
from benchmark.planning.plan import Plan, PlannedTrial, make_plan, write_plan
from benchmark.records.files import ResultsError
from benchmark.records.locks import run_lock
from benchmark.records.models import EXTERNAL, name_with_role
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.source_code import CHECKOUT
from benchmark.records.states import DIVERGED, DONE, FAILED, RESCORE, STALE, UNREADABLE
from benchmark.trial import external_masks
from data.cache import Dataset, prepare
from data.errors import one_line
from data.progress import announced, follow
from methods.shared import registry
from reports.durations import duration

PREPARING, PLANNING = "preparing the data", "preparing the data and planning the trials"
KEPT = {STALE: "--rerun stale", FAILED: "--retry-failed", DIVERGED: "--retry-failed"}


def run(experiment: Experiment, folder: ResultsFolder, also: set[str], address: str, console: Console) -> bool:
    """Run what is left of an experiment, tune if it asks for that, and write the report.

    Args:
        experiment: what is to be run.
        folder: its results folder.
        also: states of cells that are run again.
        address: of a Ray cluster; "local" is this machine.
        console: where progress is printed.

    Returns:
        False if something failed or the run was interrupted.
    """

    shipped_code.read()  # edits during the preparation of data do not reach this run

    def run_part(part: Experiment, folder: ResultsFolder, dataset: Dataset | None) -> tuple[Plan, bool]:
        if experiment.tuning is not None:  # one of three parts
            console.print(part.title or part.name, style="bold", soft_wrap=True)
        return _run_part(part, folder, dataset, also, address, console)

    dataset = None
    if experiment.tuning is not None:
        from benchmark.planning.tuning import has_ended, tune, validation_cases

        with announced(PREPARING, console):
            dataset = prepare(experiment.data)
        validation_cases(experiment, dataset)  # so that too few cases are refused before the first part
    plan, complete = run_part(experiment, folder, dataset)
    if experiment.tuning is not None and has_ended(plan):
        complete = tune(plan, run_part) and complete
    show_report(console, folder)
    return complete


def _run_part(
    experiment: Experiment, folder: ResultsFolder, dataset: Dataset | None, also: set[str], address: str,
    console: Console,
) -> tuple[Plan, bool]:  # fmt: skip
    folder.create()
    with run_lock(folder):
        external_masks.finish_interrupted(folder)
        with announced(PLANNING, console):
            plan = make_plan(experiment, folder, dataset)
            pretrained.keep(experiment, folder)
        fetched, copy_to = 0, experiment.execution.copy_to
        if copy_to:
            with announced(f"looking for records in {copy_to}", console):
                fetched = _fetch(plan, copy_to)
        if fetched:
            console.print(f"{fetched} records fetched from {copy_to}", soft_wrap=True)
            plan = plan.reread()
        left_out = _left_out(plan)
        write_plan(plan)
        for planned in plan.trials:
            if planned.state == DONE:
                folder.clear(planned.trial.id)
        todo = plan.to_run(also)
        _print_counts(plan, todo, console)
        if left_out:
            console.print(
                f"{left_out} trials of this folder are not of this experiment: their records stay, and tables leave "
                "them out. --set 'methods+=[…]' adds methods and keeps the others",
                soft_wrap=True,
            )
        complete = _run_trials(plan, todo, address, console)
        complete = _send(plan, copy_to, console) and complete
        return plan.reread(), complete


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
            _print_remarks(plan, console)
            if stale := sum(planned.state == STALE for planned in plan.trials):
                console.print(
                    f"{stale} stale cells are not scored, because other numerics versions made their weights. "
                    "`run --rerun stale` trains them again"
                )
            if damaged := [planned.reason for planned in plan.trials if planned.state == UNREADABLE]:
                line = f"{len(damaged)} unreadable cells are not scored ({damaged[0]}): `run` trains them again"
                console.print(line, soft_wrap=True)
            complete = _run_trials(plan, todo, "local", console) and complete and not damaged
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
    return _send(plan, plan.experiment.execution.copy_to, console, renewed=added)


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
    planned = _planned(folder)
    with announced(PLANNING, console):
        plan = make_plan(experiment, folder)
    if others := planned - {found.trial.id for found in plan.trials}:
        raise ExperimentError(
            f"{len(others)} of the {len(planned)} trials of {folder.folder} have changed: the data or the defaults are "
            "not those of the run. Restore them, or `run` the experiment into another folder"
        )
    return plan


def _planned(folder: ResultsFolder) -> set[str]:
    """The trials of the folder's plan; no experiment names those of external masks. Raises ResultsError."""
    return {cell.trial for cell in folder.read_plan().cells if cell.method != EXTERNAL}


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
        return _send(plan, experiment.execution.copy_to, console)


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


def _fetch(plan: Plan, uri: str) -> int:
    """Fetch records that only the copy has. Returns how many."""
    from benchmark.records import remote_copies

    wanted = [planned.trial.id for planned in plan.trials]
    wanted += [trial for prefix in external_masks.PREFIXES for trial in remote_copies.named(f"{prefix}-", uri)]
    missing = [trial for trial in wanted if not plan.folder.has_record(trial)]
    return len(remote_copies.fetch(plan.folder, missing, uri))


def _send(plan: Plan, uri: str | None, console: Console, renewed: Iterable[str] = ()) -> bool:
    """Complete the copy, if one is asked for: earlier records, the plan and the cases.

    `renewed`: records that changed although their trial.yaml did not. False if copying fails, which is printed and does
    not end the run.
    """
    if uri is None:
        return True
    from benchmark.records import remote_copies

    trials = [planned.trial.id for planned in plan.trials]
    trials += [cell.trial for cell in external_masks.cells_of(plan.folder)]
    try:
        for trial in renewed:
            remote_copies.send(plan.folder, trial, uri)
        with announced(f"copying records to {uri}", console):
            remote_copies.send_missing(plan.folder, [trial for trial in trials if plan.folder.has_record(trial)], uri)
    except ResultsError as error:
        console.print(f"not copied: {error}", style="red", soft_wrap=True)
        return False
    return True


def _run_trials(plan: Plan, todo: list[PlannedTrial], address: str, console: Console) -> bool:
    finished, failures = True, []
    if todo:
        with announced("loading Ray", console):
            from benchmark.cluster.scheduler import run_trials

        console.print(
            "starting workers. Times left assume that the machine stays as busy as in the finished trials of this run",
            soft_wrap=True,
        )
        with ProgressView(todo, console) as view:
            trials = [planned.trial for planned in todo]
            finished = run_trials(trials, plan.folder, plan.experiment.execution, view, address, view.note)
        failures = view.failures
    for planned, reason in failures:
        line = one_line(f"failed: {_title(planned)}, seed {planned.trial.seed}: {reason}")
        console.print(line, soft_wrap=True)
    if failures:
        console.print("`--retry-failed` tries them again, from their last checkpoints")
    if not finished:
        console.print("stopped; checkpoints are saved. Run the same command again to go on")
        stop_signals.check()
    with announced("scoring external masks again", console):
        reasons = list(external_masks.bring_up_to_date(plan.experiment.evaluation, plan.dataset, plan.folder))
    for reason in reasons:
        console.print(f"not scored again: {one_line(reason)}", soft_wrap=True)
    return finished and not failures


def _title(planned: PlannedTrial) -> str:
    cell = planned.trial.cell
    return f"{name_with_role(cell.display, cell.role)}, {cell.labelled} labelled"


def dry_run(experiment: Experiment, folder: ResultsFolder, also: set[str], console: Console) -> None:
    """Print every cell with its state and why, what would run, and an estimate of hours."""
    from benchmark.planning.estimate import estimate_training

    folder.check_place()
    with announced(PLANNING, console):
        plan = make_plan(experiment, folder)
    print_cells((Line(planned.trial.cell, planned.state, planned.reason) for planned in plan.trials), console)
    todo = plan.to_run(also)
    _print_counts(plan, todo, console)
    if experiment.tuning is not None:
        from benchmark.planning.tuning import most_trials, validation_cases

        held_out = ", ".join(validation_cases(experiment, plan.dataset))
        search = f"up to {most_trials(experiment)} trials of search, scored on {held_out}"
        console.print(f"tuning: {search}. Then all methods run again with the chosen settings", soft_wrap=True)
    if train := [planned.trial for planned in todo if planned.state != RESCORE]:
        what = " without tuning" if experiment.tuning else ""
        try:
            with announced("timing one step of training", console):
                estimate = estimate_training(plan, train)
        except Exception as error:  # whatever a method's code raises; `--smoke` names the cell
            console.print(f"no estimate of time: {one_line(f'{type(error).__name__}: {error}')}", soft_wrap=True)
        else:
            hours = duration(estimate.seconds)
            console.print(f"about {hours} of training{what} on this machine, one trial at a time")
            console.print(
                f"estimated from {estimate.basis}; assumes that the machine stays as busy, and leaves out testing",
                soft_wrap=True,
            )


def smoke(experiment: Experiment, console: Console) -> None:
    """Two steps and one window of every cell, in this process. Raises what goes wrong, with the cell's name."""
    import tempfile

    from benchmark.trial.smoke import smoke_test

    with tempfile.TemporaryDirectory() as empty, announced(PLANNING, console):
        plan = make_plan(experiment, ResultsFolder(empty))
    first = {_title(planned): planned for planned in reversed(plan.trials)}  # seeds and draws run the same code
    for title, planned in reversed(first.items()):
        try:
            seconds = smoke_test(planned.trial, experiment.execution)
        except Exception as error:
            title = title.replace(", ", " with ")
            raise ExperimentError(
                f"smoke test of {title} failed: {one_line(f'{type(error).__name__}: {error}')}"
            ) from error
        console.print(f"{title}: ok, {seconds:.2f} s a step")
    console.print(f"all {len(first)} kinds of cell run")


def show_methods(console: Console) -> None:
    """All methods, a line each."""
    table = Table(Column("name", no_wrap=True), "title", "year", "passes a step", "fidelity")
    for known in registry.names():
        info = registry.get(known).info
        table.add_row(known, info.title, str(info.year), str(info.passes), info.fidelity)
    console.print(table)


def show_method(method: str, console: Console) -> None:
    """Print a method, or all that a file registers, with its settings and their allowed values."""
    for name in registry.names_in(method):
        shown = registry.get(name)
        console.print(f"{shown.info.title} ({shown.info.source}), {shown.info.fidelity}\n")
        console.print(f"{inspect.getdoc(shown) or ''}\n")
        table = Table(Column("setting", no_wrap=True), "default", "choices, or range to search", "meaning")
        for key, field in shown.Settings.model_fields.items():
            search = registry.search_of(field)
            may_be = registry.choices_of(field) or ([f"{search[0]} to {search[1]}"] if search else [])
            table.add_row(key, str(field.default), ", ".join(may_be), field.description or "")
        console.print(table)


def new_method(name: str, teacher: bool, console: Console) -> None:
    """Write a starting file into the working directory, and say how to check and run it."""
    path = registry.write_starting_file(name, Path.cwd(), date.today().year, teacher)
    script, demo = (os.path.relpath(CHECKOUT / file) for file in ("run_benchmark.py", "configs/demo.yaml"))
    console.print(f"wrote {path}; try it:", soft_wrap=True)
    console.print(f"  python {script} check {path.name}", soft_wrap=True)
    console.print(
        f"  python {script} run {demo} --plugin {path.name} "
        f"--set 'methods=[{registry.BASELINE}, {name}]' --set reference=null --results results/{name}",
        soft_wrap=True,
    )


def _left_out(plan: Plan) -> int:
    """How many records of the folder's earlier plan belong to no cell of this one."""
    try:
        earlier = _planned(plan.folder)
    except ResultsError:  # there is no plan yet, or a damaged one that is written again now
        return 0
    return sum(plan.folder.has_record(trial) for trial in earlier - {planned.trial.id for planned in plan.trials})


def _print_counts(plan: Plan, todo: Iterable[PlannedTrial], console: Console) -> None:
    counts = Counter(planned.state for planned in plan.trials)
    console.print(f"{len(plan.trials)} cells: " + ", ".join(f"{n} {state}" for state, n in counts.items())
                  + f"; {len(todo)} to run")  # fmt: skip
    for state, option in KEPT.items():
        kept = [planned for planned in plan.trials if planned.state == state and planned not in todo]
        if kept:
            line = f"{len(kept)} {state} cells stay as they are ({kept[0].reason}): `{option}` runs them again"
            console.print(line, soft_wrap=True)
    _print_remarks(plan, console)


def _print_remarks(plan: Plan, console: Console) -> None:
    """What a user should know of cells that are done, such as that their records lack stored checkpoints."""
    remarks = [planned.reason for planned in plan.trials if planned.state == DONE and planned.reason]
    if remarks:
        console.print(f"{len(remarks)} done cells: {remarks[0]}", soft_wrap=True)
