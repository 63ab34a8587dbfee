"""The command line. Heavy imports stand inside commands: `--help`, `status` and `report` need neither torch nor ray."""

import io
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark.cluster import stop_signals
from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder
from data.errors import UserError, visible
from data.progress import announced

app = typer.Typer(
    help="Compare semi-supervised methods for 3D medical image segmentation.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
data_app = typer.Typer(help="Fetch, check, prepare and show data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
RENAMED = {"score": "add-masks"}  # commands of earlier versions
INTERRUPTED = 130  # what the command-line library makes of Ctrl-C
console = Console(markup=False, highlight=False)  # names and reasons are text, brackets and all

Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the experiment. `KEY+=[…]` adds to a list, `KEY-=[…]` removes from it.",
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
Plugins = Annotated[list[Path], typer.Option("--plugin", metavar="FILE", help="A Python file that registers methods.")]
Renamed = Annotated[
    list[str], typer.Option("--column", metavar="OLD=NEW", help="A column of the CSV file that has another name.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the plug-ins that the results folder names. They are code.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="An experiment file, see configs/.")],
    overrides: Overrides = [],  # noqa: B006
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The results folder. Default: results/<experiment name>.")
    ] = None,
    plugins: Plugins = [],  # noqa: B006
    rerun: Annotated[
        Literal["stale"] | None, typer.Option(help="Train again what other numerics versions made.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed and diverged trials again.")] = False,
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A running Ray cluster: auto or HOST:PORT. Default: this machine.")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what is done and what would run, with an estimate of time.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try every trial for two steps and one window. Keep nothing.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Run the unfinished trials of an experiment, then write its report."""
    with announced("loading libraries", console):
        from benchmark.command_line import run_commands
        from benchmark.planning.experiment_file import load_experiment, load_stored_experiment
        from benchmark.planning.log_targets import check_loggers

    if results is not None and str(results).startswith("-"):
        raise ResultsError(f"--results {results}: give a folder after --results; this is an option")
    if str(results).startswith("~"):
        raise ResultsError(f"--results {results}: your shell knows no such home: write the whole path")
    stored = os.path.exists(
        ResultsFolder(config.parent).plan_file
    )  # the experiment of a results folder, not of the user
    experiment = (
        load_stored_experiment(config, overrides, list(map(str, plugins)), trust)
        if stored
        else load_experiment(config, overrides, list(map(str, plugins)))
    )
    check_loggers(experiment.execution)
    folder = ResultsFolder(results or Path("results") / experiment.name)
    also = ({"stale"} if rerun else set()) | ({"failed", "diverged"} if retry_failed else set())
    if smoke:
        run_commands.smoke(experiment, console)
    elif dry_run:
        run_commands.dry_run(experiment, folder, also, console)
    elif not run_commands.run(experiment, folder, also, address, console):
        raise typer.Exit(1)


@app.command()
def evaluate(
    folder: Folder,
    overrides: Overrides = [],  # noqa: B006
    check_metrics: Annotated[
        str | None,
        typer.Option("--check-metrics", metavar="TRIAL", help="Only compare this trial's scores with those of medpy."),
    ] = None,
    plugins: Plugins = [],  # noqa: B006
    trust: Trust = False,
) -> None:
    """Score the stored weights of a results folder again, under changed `evaluation.…` keys. Nothing is trained."""
    from benchmark.command_line import results_commands
    from benchmark.planning.experiment import ExperimentError

    if wrong := [override for override in overrides if not override.startswith("evaluation.")]:
        raise ExperimentError(
            f"--set {wrong[0]}: `evaluate` changes keys that begin with evaluation. only; to train under "
            "another protocol, `run` the experiment into another folder"
        )
    results = ResultsFolder(folder)
    results.read_plan()
    if check_metrics is not None:
        results_commands.check_metrics(results, check_metrics, console)
    elif not results_commands.evaluate(results, overrides, list(map(str, plugins)), trust, console):
        raise typer.Exit(1)


@app.command()
def add_masks(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="A folder with <case>.nii.gz of every test case.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the row in tables.")],
    results: Annotated[Path, typer.Option(metavar="DIR", help="The results folder to add the row to.")],
    labelled: Annotated[int, typer.Option(metavar="N", min=1, help="Training cases whose labels the tool used.")],
    unlabelled: Annotated[
        int, typer.Option(metavar="N", min=0, help="Training cases that the tool used without labels.")
    ] = 0,
    seed: Annotated[
        int, typer.Option(metavar="SEED", min=0, help="Number of the run, if the tool was trained several times.")
    ] = 0,
    plugins: Plugins = [],  # noqa: B006
    trust: Trust = False,
) -> None:
    """Add another tool's masks to a results folder as one more row, scored like its own rows."""
    from benchmark.command_line import results_commands

    folder, files = ResultsFolder(results), list(map(str, plugins))
    if not results_commands.add_masks(masks, name, labelled, unlabelled, seed, folder, files, trust, console):
        raise typer.Exit(1)


@app.command()
def remove_masks(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the row in tables.")],
    results: Annotated[Path, typer.Option(metavar="DIR", help="The results folder that has the row.")],
    plugins: Plugins = [],  # noqa: B006
    trust: Trust = False,
) -> None:
    """Remove a row that `add-masks` added, with all its budgets and seeds."""
    from benchmark.command_line import results_commands

    results_commands.remove_masks(name, ResultsFolder(results), list(map(str, plugins)), trust, console)


@app.command()
def predict(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A finished trial, RESULTS/records/TRIAL.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A scan or a folder of scans.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the labels, as NIfTI.")] = Path("predictions"),
    normalise: Annotated[
        Literal["zscore", "none"] | None,
        typer.Option(
            help="Instead of the trial's own. Use zscore for raw scans if the network was trained on z-scored files."
        ),
    ] = None,
    voxel: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="If scans state no voxel size or several: pixdim, sform, or mm such as 0.8,0.8,3."
        ),
    ] = None,
    plugins: Plugins = [],  # noqa: B006
    trust: Trust = False,
) -> None:
    """Segment new scans with a finished trial. Labels are written on the grid of each scan."""
    from benchmark.command_line import results_commands

    results_commands.predict(record, images, to, normalise, voxel, list(map(str, plugins)), trust, console)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Results folders.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the report. Default: report in the first folder.")
    ] = None,
    budgets: Annotated[
        list[str],
        typer.Option(
            "--budget", metavar="NAME=N,N", help="Numbers of labelled cases to compare, one for each data set in order."
        ),
    ] = [],  # noqa: B006
) -> None:
    """Write the report of a results folder. Several folders give one report, also those of several data sets."""
    from benchmark.command_line.reporting import show_report

    show_report(console, *map(ResultsFolder, folders), to=to, budgets=budgets)


