"""The comparison of each structure by itself, where there are several."""

import pandas as pd

from reports.measures import measures, scores, structure_names
from reports.results import Results
from reports.significance import significance
from reports.tables.comparison import comparison_block
from reports.tables.notes import evaluation_note, ranks_note, with_notes
from reports.tables.rows import table_rows
from reports.tables.table import Table, by_budget

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
    """A block for each budget and structure, and the tests of all structures as `significance` has them.

    Returns:
        The table, and the tests with a column `structure`. Both are None where there is only one structure.
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
    blocks = [
        comparison_block(f"{budgets[name][place][0]}: {name}", budgets[name][place][1], tests[name], shown, wanted)
        for place in range(min(map(len, budgets.values())))
        for name in names.values()
    ]
    frame = pd.concat([lines.assign(structure=name) for name, lines in rows.items()], ignore_index=True)
    frame = frame[["structure", *frame.columns.drop("structure")]]
    notes = [evaluation_note(results), NOTE, ranks_note(frame)]
    table = with_notes(results, "structures", frame, blocks, notes)
    return table, pd.concat(tests.values(), ignore_index=True)
