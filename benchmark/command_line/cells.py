"""The cells of a plan, for `status` and `--dry-run`: a line each, then the reasons, each once."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Column, Table

from benchmark.records.models import Cell, name_with_role
from data.errors import one_line


@dataclass(frozen=True)
class Line:
    """state and reason: as `CellState` has them. dice: between 0 and 1, of a finished trial."""

    cell: Cell
    state: str
    reason: str
    dice: float | None = None


def print_cells(lines: Iterable[Line], console: Console) -> None:
    """Print a table of cells that fits into 80 characters, and below it why cells are in their state."""
    lines = list(lines)
    has_dice = any(line.dice is not None for line in lines)
    columns = [Column("trial", no_wrap=True), Column("method", no_wrap=True, overflow="ellipsis"), "state"]
    columns += [Column("Dice", justify="right")] * has_dice
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for line in lines:
        dice = "" if line.dice is None else f"{100 * line.dice:.2f}"
        table.add_row(line.cell.trial, _title(line.cell), line.state, *[dice] * has_dice)
    console.print(table)
    _print_patches([line.cell for line in lines], console)
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.reason:
            reasons.setdefault((line.state, one_line(line.reason)), []).append(line.cell.trial)
    for (state, reason), trials in reasons.items():
        which = trials[0] if len(trials) == 1 else f"{len(trials)} trials"
        console.print(f"{state} ({which}): {reason}", soft_wrap=True)


def _print_patches(cells: list[Cell], console: Console) -> None:
    """Which methods take how many patches a step."""
    methods: dict[tuple[int, int], list[str]] = {}
    for cell in cells:
        if cell.patches is not None:
            methods.setdefault(cell.patches, []).append(cell.display)
    for (labelled, unlabelled), names in methods.items():
        which = ", ".join(dict.fromkeys(names))
        console.print(f"{labelled} labelled + {unlabelled} unlabelled patches a step: {one_line(which)}")


def _title(cell: Cell) -> str:
    draw = "" if cell.draw == "first" else f", draw {cell.draw}"
    return one_line(f"{name_with_role(cell.display, cell.role)}{draw}")
