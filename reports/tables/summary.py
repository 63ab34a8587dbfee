"""The result in one look: methods by budgets, with Dice, 95HD and seeds. The terminal shows it after a run."""

from collections.abc import Sequence

import pandas as pd

from reports.measures import DICE, Measure, hd95
from reports.results import Results
from reports.significance import LEVEL
from reports.tables.comparison import BY_CASES, BY_SEEDS, significance_mark
from reports.tables.faults import never_found_notes
from reports.tables.formats import FAULT, FAULTS, number, with_mean_of_all
from reports.tables.notes import with_notes
from reports.tables.sweep import across_budgets
from reports.tables.table import SEEDS, Block, Column, Table

AT_ONCE = 2  # budgets side by side: more do not fit into 80 characters


def summary(results: Results, rows: pd.DataFrame) -> Table:
    """A block for each two budgets; `rows` as of `table_rows`."""
    budgets = sorted(rows.loc[rows["role"] != "ceiling", "labelled"].unique())
    blocks = [_block(results, rows, budgets[at : at + AT_ONCE]) for at in range(0, len(budgets), AT_ONCE)]
    return with_notes(results, "summary", rows, blocks, [])


def _block(results: Results, rows: pd.DataFrame, budgets: Sequence[int]) -> Block:
    distance = hd95(results)
    shown = [
        (column, f"{title} ({budget})" if len(budgets) > 1 else title, budget)
        for budget in budgets
        for title, column in (("Dice", mean_column(DICE)), ("95HD", mean_column(distance)), ("Seeds", SEEDS))
    ]
    block = across_budgets(rows, f"{' and '.join(map(str, budgets))} labelled cases", shown)
    unit = "mm" if distance.shown_unit == "mm" else "voxels"
    notes = [f"Dice in %, 95HD in {unit}: means over {results.plan.data.test} test cases."]
    notes += figure_notes(rows[rows["labelled"].isin(budgets) | rows["role"].eq("ceiling")])
    if budgets[-1] == rows.loc[rows["role"] != "ceiling", "labelled"].max():
        notes += never_found_notes(results)
    return Block(block.heading, block.columns, block.rows, notes)


def figure_notes(rows: pd.DataFrame) -> list[str]:
    """What the marks and brackets at the figures of these rows mean."""
    marked = rows[rows["significant"].astype(bool)]
    tests = {"seeds": (BY_SEEDS, "seed-aware test"), "cases": (BY_CASES, "t-test over cases alone")}
    notes = [
        f"{mark} differs from {marked['reference'].iloc[0]} by the {test} (p < {LEVEL:g}, Holm-corrected)."
        for kind, (mark, test) in tests.items()
        if (marked["decided_by"] == kind).any()
    ]
    if rows[FAULTS].to_numpy().any():
        notes.append(f"{FAULT} Runs of this row collapsed, diverged or failed. The comparison names them.")
    if rows["left_out"].any():
        notes.append("In brackets: the mean with the worst values for runs that are left out.")
    return notes


def mean_column(measure: Measure) -> Column:
    """The mean of a measure; that of Dice with its mark."""
    key = f"{measure.name}_mean"

    def text(line: dict) -> str:
        mean = with_mean_of_all(number(line[key]), line[f"{measure.name}_mean_of_all"])
        return mean + significance_mark(line) * (measure is DICE)

    return Column(key, measure.label, line=text, better=measure.better, figure=True)
