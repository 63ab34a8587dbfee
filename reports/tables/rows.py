"""The numbers that all tables begin with. A row is a method with its settings at one budget."""

from collections.abc import Sequence

import pandas as pd

from benchmark.records.states import DONE
from reports.measures import DICE, ROW_KEYS, Measure, Scores, empty_predictions, measures, with_rows
from reports.results import Results
from reports.significance import LEVEL, decision

DESCRIPTION = ["variant", "year", "source", "fidelity"]
RUNS = ["runs_planned", "runs_done", "seeds", "draws", "states", "reasons", "stale", "peeked"]
FIGURES = ["mean", "sd", "seed_sd", "run_low", "run_high", "cases"]  # of each measure
COUNTS = ["cases", "predictions", "empty"]
TEST = ["reference", "difference", "low", "high", "interval", "cases_p_holm", "cases_reason", "seeds_p_holm",
        "seeds_reason", "significant", "decided_by", "rank", "rank_low", "rank_high"]  # fmt: skip


def table_rows(results: Results, scores: Scores, tests: pd.DataFrame, structure: int | None = None) -> pd.DataFrame:
    """One line for each row, under the plan's postprocessing, of means over structures or of one structure.

    Budgets ascend. In each the floor stands before the methods, which are in the plan's order. Ceilings are last.
    `…_mean`, `…_sd` (n - 1): over test cases; each case is averaged over classes, then over runs (seeds and draws).
    `…_seed_sd`, `…_run_low`, `…_run_high`: over runs, of their means over cases. `…_cases`: cases that have a value;
    `cases`: those with a Dice. `empty`: predictions without a voxel though there is a structure to find, of all runs x
    cases x classes.
    Tests (on Dice) come from `tests`, the frame of `significance`, which explains them. `interval` says where `low`
    and `high` come from: the bootstrap if there is one, else the paired t-test over cases.
    """
    cells = with_rows(results.cells)
    postprocessing = results.plan.evaluation.postprocessing
    empty = empty_predictions(results, structure)
    empty = empty[empty.index.get_level_values("postprocessing") == postprocessing].droplevel("postprocessing")
    tested = tests[tests["measure"] == DICE.name].set_index("row")
    lines = []
    for row, group in cells.groupby("row", sort=False):
        line = {"row": row} | group.iloc[0][ROW_KEYS + DESCRIPTION].to_dict() | _runs(group)
        line |= empty[empty.index.isin(group["trial"])].sum().to_dict()
        line |= summaries(scores, row, postprocessing, measures(results))
        line["cases"] = line[f"{DICE.name}_cases"]
        lines.append(line | {"significant": False} | (_test(tested.loc[row]) if row in tested.index else {}))
    figures = [f"{measure.name}_{what}" for measure in measures(results) for what in FIGURES]
    frame = pd.DataFrame(lines, columns=["row", *ROW_KEYS, *DESCRIPTION, *RUNS, *figures, *COUNTS, *TEST])
    ceiling, floor = frame["role"].eq("ceiling"), frame["role"].eq("floor")
    order = pd.DataFrame({"ceiling": ceiling, "labelled": frame["labelled"], "method": ~floor})
    return frame.loc[order.sort_values(list(order), kind="stable").index].reset_index(drop=True)


def _runs(group: pd.DataFrame) -> dict:
    counts = group["state"].mask(group["scored"].astype(bool), DONE).value_counts(sort=False)
    return {
        "runs_planned": len(group),
        "runs_done": int(group["scored"].sum()),
        "seeds": " ".join(map(str, group["seed"].unique())),
        "draws": " ".join(map(str, group["draw"].unique())),
        "states": "; ".join(f"{count} {state}" for state, count in counts.items()),
        "reasons": "; ".join(reason for reason in group["reason"].unique() if reason),
        "stale": int(group["stale"].ne("").sum()),
        "peeked": int(group["peeked"].ne("").sum()),
    }


def summaries(scores: Scores, row: int, postprocessing: str, of: Sequence[Measure]) -> dict:
    """The FIGURES of a row in several measures; without scores no case has a value."""
    line = {}
    for measure in of:
        figures: dict = {"cases": 0}
        if (runs := scores.get((row, postprocessing, measure.name))) is not None:
            by_case, by_run = runs.mean(), runs.mean(axis=1)
            figures = {
                "mean": by_case.mean(), "sd": by_case.std(ddof=1), "seed_sd": by_run.std(ddof=1),
                "run_low": by_run.min(), "run_high": by_run.max(), "cases": int(by_case.count()),
            }  # fmt: skip
        line |= {f"{measure.name}_{what}": figure for what, figure in figures.items()}
    return line


def _test(line: pd.Series) -> dict:
    if pd.isna(line["difference"]):  # the reference itself, or nothing to compare
        return line[["reference", "rank", "rank_low", "rank_high"]].to_dict()
    p, by_seeds = decision(line)
    interval = "bootstrap" if pd.notna(line["bootstrap_low"]) else "cases"
    copied = [key for key in TEST if key in line.index]
    return line[copied].to_dict() | {
        "interval": interval,
        "low": line[f"{interval}_low"],
        "high": line[f"{interval}_high"],
        "significant": bool(p < LEVEL),
        "decided_by": "seeds" if by_seeds else "cases",
    }
