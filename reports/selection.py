"""Dice of the checkpoints that were chosen after training, beside that of the last."""

import numpy as np
import pandas as pd

from benchmark.records.case_values import BEST_ON_TEST, BEST_ON_VALIDATION, CHECKPOINT, SELECTED
from reports.measures import DICE, scores
from reports.results import Results

RULES = {
    CHECKPOINT: "last",
    BEST_ON_VALIDATION: "best on validation",
    BEST_ON_TEST: "best on test (oracle: chosen with test labels)",
}
GAIN = "oracle_minus_last"
KNOWN_SIZES = (
    "Known sizes on the left atrium and the pancreas are mostly 0.3 to 0.8 points: AD-MT 0.28 to 0.47 in three of its "
    "logs and 4.77 in the fourth (Pancreas-CT, 12 labelled), TraCoCo 0.57, TCSeg 0.57 to 0.79."
)


def column_of(rule: str, what: str) -> str:
    """What columns of the tables' frames are called.

    Example:
        >>> column_of("best_on_test", "mean")
        'dice_percent_best_on_test_mean'
    """
    return f"{DICE.name}_{rule}_{what}"


def rules_of(results: Results) -> list[str]:
    """The rules other than the last checkpoint that any run has values of."""
    found = set(results.cases["checkpoint"])
    return [rule for rule in SELECTED if rule in found]


def selected_scores(results: Results) -> dict[str, dict[int, pd.DataFrame]]:
    """{rule: {row: Dice of its runs and cases, as in `scores`}}, of the last checkpoint, too, under the plan's
    postprocessing. Empty where there is no other. A row stands under a rule if all of its runs have values."""
    headline = results.plan.evaluation.postprocessing
    rules = [CHECKPOINT, *rules_of(results)]
    return {
        rule: {
            row: table
            for (row, postprocessing, _), table in scores(results, (DICE,), checkpoint=rule).items()
            if postprocessing == headline
        }
        for rule in (rules if len(rules) > 1 else ())
    }  # fmt: skip


def with_selected(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the tables with mean and standard deviation over cases under each rule other than the last."""
    columns = {}
    for rule, tables in selected_scores(results).items():
        if rule != CHECKPOINT:
            by_case = [tables[row].mean() if row in tables else pd.Series(dtype=float) for row in rows["row"]]
            columns[column_of(rule, "mean")] = [of.mean() for of in by_case]
            columns[column_of(rule, "sd")] = [of.std(ddof=1) for of in by_case]
    return rows.assign(**columns)


def selected_runs(results: Results) -> pd.DataFrame:
    """One line for each run of a row that has an oracle: `row`, `trial`, its mean Dice in percent under each rule,
    `oracle_minus_last`, and `…_iteration` where it is known which one a rule took."""
    tables = selected_scores(results)
    lines = []
    for row in tables.get(BEST_ON_TEST, {}):
        means = pd.DataFrame({rule: of[row].mean(axis=1) for rule, of in tables.items() if row in of})
        means.insert(0, "trial", means.index.get_level_values("trial"))
        lines.append(means.assign(row=row))
    if not lines:
        return pd.DataFrame(columns=["row", "trial", GAIN])
    frame = pd.concat(lines, ignore_index=True)
    chosen = _iterations(results)
    for rule in rules_of(results):
        frame[f"{rule}_iteration"] = [chosen.get((trial, rule), np.nan) for trial in frame["trial"]]
    return frame.assign(**{GAIN: frame[BEST_ON_TEST] - frame[CHECKPOINT]})


def _iterations(results: Results) -> dict[tuple[str, str], int]:
    """The iteration that a rule took in a trial, under the plan's postprocessing."""
    headline = results.plan.evaluation.postprocessing
    return {
        (trial, point.chosen): point.iteration
        for trial, points in results.curves.items()
        for point in points
        if point.chosen and point.postprocessing == headline
    }
