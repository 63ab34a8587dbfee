"""What `run` does, with `--dry-run` and `--smoke`."""

from collections import Counter
from collections.abc import Iterable

from rich.console import Console

from benchmark.cluster import shipped_code
from benchmark.command_line.cells import Line, print_cells
from benchmark.command_line.plan_steps import (
    PLANNING,
    cell_title,
    fetch,
    planned_trials,
    print_remarks,
    run_trials,
    send,
)
from benchmark.command_line.reporting import show_report
from benchmark.planning import pretrained
from benchmark.planning.experiment import Experiment, ExperimentError
from benchmark.planning.plan import Plan, PlannedTrial, make_plan, write_plan
from benchmark.records.files import ResultsError
from benchmark.records.locks import run_lock
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DIVERGED, DONE, FAILED, RESCORE, STALE
from benchmark.trial import external_masks
from data.cache import Dataset, prepare
from data.errors import one_line
from data.progress import announced
from reports.durations import duration

PREPARING = "preparing the data"
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
                fetched = fetch(plan, copy_to)
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
        complete = run_trials(plan, todo, address, console)
        complete = send(plan, copy_to, console) and complete
        return plan.reread(), complete


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
    first = {cell_title(planned): planned for planned in reversed(plan.trials)}  # seeds and draws run the same code
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


def _left_out(plan: Plan) -> int:
    """How many records of the folder's earlier plan belong to no cell of this one."""
    try:
        earlier = planned_trials(plan.folder)
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
    print_remarks(plan, console)
