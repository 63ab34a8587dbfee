"""Writes the report of a results folder and prints its main figures. Needs neither torch nor the data."""

import os
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from benchmark.records.files import ResultsError
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.selection import best_on_validation
from data.progress import announced
from reports.results import Results
from reports.tables.table import Block, Cell

STYLES = {1: "bold", 2: "underline"}  # of the best and the second best


def show_report(console: Console, *folders: ResultsFolder, to: Path | None = None, budgets: Sequence[str] = ()) -> None:
    """Write the report of results folders, with their tuned parts. Print Dice, 95HD and the report's path.

    Args:
        console: where it is printed.
        folders: results folders.
        to: the folder of the report; by default `report` in the first results folder.
        budgets: which budgets of several data sets belong together, each NAME=NUMBER,NUMBER,...

    Raises:
        ResultsError: a folder has no plan that can be used, `budgets` does not fit, or the report cannot be written.
    """
    with announced("loading the report's libraries", console):
        from reports import report

    parts = {os.path.realpath(part.folder): part for folder in folders for part in folder.parts()}
    to = to or folders[0].folder / "report"
    try:
        with announced("writing the report", console):
            experiments, over = report.write_report([part.folder for part in parts.values()], to, budgets)
    except OSError as error:
        raise ResultsError(
            f"{to} cannot be written: {error}; records are complete. Make room or make it writable, then run `report` "
            "again"
        ) from error
    for experiment in experiments:
        _print_blocks(experiment.cuts[0].blocks, console)
        _print_best_on_validation(experiment.results, console)
    if over is not None:
        _print_blocks(over.cut.blocks if over.cut else [], console)
        if over.reason:
            console.print(over.reason, soft_wrap=True)
    console.print(f"report: {to / 'index.html'}", soft_wrap=True)


def _print_blocks(blocks: Sequence[Block], console: Console) -> None:
    for block in blocks:
        console.print(_table(block))
        for note in block.notes:
            console.print(note, soft_wrap=True)


def _print_best_on_validation(results: Results, console: Console) -> None:
    runs = [(cell, results.curves.get(cell.trial, ())) for cell in results.plan.cells]
    for line in best_on_validation(runs, results.plan.evaluation.postprocessing):
        console.print(line, soft_wrap=True)


def _table(block: Block) -> Table:
    first, *others = block.columns
    # a budget stands below its measure: that leaves room for names in 80 characters
    numbers = [Column(Text(column.label.replace(" (", "\n(")), justify="right") for column in others]
    table = Table(
        Column(Text(first.label)),
        *numbers,
        box=box.SIMPLE_HEAD,
        title=Text(block.heading),
        title_justify="left",
        pad_edge=False,
    )
    for row in block.rows:
        if row.rule:
            table.add_section()
        table.add_row(*map(_text, row.cells))
    return table


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=STYLES.get(cell.rank, ""))
