"""What the commands do, once the command line is read."""

import inspect
import os
from collections import Counter
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from benchmark.command_line.progress import ProgressView, duration
from benchmark.planning.experiment import Experiment, ExperimentError, load_experiment
from benchmark.planning.plan import Cell, make_plan, write_plan
from benchmark.records.files import ResultsError
from benchmark.records.folder import ResultsFolder
from benchmark.records.locks import run_lock
from benchmark.records.states import write_report
from benchmark.trial import external_masks
from methods.shared import registry

CHECKOUT = Path(__file__).parents[1]
KEPT = {"stale": "--rerun stale", "failed": "--retry-failed", "diverged": "--retry-failed"}


def run(experiment: Experiment, results: ResultsFolder, again: set[str], address: str, console: Console) -> bool:
    """Run what is left of the experiment, and cells in the states `again`, on the Ray cluster at `address`; tune, if it
    asks for that; write the report. False if something failed or it was interrupted."""

    def run_one(part: Experiment, folder: ResultsFolder) -> bool:
        if experiment.tuning is not None:  # which of its three parts this is
            console.print(part.title or part.name, style="bold", soft_wrap=True)
        return _run_one(part, folder, again, address, console)

    if experiment.tuning is not None:
        from benchmark.planning.tuning import has_ended, tune, validation_cases

        validation_cases(experiment)  # that there are any is better known now than after the first part
    complete = run_one(experiment, results)
    if experiment.tuning is not None and has_ended(experiment, results):
        complete = tune(experiment, results, run_one) and complete
    console.print(f"report: {write_report(results)}", soft_wrap=True)
    return complete


def _run_one(experiment: Experiment, results: ResultsFolder, again: set[str], address: str, console: Console) -> bool:
    results.create()
    with run_lock(results):
        external_masks.finish_interrupted(results)
        cells = make_plan(experiment, results)
        if (copy_to := experiment.execution.copy_to) and (fetched := _fetch(cells, results, copy_to)):
            console.print(f"{fetched} records fetched from {copy_to}", soft_wrap=True)
            cells = make_plan(experiment, results)
        left_out = _left_out(cells, results)
        write_plan(experiment, cells, results)
        for cell in cells:
            if cell.state == "done":
                results.clear(cell.trial.id)
        todo = [cell for cell in cells if _to_run(cell, again)]
        _say_what(cells, todo, console)
        if left_out:
            console.print(
                f"{left_out} trials of this folder are not of this experiment: their records stay, its tables leave "
                "them out (--set 'methods+=[…]' adds methods and keeps the others)",
                soft_wrap=True,
            )
        complete = _run_cells(experiment, todo, results, address, console)
        return _send(cells, results, copy_to, console) and complete


def evaluate(results: ResultsFolder, overrides: list[str], console: Console) -> bool:
    """Score stored weights again, of tuned settings too, with these overrides of the evaluation block. False if
    something failed."""
    complete = True
    for part in results.parts():
        part.create()
        experiment = load_experiment(part.experiment_file, overrides)
        with run_lock(part):
            cells = _same_plan(experiment, part)
            write_plan(experiment, cells, part)
            todo = [cell for cell in cells if cell.state == "rescore"]
            console.print(f"{len(todo)} of {len(cells)} cells to score again, none to train")
            if stale := sum(cell.state == "stale" for cell in cells):
                console.print(
                    f"{stale} stale cells are not: their training code has changed, and weights may not fit it any "
                    "more; `run --rerun stale` trains them again"
                )
            complete = _run_cells(experiment, todo, part, "local", console) and complete
            complete = _send(cells, part, experiment.execution.copy_to, console) and complete
    console.print(f"report: {write_report(results)}", soft_wrap=True)
    return complete


def _same_plan(experiment: Experiment, results: ResultsFolder) -> list[Cell]:
    """The cells of a folder that stays what it is. Raises ExperimentError where its trials would be others today: then
    what is done would belong to no cell."""
    external_masks.finish_interrupted(results)
    planned = _planned(results)
    cells = make_plan(experiment, results)
    if others := planned - {cell.trial.id for cell in cells}:
        raise ExperimentError(
            f"{len(others)} of the {len(planned)} trials of {results.folder} would be others today: its data, or "
            "defaults that it relies on, have changed since. Bring them back, or `run` it into another folder"
        )
    return cells


def _planned(results: ResultsFolder) -> set[str]:
    """The trials of the folder's plan; no experiment names those of masks from elsewhere. Raises ResultsError."""
    return {cell["trial"] for cell in results.read_plan()["cells"] if cell["method"] != external_masks.FOREIGN}