@app.command()
def status(folder: Folder) -> None:
    """Show the state of every planned trial of a results folder, and its Dice."""
    from benchmark.command_line.cells import Line, print_cells
    from benchmark.records.case_values import mean_score
    from benchmark.records.collapse import far_below_in_rows
    from benchmark.records.selection import best_on_validation
    from benchmark.records.states import DONE, MEANING, planned_states

    results = ResultsFolder(folder)
    postprocessing = results.read_plan().evaluation.postprocessing
    states = planned_states(results)
    means = [mean_score(state.values or (), "dice", postprocessing) for _, state in states]
    low = far_below_in_rows((cell.row, cell.trial, 100 * dice) for (cell, _), dice in zip(states, means, strict=True))
    lines, marked = [], 0
    for (cell, state), dice in zip(states, means, strict=True):
        why = "; ".join(filter(None, [state.collapsed, low.get(cell.trial)]))
        marked += bool(why)
        reason = "; ".join(filter(None, [state.reason, f"collapsed: {why}" if why else "", state.peeked]))
        lines.append(Line(cell, state.state, reason, None if math.isnan(dice) else dice))
    print_cells(lines, console)
    console.print(f"{sum(state.state == DONE for _, state in states)} of {len(states)} cells done")
    for line in best_on_validation([(cell, state.curve) for cell, state in states], postprocessing):
        console.print(line, soft_wrap=True)
    if marked:
        console.print(f"{marked} collapsed without an error: tables count and mark them", soft_wrap=True)
    for name in dict.fromkeys(state.state for _, state in states if state.state != DONE):
        console.print(f"{name}: {MEANING[name]}", soft_wrap=True)


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(metavar="CSV", help="Columns method, seed, case, value. One line per score.")],
    reference: Annotated[str, typer.Option(metavar="METHOD", help="The method that the others are compared with.")],
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="Set this for distances and errors.")
    ] = False,
    margin: Annotated[
        float | None, typer.Option(metavar="X", min=0, help="A difference below this counts as none.")
    ] = None,
    columns: Renamed = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything computed to this CSV file.")
    ] = None,
) -> None:
    """Test the methods of any table of scores against a reference. Both seeds and cases count as samples."""
    from benchmark.command_line import statistics_commands

    statistics_commands.compare(file, reference, lower_is_better, margin, columns, out, console)


