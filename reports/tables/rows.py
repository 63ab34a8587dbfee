"""The numbers that all tables begin with. A row is a method with its settings at one budget."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from benchmark.records.models import EXTERNAL
from benchmark.records.states import DIVERGED, DONE
from reports.measures import DICE, ROW_KEYS, Measure, Scores, empty_predictions, held_back, measures, scores, with_rows
from reports.results import Results, is_left_out, trained
from reports.significance import LEVEL, decision
from reports.tables.formats import FAULTS

DESCRIPTION = ["variant", "year", "source", "fidelity"]
RUNS = ["runs_planned", "runs_done", "runs_counted", "seeds", "draws", "states", "reasons", "stale", "peeked", *FAULTS]
FIGURES = ["mean", "sd", "seed_sd", "run_low", "run_high", "cases", "mean_of_all"]  # of each measure
COUNTS = ["cases", "predictions", "empty"]
TEST = ["reference", "difference", "low", "high", "interval", "cases_p_holm", "cases_reason", "seeds_p_holm",
        "seeds_reason", "seeds_crossed", "verdict", "significant", "decided_by", "rank", "rank_low",
        "rank_high"]  # fmt: skip


def table_rows(results: Results, scored: Scores, tests: pd.DataFrame, structure: int | None = None) -> pd.DataFrame:
    """One line for each row, under the plan's postprocessing, of means over structures or of one structure.

    Budgets ascend. In each the floor stands before the methods, which are in the plan's order. Ceilings are last.
    `…_mean`, `…_sd` (n - 1): over test cases; each case is averaged over classes, then over runs (seeds and draws).
    `…_seed_sd`, `…_run_low`, `…_run_high`: over runs, of their means over cases. `…_cases`: cases that have a value;
    `cases`: those with a Dice. `empty`: predictions without a voxel though there is a structure to find, of all runs x
    cases x classes.
    `validation_cases`: labelled cases that choose a checkpoint, where there are any.
    `runs_counted`: those that were done, and those that count with the worst values.
    `collapsed`, `diverged`, `left_out`: how many of its runs have collapsed without an error, count with the worst
    values because they diverged, and are in no mean because they failed or diverged. `…_mean_of_all`: where runs are
    left out, the mean with the worst values for them.
    Tests (on Dice) come from `tests`, the frame of `significance`, which explains them. `interval` says where `low`
    and `high` come from: the seed-aware test if there are two runs of either, else the paired t-test over cases.
    """
    cells = with_rows(results.cells)
    postprocessing = results.plan.evaluation.postprocessing
    empty = empty_predictions(results, structure)
    empty = empty[empty.index.get_level_values("postprocessing") == postprocessing].droplevel("postprocessing")
    tested = tests[tests["measure"] == DICE.name].set_index("row")
    of_all = with_those_left_out(results, structure=structure)
    lines = []
    for row, group in cells.groupby("row", sort=False):
        line = {"row": row} | group.iloc[0][ROW_KEYS + DESCRIPTION].to_dict() | _runs(group)
        line |= empty[empty.index.isin(group["trial"])].sum().to_dict()
        line |= summaries(scored, row, postprocessing, measures(results), of_all)
        line["cases"] = line[f"{DICE.name}_cases"]
        lines.append(line | {"significant": False} | (_test(tested.loc[row]) if row in tested.index else {}))
    figures = [f"{measure.name}_{what}" for measure in measures(results) for what in FIGURES]
    frame = pd.DataFrame(lines, columns=["row", *ROW_KEYS, *DESCRIPTION, *RUNS, *figures, *COUNTS, *TEST])
    if spent := results.plan.data.validation_cases:
        frame["validation_cases"] = frame["fidelity"].ne(EXTERNAL) * spent
    ceiling, floor = frame["role"].eq("ceiling"), frame["role"].eq("floor")
    order = pd.DataFrame({"ceiling": ceiling, "labelled": frame["labelled"], "method": ~floor})
    return frame.loc[order.sort_values(list(order), kind="stable").index].reset_index(drop=True)


def _runs(group: pd.DataFrame) -> dict:
    done, scored = trained(group), group["scored"].astype(bool)
    diverged = scored & group["state"].eq(DIVERGED)
    counts = group["state"].mask(done & ~diverged, DONE).value_counts(sort=False)
    return {
        "runs_planned": len(group),
        "runs_done": int(done.sum()),
        "runs_counted": int(scored.sum()),
        "seeds": " ".join(map(str, group["seed"].unique())),
        "draws": " ".join(map(str, group["draw"].unique())),
        "states": "; ".join(f"{count} {state}" for state, count in counts.items()),
        "reasons": "; ".join(reason for reason in group["reason"].unique() if reason),
        "stale": int(group["stale"].ne("").sum()),
        "peeked": int(group["peeked"].ne("").sum()),
        "collapsed": int((done & group["collapsed"].ne("")).sum()),
        "diverged": int(diverged.sum()),
        "left_out": int(is_left_out(group).sum()) if scored.any() else 0,
    }


def with_those_left_out(results: Results, of: Sequence[Measure] = (), structure: int | None = None) -> Scores:
    """The scores of rows that lack runs, with what these count as. `of` and `structure` as in `scores`."""
    rows = held_back(results)
    if not rows:
        return {}
    cells = results.cells
    concerned = cells["trial"][with_rows(cells)["row"].isin(rows)]
    cells = cells.assign(scored=cells["scored"].astype(bool) | is_left_out(cells))
    cases = pd.concat([results.cases, results.left_out], ignore_index=True)
    return scores(replace(results, cells=cells, cases=cases[cases["trial"].isin(concerned)]), of, structure)


def summaries(scored: Scores, row: int, postprocessing: str, of: Sequence[Measure], of_all: Scores) -> dict:
    """The FIGURES of a row in several measures; without scores no case has a value. `of_all`: see
    `with_those_left_out`."""
    line = {}
    for measure in of:
        figures: dict = {"cases": 0}
        key = (row, postprocessing, measure.name)
        if (runs := scored.get(key)) is not None:
            by_case, by_run = runs.mean(), runs.mean(axis=1)
            figures = {
                "mean": by_case.mean(), "sd": by_case.std(ddof=1), "seed_sd": by_run.std(ddof=1),
                "run_low": by_run.min(), "run_high": by_run.max(), "cases": int(by_case.count()),
            }  # fmt: skip
        if (all_runs := of_all.get(key)) is not None:
            figures["mean_of_all"] = all_runs.mean().mean()
        line |= {f"{measure.name}_{what}": figure for what, figure in figures.items()}
    return line


def _test(line: pd.Series) -> dict:
    if pd.isna(line["difference"]):  # the reference itself, or nothing to compare
        return line[["reference", "rank", "rank_low", "rank_high"]].to_dict()
    p, by_seeds = decision(line)
    interval = "seeds" if pd.notna(line["seeds_low"]) else "cases"
    copied = [key for key in TEST if key in line.index]
    return line[copied].to_dict() | {
        "interval": interval,
        "low": line[f"{interval}_low"],
        "high": line[f"{interval}_high"],
        "significant": bool(p < LEVEL),
        "decided_by": "seeds" if by_seeds else "cases",
    }