def score(
    masks: Path, name: str, labelled: int, unlabelled: int, seed: int, results: ResultsFolder, console: Console
) -> bool:
    """Make the masks a row of a results folder, and write its report. False if they could not be copied."""
    results.read_plan()
    experiment = load_experiment(results.experiment_file)
    with run_lock(results):
        cells = _same_plan(experiment, results)
        trial = external_masks.score_masks(masks, name, labelled, unlabelled, seed, experiment, results)
        write_plan(experiment, cells, results)
        console.print(f"scored as {trial}; report: {write_report(results)}", soft_wrap=True)
        return _send(cells, results, experiment.execution.copy_to, console)


def predict(record: Path, images: Path, to: Path, normalise: str | None, console: Console) -> None:
    """Segment scans with a finished trial, one line each."""
    from benchmark.trial.new_scans import predict_scans

    for scan, labels in predict_scans(record, images, to, normalise):
        console.print(f"{scan}: {labels}", soft_wrap=True)


def _fetch(cells: list[Cell], results: ResultsFolder, uri: str) -> int:
    """Bring records that only the copy has, of a folder that was lost; how many."""
    from benchmark.records import remote_copies

    wanted = [cell.trial.id for cell in cells] + remote_copies.named(f"{external_masks.FOREIGN}-", uri)
    missing = [trial for trial in wanted if results.read_record(trial) is None]
    return len(remote_copies.fetch(results, missing, uri))


def _send(cells: list[Cell], results: ResultsFolder, uri: str | None, console: Console) -> bool:
    """Make the copy whole, where one is asked for: records that were done before it was, the plan and the cases. False
    if that fails, which is said and ends nothing: the results folder has everything."""
    if uri is None:
        return True
    from benchmark.records import remote_copies

    made = [cell.trial.id for cell in cells] + [cell["trial"] for cell in external_masks.cells_of(results)]
    try:
        remote_copies.send_missing(results, [trial for trial in made if results.read_record(trial) is not None], uri)
    except ResultsError as error:
        console.print(f"not copied: {error}", style="red", soft_wrap=True)
        return False
    return True


def _run_cells(
    experiment: Experiment, todo: list[Cell], results: ResultsFolder, address: str, console: Console
) -> bool:
    finished, failures = True, []
    if todo:
        from benchmark.cluster.scheduler import run_trials

        with ProgressView(todo, console) as view:
            finished = run_trials([cell.trial for cell in todo], results, experiment.execution, view, address)
        failures = view.failures
    for cell, reason in failures:
        c = cell.trial.cell
        line = f"failed: {c['display']}, {c['labelled']} labelled, seed {c['seed']}: {reason}"
        console.print(line, soft_wrap=True)
    if failures:
        console.print("`--retry-failed` tries them again, each from its last checkpoint if it has one")
    if not finished:
        console.print("stopped; checkpoints are saved: run the same command again to go on")
    for reason in external_masks.bring_up_to_date(experiment, results):
        console.print(f"not scored again: {reason}", soft_wrap=True)
    return finished and not failures


def dry_run(experiment: Experiment, results: ResultsFolder, again: set[str], console: Console) -> None:
    """Print every cell with its state and why, what would run, and an estimate of hours."""
    from benchmark.planning.estimate import seconds_of_training

    cells = make_plan(experiment, results)
    # A trial's name begins with its method, budget and seed; it is what other commands ask for.
    table = Table(Column("trial", no_wrap=True), "method", "draw", "role", "state", Column("", overflow="fold"))
    for cell in cells:
        c = cell.trial.cell
        table.add_row(c["trial"], c["display"], str(c["draw"]), c["role"], cell.state, cell.reason)
    console.print(table)
    todo = [cell for cell in cells if _to_run(cell, again)]
    _say_what(cells, todo, console)
    if experiment.tuning is not None:
        from benchmark.planning.tuning import most_trials, validation_cases

        held_out = ", ".join(validation_cases(experiment))
        search = f"up to {most_trials(experiment)} trials of search, scored on {held_out}"
        console.print(f"tuning: {search}; then all methods again with what it chose", soft_wrap=True)
    if train := [cell.trial for cell in todo if cell.state != "rescore"]:
        seconds = seconds_of_training(train, experiment)
        console.print(f"about {duration(seconds)} of training on this machine, one trial at a time (a rough estimate"
                      + (", without tuning)" if experiment.tuning else ")"))  # fmt: skip


