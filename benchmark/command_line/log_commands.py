"""What `compare-log` does: a row against a training log of released code. Needs neither torch nor the data."""

from pathlib import Path

from rich.console import Console

from benchmark.records.results_folder import ResultsFolder
from reports.figures import training_log
from reports.log_comparison import compare_with_log
from reports.results import read_results
from reports.training_logs import LogError, read_log


def compare_log(
    folder: Path, file: Path, method: str, labelled: int, column: str | None, postprocessing: str, console: Console
) -> None:
    """Print how a log's last iterate lies to our seeds, and draw both into DIR/report/logs."""
    log = read_log(file, column)
    compared = compare_with_log(read_results(folder), log, method, labelled, postprocessing)
    ours = ", ".join(f"{curve.iloc[-1]:.2f} (seed {seed})" for seed, curve in compared.runs)
    best = log.idxmax()
    for line in (
        f"log: last Dice {log.iloc[-1]:.2f} at iteration {log.index[-1]}, best {log[best]:.2f} at iteration {best}",
        f"{compared.row}, postprocessing {postprocessing}: last Dice {ours}",
        compared.verdict,
    ):
        console.print(line, soft_wrap=True)
    target = ResultsFolder(folder).folder / "report" / "logs"
    try:
        target.mkdir(parents=True, exist_ok=True)
        picture, _ = training_log.draw(compared, target, f"{file.stem}_{labelled}")
    except OSError as error:
        raise LogError(f"{target} cannot be written: {error}") from error
    console.print(f"figure: {picture}", soft_wrap=True)
