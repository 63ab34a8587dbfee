"""The comparison of each structure by itself, where there are several."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from reports.measures import Measure, measures, scores, structure_names
from reports.results import Results
from reports.significance import significance
from reports.tables.comparison import comparison_block, significance_mark
from reports.tables.formats import state_of
from reports.tables.notes import evaluation_note, ranks_note, with_notes
from reports.tables.rows import table_rows
from reports.tables.table import NAME, Block, Row, Table, by_budget, measure_column, ranked_rows

MEAN = "mean"  # over structures, in the column `structure` of statistics.csv
NOTE = (
    "Each structure by itself. Columns, marks and tests are those of the comparison, which has the mean over "
    "structures. Holm's correction is within a structure and a budget. Nothing is corrected for the number of "
    "structures: decide before you look which one a claim is about."
)


def with_structure(tests: pd.DataFrame, name: str) -> pd.DataFrame:
    """Tests with a column that says what they are of: a structure, or the mean over structures."""
    place = list(tests.columns).index("measure")
    return tests.assign(structure=name)[[*tests.columns[:place], "structure", *tests.columns[place:]]]


def structures(results: Results) -> tuple[Table | None, pd.DataFrame | None]:
    """The comparison of each structure: in each budget a block with all structures and a block for each of them.

    Returns:
        The table, and the tests of all structures as `significance` has them, with a column `structure`. Both are None
        where there is only one structure.
    """
    names = structure_names(results)
    if len(names) == 1:
        return None, None
    shown, wanted = measures(results), results.plan.reference
    rows, tests = {}, {}
    for number, name in names.items():
        scored = scores(results, structure=number)
        tests[name] = with_structure(significance(results, scored), name)
        rows[name] = table_rows(results, scored, tests[name], number)
    budgets = {name: by_budget(lines) for name, lines in rows.items()}
    blocks = []
    for place in range(min(map(len, budgets.values()))):
        of_budget = {name: lines[place] for name, lines in budgets.items()}
        blocks.append(_side_by_side(of_budget, shown))
        blocks += [
            comparison_block(f"{heading}: {name}", lines, tests[name], shown, wanted)
            for name, (heading, lines) in of_budget.items()
        ]
    frame = pd.concat([lines.assign(structure=name) for name, lines in rows.items()], ignore_index=True)
    frame = frame[["structure", *frame.columns.drop("structure")]]
    notes = [evaluation_note(results), NOTE, ranks_note(frame)]
    table = with_notes(results, "structures", frame, blocks, notes)
    return table, pd.concat(tests.values(), ignore_index=True)


def _side_by_side(of_budget: dict[str, tuple[str, pd.DataFrame]], shown: Sequence[Measure]) -> Block:
    """Dice and 95HD of all structures in one budget.

    Args:
        of_budget: of each structure heading and rows, as `by_budget` has them.
        shown: Dice, Jaccard, ASD and 95HD.
    """
    figures = [measure_column(shown[0], significance_mark), measure_column(shown[-1])]
    parts = [ranked_rows([NAME, *figures], lines, state_of) for _, lines in of_budget.values()]
    rows = []
    for of_row in zip(*parts, strict=True):
        first, cells = of_row[0], [cell for row in of_row for cell in row.cells[1:]]
        if any(cell.span > 1 for cell in cells):  # a row without results says its state once
            cells = [replace(cells[0], span=len(figures) * len(of_budget))]
        rows.append(Row([first.cells[0], *cells], first.rule))
    columns = [replace(column, label=f"{name}: {column.label}") for name in of_budget for column in figures]
    heading = next(iter(of_budget.values()))[0]
    return Block(f"{heading}: all structures", [NAME, *columns], rows)