def smoke(experiment: Experiment, console: Console) -> None:
    """Two steps and one window of every cell, in this process. Raises whatever goes wrong, with the cell's name."""
    import tempfile

    from benchmark.trial.smoke import smoke_test

    with tempfile.TemporaryDirectory() as empty:
        cells = make_plan(experiment, ResultsFolder(empty))
    seen = set()
    for cell in cells:
        c = cell.trial.cell
        if (c["display"], c["labelled"]) in seen:  # seeds and draws run the same code
            continue
        seen.add((c["display"], c["labelled"]))
        try:
            seconds = smoke_test(cell.trial, experiment.execution)
        except Exception as error:
            raise ExperimentError(
                f"smoke test of {c['display']} with {c['labelled']} labelled failed: "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        console.print(f"{c['display']}, {c['labelled']} labelled: ok, {seconds:.2f} s a step")
    console.print(f"all {len(seen)} kinds of cell run")


def show_methods(console: Console) -> None:
    """All methods, a line each."""
    table = Table(Column("name", no_wrap=True), "title", "year", "passes a step", "fidelity")
    for known in registry.names():
        info = registry.get(known).info
        table.add_row(known, info.title, str(info.year), str(info.passes), info.fidelity)
    console.print(table)


def show_method(method: str, console: Console) -> None:
    """What a method is, or all that a file registers, and its settings with what they may be."""
    for name in _names(method):
        shown = registry.get(name)
        console.print(f"{shown.info.title} ({shown.info.source}), {shown.info.fidelity}\n")
        console.print(f"{inspect.getdoc(shown) or ''}\n")
        table = Table(Column("setting", no_wrap=True), "default", "choices, or range to search", "meaning")
        for key, field in shown.Settings.model_fields.items():
            search = registry.search_of(field)
            may_be = registry.choices_of(field) or ([f"{search[0]} to {search[1]}"] if search else [])
            table.add_row(key, str(field.default), ", ".join(may_be), field.description or "")
        console.print(table)


def _names(method: str) -> list[str]:
    """The methods that a file registers, or the one of that name."""
    is_file = method.endswith(".py") or Path(method).is_file()
    return registry.load_plugin(method) if is_file else [method]


def check(method: str, console: Console) -> bool:
    """Hold a method, or all that a file registers, to the contract of methods. False if one breaks it."""
    from benchmark.contract import checks

    outcomes = []
    for name in _names(method):
        registry.get(name)  # refuses an unknown one before anything is said of it
        console.print(name)
        for outcome in checks.check(name):
            outcomes.append(outcome)
            reason = f": {outcome.reason}" if outcome.reason else ""
            style = "red" if outcome.state == "broken" else None
            console.print(f"  {outcome.state:<14}  {outcome.title}{reason}", style=style, soft_wrap=True)
    counts = Counter(outcome.state for outcome in outcomes)
    others = [f"{counts[state]} {state}" for state in ("does not apply", "broken") if counts[state]]
    console.print(", ".join([f"{counts['ok']} of {len(outcomes)} checks ok", *others]))
    return not counts["broken"]


def new_method(name: str, console: Console) -> None:
    """Write a starting file into the working directory and say how to check and run it."""
    path = registry.write_starting_file(name, Path.cwd(), date.today().year)
    script, demo = (os.path.relpath(CHECKOUT / file) for file in ("run_benchmark.py", "configs/demo.yaml"))
    console.print(f"wrote {path}; try it:", soft_wrap=True)
    console.print(f"  python {script} check {path.name}", soft_wrap=True)
    console.print(
        f"  python {script} run {demo} --plugin {path.name} "
        f"--set 'methods=[{registry.BASELINE}, {name}]' --set reference=null --results results/{name}",
        soft_wrap=True,
    )


def _to_run(cell: Cell, again: set[str]) -> bool:
    return cell.state in {"new", "running", "interrupted", "rescore"} | again


def _left_out(cells: list[Cell], results: ResultsFolder) -> int:
    """How many records of the folder's earlier plan belong to no cell of this one."""
    try:
        earlier = _planned(results)
    except ResultsError:  # none yet, or one that is mended now
        return 0
    return sum(results.read_record(trial) is not None for trial in earlier - {cell.trial.id for cell in cells})


def _say_what(cells: list[Cell], todo: list[Cell], console: Console) -> None:
    counts = Counter(cell.state for cell in cells)
    console.print(f"{len(cells)} cells: " + ", ".join(f"{n} {state}" for state, n in counts.items())
                  + f"; {len(todo)} to run")  # fmt: skip
    for state, option in KEPT.items():
        kept = [cell for cell in cells if cell.state == state and cell not in todo]
        if kept:
            line = f"{len(kept)} {state} cells stay as they are ({kept[0].reason}): `{option}` runs them again"
            console.print(line, soft_wrap=True)