@app.command()
def compare_log(
    folder: Folder,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A training log of released code: text, or .csv.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="The row of the tables to hold against the log.")],
    labelled: Annotated[int, typer.Option(metavar="N", help="Its number of labelled cases.")],
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which Dice of the log, if it has several: student, teacher, …")
    ] = None,
    postprocessing: Annotated[
        Literal["none", "largest_component"], typer.Option(help="That of the log, which it does not say.")
    ] = "none",
) -> None:
    """Draw the runs of a row beside a training log. Say whether its last iterate lies where one more run may fall."""
    from benchmark.command_line import log_commands

    log_commands.compare_log(folder, log, method, labelled, column, postprocessing, console)


@app.command()
def plan_power(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR_OR_CSV", help="A results folder or CSV with scores that vary as yours will."
        ),
    ] = None,
    labelled: Annotated[int | None, typer.Option(metavar="N", help="Which budget of the scores to use.")] = None,
    columns: Renamed = [],  # noqa: B006
    methods: Annotated[int | None, typer.Option(metavar="N", min=2, help="Methods, the reference included.")] = None,
    cases: Annotated[int | None, typer.Option(metavar="N", min=2, help="Test cases.")] = None,
    seed_sd: Annotated[float | None, typer.Option(metavar="X", min=0, help="SD from seed to seed.")] = None,
    interaction_sd: Annotated[float | None, typer.Option(metavar="X", min=0, help="SD of method by case.")] = None,
    residual_sd: Annotated[float | None, typer.Option(metavar="X", min=0, help="SD of the residual.")] = None,
    draws: Annotated[
        bool | None, typer.Option("--draws/--seeds", help="Whether all methods share draws of the labelled cases.")
    ] = None,
    difference: Annotated[
        float | None, typer.Option(metavar="X", help="Also estimate how many seeds this difference needs.")
    ] = None,
) -> None:
    """Estimate which difference a number of seeds can detect, before you train."""
    from benchmark.command_line import statistics_commands

    given = {"methods": methods, "cases": cases, "seed_sd": seed_sd, "interaction_sd": interaction_sd,
             "residual_sd": residual_sd, "crossed": draws}  # fmt: skip
    statistics_commands.plan_power(source, labelled, columns, given, difference, console)


@app.command()
def methods(
    method: Annotated[
        str | None, typer.Argument(metavar="[NAME_OR_FILE]", help="A method, or a file that registers methods.")
    ] = None,
) -> None:
    """List all methods, or the settings of one method and their allowed values."""
    from benchmark.command_line import method_commands

    if method is None:
        method_commands.show_methods(console)
    else:
        method_commands.show_method(method, console)


@app.command()
def check(
    subject: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="A file that registers methods or networks, or a name.")
    ],
) -> None:
    """Check that a method or network keeps to its interface. Takes about a minute on the CPU, with phantoms."""
    from benchmark.command_line.check import check

    if not check(subject, console):
        raise typer.Exit(1)


@app.command()
def new_method(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, underscores.")],
    teacher: Annotated[bool, typer.Option("--teacher", help="Start from a student with an EMA teacher.")] = False,
) -> None:
    """Write NAME.py into the current folder: a small working method to start from."""
    from benchmark.command_line import method_commands

    method_commands.new_method(name, teacher, console)


