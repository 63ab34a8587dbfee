"""Three ways to choose a checkpoint, from one run. Nothing here is ranked or tested."""

from functools import partial

import pandas as pd

from benchmark.records.case_values import BEST_ON_TEST, CHECKPOINT
from reports.results import Results
from reports.selection import GAIN, KNOWN_SIZES, RULES, column_of, rules_of, selected_runs
from reports.tables.formats import FAULTS, MISSING, number, signed, state_of
from reports.tables.notes import evaluation_note, with_notes
from reports.tables.table import LABELLED, NAME, SEEDS, Block, Column, Table, by_budget, ranked_rows

KEYS = ["row", "labelled", "unlabelled", "role", "method", "display", "settings", "fidelity", "stale", "peeked",
        "runs_done", "runs_counted", "runs_planned", "states", "draws", *FAULTS]  # fmt: skip
STATISTICS = {"mean": "mean", "median": "median", "max": "highest"}


def selection(results: Results, rows: pd.DataFrame) -> Table | None:
    """A block for each budget; `rows` as of `table_rows`. None where no run has other checkpoints than the last."""
    rules = [CHECKPOINT, *rules_of(results)]
    if len(rules) == 1:
        return None
    frame = selection_frame(results, rows, rules)
    columns = [NAME, LABELLED, *(_dice(rule) for rule in rules), GAIN_COLUMN, *map(_iterations, rules[1:]), SEEDS]
    blocks = [Block(heading, columns, ranked_rows(columns, lines, state_of)) for heading, lines in by_budget(frame)]
    lacking = frame.loc[(frame["runs_done"] > 0) & frame[column_of(BEST_ON_TEST, "mean")].isna(), "display"].unique()
    evaluation, spent = results.plan.evaluation, results.plan.data.validation_cases
    notes = [
        evaluation_note(results),
        f"Weights were stored every {evaluation.checkpoints} iterations and at the end. A rule takes those with the "
        "highest mean Dice of a run, the first of equals. Each cell has the mean over runs (seeds and draws), then in "
        "brackets their median and maximum. Nothing here is ranked or tested. All other tables are of the last "
        "checkpoint.",
        *([f"Best on validation: chosen on the cases that “(+{spent} val)” counts."] if spent else []),
        f"{ORACLE} Oracle − last: the mean over runs, and the lowest and highest run. {KNOWN_SIZES}",
        *([LACKING.format(names=", ".join(lacking))] if len(lacking) else []),
    ]
    return with_notes(results, "selection", frame, blocks, notes, title="choice of the checkpoint")


def selection_frame(results: Results, rows: pd.DataFrame, rules: list[str]) -> pd.DataFrame:
    """One line for each row of `table_rows`.

    `…_mean`, `…_median`, `…_highest` over runs, of the mean Dice of a run under a rule. `…_oracle_minus_last_…`: the
    same of differences, and their lowest. `…_iterations`: which each run took, in the order of runs.
    """
    by_row = selected_runs(results).groupby("row")
    figures = {}
    for column in (*rules, GAIN):
        for statistic, name in STATISTICS.items():
            figures[column_of(column, name)] = by_row[column].agg(statistic)
    figures[column_of(GAIN, "lowest")] = by_row[GAIN].min()
    for rule in rules[1:]:
        figures[f"{rule}_iterations"] = by_row[f"{rule}_iteration"].agg(_listed)
    keys = [*KEYS, *(["validation_cases"] if "validation_cases" in rows else [])]
    return rows[keys].merge(pd.DataFrame(figures), left_on="row", right_index=True, how="left")


def _listed(iterations: pd.Series) -> str:
    return ", ".join(f"{iteration:.0f}" for iteration in iterations.dropna())


def _dice(rule: str) -> Column:
    return Column(
        column_of(rule, "mean"), f"Dice [%], {RULES[rule]}: mean (median, maximum)", line=partial(_three, rule),
        figure=True,
    )  # fmt: skip


def _three(rule: str, line: dict) -> str:
    mean, median, highest = (line[column_of(rule, name)] for name in STATISTICS.values())
    return MISSING if pd.isna(mean) else f"{number(mean)} ({number(median)}, {number(highest)})"


def _gain(line: dict) -> str:
    mean, low, high = (line[column_of(GAIN, name)] for name in ("mean", "lowest", "highest"))
    return MISSING if pd.isna(mean) else f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def _iterations(rule: str) -> Column:
    return Column(
        f"{rule}_iterations", f"Iterations, {RULES[rule].partition(':')[0].replace(' (oracle', '')}",
        lambda text: text if isinstance(text, str) and text else MISSING, numeric=False,
    )  # fmt: skip


GAIN_COLUMN = Column(column_of(GAIN, "mean"), "Oracle − last [lowest, highest run]", line=_gain)
LACKING = "Cells with –: some run of {names} stored no checkpoints, or diverged."
ORACLE = (
    "Best on test (oracle): chosen with the labels of the test cases, which no user of a method has. It says how much "
    "a figure can gain by that. It is no result."
)
