"""Which tests a report applies to what: every row of a budget against the plan's reference."""

import numpy as np
import pandas as pd

from reports import statistics
from reports.measures import DICE, Measure, Scores, hd95, held_back, with_rows
from reports.results import Results

LEVEL = statistics.LEVEL

KEYS = ["labelled", "unlabelled", "role", "method", "display", "settings", "row", "measure", "reference"]
COLUMNS = KEYS + statistics.PAIR + statistics.RANKS


def significance(results: Results, scores: Scores) -> pd.DataFrame:
    """Test every row of the tables against the reference method.

    The seed-aware tests of a family share the pool of its run variances, as `statistics.run_pool` explains.

    The reference is the plan's, a display name, in the same budget. Dice and 95HD are tested, under the plan's
    postprocessing. A family is one measure in one budget. Holm's correction and ranks are within a family. Ceilings
    belong to no family, and neither do rows whose mean lacks a run that failed or diverged (`held_back`).

    Args:
        results: what a results folder holds.
        scores: score tables of these results, as from `reports.scores.scores`.

    Returns:
        One line per row and measure that have values. NaN where there is nothing to test. Its columns, in groups:

        - difference: mean of the reference minus mean of the row, in the measure's unit.
        - cases_...: the customary paired t-test over cases, runs averaged first.
        - wilcoxon_...: Wilcoxon's test on the same values.
        - seeds_...: the seed-aware test. seeds_crossed: whether it pairs draws of the labelled cases.
        - bootstrap_low, bootstrap_high: 95 % interval over runs and cases. With few runs it is too narrow.
        - equivalence_p: of two one-sided tests with the seed-aware test's variance, that the difference is smaller than
          `margin`, the plan's, in points of Dice. Other measures have none.
        - verdict: "different", "equivalent", "different within margin" or "open", by the Holm-corrected p of both
          tests.
        - reference_better: how often one run of the reference is better than one of the row in the same case.
        - ..._p_holm: p, corrected for the `comparisons` of the family.
        - ..._detectable: the true difference that the test finds with 80 % power, at the level that Holm's correction
          asks of the smallest p of the family.
        - rank, rank_low, rank_high, rank_first: by the mean, and over resampled runs and cases.
        - mean_case_rank, friedman_..., nemenyi_...: from ranks within each case.
    """
    rows = with_rows(results.cells).drop_duplicates("row")
    tested = (DICE, hd95(results))
    found = {measure: families(results, scores, measure) for measure in tested}
    lines = []
    for labelled in sorted(rows.loc[rows["role"] != "ceiling", "labelled"].unique()):
        for measure in tested:
            tables = found[measure].get(labelled, {})
            of = rows[rows["row"].isin(tables)]
            lines += _family(of, tables, measure, results.plan.reference, results.plan.report.margin)
    return pd.DataFrame(lines, columns=COLUMNS)


def families(results: Results, scores: Scores, measure: Measure = DICE) -> dict[int, dict[int, pd.DataFrame]]:
    """{number of labelled cases: {row: score table}}, of the rows that are tested and ranked together."""
    rows = with_rows(results.cells).drop_duplicates("row")
    rows = rows[~rows["row"].isin(held_back(results))]
    postprocessing = results.plan.evaluation.postprocessing
    found: dict[int, dict[int, pd.DataFrame]] = {}
    for row, labelled in rows.loc[rows["role"] != "ceiling", ["row", "labelled"]].to_numpy():
        if (table := scores.get((row, postprocessing, measure.name))) is not None:
            found.setdefault(labelled, {})[row] = table
    return found


def decision(line: pd.Series) -> tuple[float, bool]:
    """The p value that decides about a line of `significance`.

    The seed-aware test decides about methods. With one run of either method there is no such test. Then the test over
    cases decides, and only about checkpoints. Two runs in a small family decide nothing: p is NaN.

    Returns:
        The Holm-corrected p value, and whether it is the seed-aware test's.
    """
    seed_aware = pd.notna(line["seeds_p_holm"]) or line["seeds_reason"] == statistics.TWO_SEEDS
    return (line["seeds_p_holm"] if seed_aware else line["cases_p_holm"]), seed_aware


def _family(
    rows: pd.DataFrame, tables: dict[int, pd.DataFrame], measure: Measure, name: str | None, margin: float
) -> list[dict]:
    """The lines of one measure in one budget; `name` is the reference's, `tables` has the scores by row."""
    reference = next(iter(rows.loc[rows["display"] == name, "row"]), None)
    margin = margin if measure is DICE else np.nan
    found = statistics.compare_family(tables, reference, measure.larger_is_better, margin)
    return [
        row | found[row["row"]] | {"measure": measure.name, "reference": None if reference is None else name}
        for row in rows[[key for key in KEYS if key in rows]].to_dict("records")
    ]