@data_app.command()
def fetch(
    name: Annotated[Literal["la"], typer.Argument(help="la: the 100 left-atrium scans of 2018, 500 MB.")],
    to: Annotated[Path, typer.Option(metavar="DIR", envvar="SEMISEG_LA", help="Folder for the scans.")] = Path("la"),
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="URL_OR_DIR", help="A mirror or a local folder of <case>/mri_norm2.h5."),
    ] = None,
) -> None:
    """Download a public data set and check its checksums. Re-running skips files that are complete."""
    from benchmark.command_line import data_commands

    if not data_commands.fetch_la(to, origin, console):
        raise typer.Exit(1)


@data_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", envvar="SEMISEG_LA", help="A left-atrium folder.")],
) -> None:
    """Compare a left-atrium folder with the checksums of the distribution."""
    from benchmark.command_line import data_commands

    if not data_commands.verify_la(folder, console):
        raise typer.Exit(1)


@data_app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this one, or a YAML file of your own.")
    ] = None,
) -> None:
    """List the data sets with their published protocols, and what of them is on this machine."""
    from benchmark.command_line import data_commands
    from data.recipes.recipe import read_recipe

    if name is None:
        data_commands.recipes(console)
    else:
        data_commands.show_recipe(read_recipe(name), console)


@data_app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="One of `data recipes`, or a YAML file of your own.")],
    folder: Annotated[Path, typer.Option("--from", metavar="DIR", help="What was downloaded, at any depth.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the cases: by default the recipe's name.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out cases that are not there. Their lists get shorter.")
    ] = False,
    crop: Annotated[
        Literal["label", "centre"],
        typer.Option(help="Of la: crop around the ground truth, as published, or without looking at it."),
    ] = "label",
    seed: Annotated[int, typer.Option(metavar="SEED", help="Of la: seed of the crop's margins.")] = 0,
) -> None:
    """Make the cases of a published protocol from raw scans. Re-running skips cases that are done."""
    from benchmark.command_line import data_commands

    if name == "la":
        data_commands.prepare_la_raw(folder, to or Path("la-prepared"), seed, crop, console)
    else:
        data_commands.prepare(name, folder, to, skip_missing, console)


@data_app.command()
def example(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")],
) -> None:
    """Write a small folder of phantom scans as NIfTI, in the layout that `source: folder` reads."""
    from benchmark.command_line import data_commands

    data_commands.example(folder, console)


@data_app.command()
def info(
    source: Annotated[
        Path, typer.Argument(metavar="CONFIG_OR_DIR", help="An experiment file, or a folder with imagesTr.")
    ],
    overrides: Overrides = [],  # noqa: B006
    picture: Annotated[Path, typer.Option(metavar="FILE", help="File for the picture.")] = Path("data.png"),
) -> None:
    """List all cases with their sizes and volumes, draw some, and suggest settings for the experiment file."""
    from benchmark.command_line.data_info import show_data
    from benchmark.planning.experiment_file import data_of

    if not show_data(data_of(source, overrides), picture, console):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line. What a user can mend is one line on stderr and exit status 2, never a traceback.

    Ended by a signal, the status is the shell's: 143 for SIGTERM, 129 for SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know ASCII alone, and a path may hold any bytes
            stream.reconfigure(errors="backslashreplace")
    stop_signals.install()
    wrong = 2
    try:
        status = app(standalone_mode=False)
        if status != INTERRUPTED:
            sys.exit(status)
        message = "interrupted; run the same command again to go on"
        if (signal := stop_signals.received()) is not None:
            message, wrong = stop_signals.message(signal), 128 + signal
    except UserError as error:
        message = visible(" ".join(str(error).splitlines()))  # a file's name may have two lines
    except Exception as error:
        if not hasattr(error, "format_message"):  # what the command-line library says of a wrong option
            raise
        if sys.argv[1:2] and (new := RENAMED.get(sys.argv[1])):
            error.format_message = lambda: f"the command {sys.argv[1]!r} is now called {new!r}"
        message = f"{error.format_message().rstrip('.')}; see --help" if sys.argv[1:] else "no command given"
    print(f"error: {message}", file=sys.stderr)
    sys.exit(wrong)
