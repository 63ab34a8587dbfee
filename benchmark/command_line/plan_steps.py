"""What `run` and the commands for results folders do with a plan: run its trials, and keep its copy complete."""

from collections.abc import Iterable

from rich.console import Console

from benchmark.cluster import stop_signals
from benchmark.command_line.progress import ProgressView
from benchmark.planning.plan import Plan, PlannedTrial
from benchmark.planning.trials import seed_by_seed
from benchmark.records.files import ResultsError
from benchmark.records.models import EXTERNAL, name_with_role
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import DONE
from benchmark.trial import external_masks
from data.errors import one_line
from data.progress import announced

PLANNING = "preparing the data and planning the trials"


def planned_trials(folder: ResultsFolder) -> set[str]:
    """The trials of the folder's plan; no experiment names those of external masks. Raises ResultsError."""
    return {cell.trial for cell in folder.read_plan().cells if cell.method != EXTERNAL}


def run_trials(plan: Plan, todo: list[PlannedTrial], address: str, console: Console) -> bool:
    """Run these trials of a plan, and print what fails. False if one failed or the run was interrupted."""
    finished, failures = True, []
    if todo:
        with announced("loading Ray", console):
            from benchmark.cluster.scheduler import run_trials

        console.print(
            "starting workers. Times left assume that the machine stays as busy as in the finished trials of this run",
            soft_wrap=True,
        )
        trials = [planned.trial for planned in todo]
        if plan.experiment.execution.order == "as_listed":  # also where some trials of a seed are done
            ids = {trial.id for trial in trials}
            trials = [trial for trial in seed_by_seed([p.trial for p in plan.trials]) if trial.id in ids]
        with ProgressView(todo, console) as view:
            finished = run_trials(trials, plan.folder, plan.experiment.execution, view, address, view.note)
        failures = view.failures
    for planned, reason in failures:
        line = one_line(f"failed: {cell_title(planned)}, seed {planned.trial.seed}: {reason}")
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


def fetch(plan: Plan, uri: str) -> int:
    """Fetch records that only the copy has. Returns how many."""
    from benchmark.records import remote_copies

    wanted = [planned.trial.id for planned in plan.trials]
    wanted += [trial for prefix in external_masks.PREFIXES for trial in remote_copies.named(f"{prefix}-", uri)]
    missing = [trial for trial in wanted if not plan.folder.has_record(trial)]
    return len(remote_copies.fetch(plan.folder, missing, uri))


def send(plan: Plan, uri: str | None, console: Console, renewed: Iterable[str] = ()) -> bool:
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


def print_remarks(plan: Plan, console: Console) -> None:
    """What a user should know of cells that are done, such as that their records lack stored checkpoints."""
    remarks = [planned.reason for planned in plan.trials if planned.state == DONE and planned.reason]
    if remarks:
        console.print(f"{len(remarks)} done cells: {remarks[0]}", soft_wrap=True)


def cell_title(planned: PlannedTrial) -> str:
    """The row and budget of a trial, as lines on the terminal name it."""
    cell = planned.trial.cell
    return f"{name_with_role(cell.display, cell.role)}, {cell.labelled} labelled"
