"""The comparison table's numbers: one row a method and budget, assembled from a results folder."""

import json

import pandas as pd

from reports import published
from reports.results import CHECKPOINT, DONE, POSTPROCESSINGS, Results
from reports.statistics import holm, paired_t_test

# metric and unit in cases.csv -> column of the table and factor
MEASURES = {
    ("dice", ""): ("dice_percent", 100.0),
    ("jaccard", ""): ("jaccard_percent", 100.0),
    ("asd", "voxel"): ("asd_voxel", 1.0),
    ("hd95", "voxel"): ("hd95_voxel", 1.0),
    ("assd", "voxel"): ("assd_voxel", 1.0),
    ("asd", "mm"): ("asd_mm", 1.0),
    ("hd95", "mm"): ("hd95_mm", 1.0),
    ("assd", "mm"): ("assd_mm", 1.0),
}
PUBLISHED = ("dice", "jaccard", "asd", "hd95")

ROW_KEYS = ["role", "method", "display", "settings", "labelled", "unlabelled"]
DESCRIPTION = ["variant", "year", "source", "fidelity"]
RUNS = ["runs_planned", "runs_done", "seeds", "draws", "states", "reasons", "stale"]
SCORES = [f"{measure}_{postprocessing}_{what}" for postprocessing in POSTPROCESSINGS
          for measure, _ in MEASURES.values() for what in ("mean", "std", "cases")]  # fmt: skip
EMPTY = ["predictions", *(f"empty_{postprocessing}" for postprocessing in POSTPROCESSINGS)]
LITERATURE = [*(f"published_{name}" for name in PUBLISHED), "published_labelled", "published_unlabelled",
              "published_source", "published_comparable", "published_differences"]  # fmt: skip
TEST = ["reference", "test_cases", "difference", "difference_low", "difference_high", "dz", "p", "p_holm",
        "test_reason"]  # fmt: skip
COLUMNS = ROW_KEYS + DESCRIPTION + RUNS + SCORES + EMPTY + LITERATURE + TEST


def comparison(results: Results) -> pd.DataFrame:
    """One row a method and budget, floors before the methods of their budget and ceilings at the end.

    Means and standard deviations (n - 1) are over cases, a case being first averaged over classes, then over seeds and
    draws, in percent, voxels and mm under both postprocessings. `difference` (percentage points of Dice) and what
    follows are the plan's reference (a display name) against the row, at the same number of labelled cases, under the
    plan's postprocessing; Holm's correction is over the rows of that budget.
    """
    settings = [json.dumps(settings, sort_keys=True) for settings in results.cells["settings"]]
    cells = results.cells.assign(settings=settings)
    cells["row"] = cells.groupby(ROW_KEYS, sort=False, dropna=False).ngroup()
    scores, empty = _scores(results.cases, cells), _empty_predictions(results.cases, cells)
    rows = []
    for number, group in cells.groupby("row", sort=False):
        first = group.iloc[0]
        rows.append(
            first[ROW_KEYS + DESCRIPTION].to_dict()
            | _runs(group)
            | _summary(scores.get(number, {}))
            | empty.get(number, {})
            | _published(first, results.plan)
        )
    _add_tests(rows, scores, results.plan)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    ceiling, floor = frame["role"].eq("ceiling"), frame["role"].eq("floor")
    order = pd.DataFrame({"ceiling": ceiling, "labelled": frame["labelled"], "method": ~floor})
    return frame.loc[order.sort_values(list(order), kind="stable").index].reset_index(drop=True)


def _scores(cases: pd.DataFrame, cells: pd.DataFrame) -> dict:
    """{row: {(measure, postprocessing): one value a case, as a Series}}"""
    cases = cases[cases["checkpoint"] == CHECKPOINT].merge(cells[["trial", "row"]], on="trial")
    keys = ["row", "postprocessing", "metric", "unit", "case"]
    per_run = cases.groupby(["trial", *keys])["value"].mean()
    per_case = per_run.groupby(keys).mean()
    scores = {}
    for (row, postprocessing, metric, unit), values in per_case.groupby(keys[:-1]):
        if (metric, unit) in MEASURES:
            measure, factor = MEASURES[metric, unit]
            by_case = values.droplevel(keys[:-1]).astype(float) * factor
            scores.setdefault(row, {})[measure, postprocessing] = by_case
    return scores


def _empty_predictions(cases: pd.DataFrame, cells: pd.DataFrame) -> dict:
    """{row: predictions made (runs x cases x classes), and how many are empty though there is a structure to find}"""
    counts = cases[(cases["checkpoint"] == CHECKPOINT) & cases["metric"].isin(["predicted", "reference"])]
    counts = counts.merge(cells[["trial", "row"]], on="trial")
    counts = counts.pivot(
        index=["row", "postprocessing", "trial", "case", "class"], columns="metric", values="value"
    ).reset_index()
    empty = {}
    for (row, postprocessing), group in counts.groupby(["row", "postprocessing"]):
        missed = (group["predicted"] == 0) & (group["reference"] > 0)
        empty.setdefault(row, {}).update({"predictions": len(group), f"empty_{postprocessing}": int(missed.sum())})
    return empty


def _runs(group: pd.DataFrame) -> dict:
    counts = group["state"].value_counts(sort=False)
    return {
        "runs_planned": len(group),
        "runs_done": int(group["state"].eq(DONE).sum()),
        "seeds": " ".join(map(str, group["seed"].unique())),
        "draws": " ".join(map(str, group["draw"].unique())),
        "states": "; ".join(f"{count} {state}" for state, count in counts.items()),
        "reasons": "; ".join(reason for reason in group["reason"].unique() if reason),
        "stale": int(group["stale"].ne("").sum()),
    }


def _summary(scores: dict) -> dict:
    summary = {}
    for (measure, postprocessing), values in scores.items():
        prefix = f"{measure}_{postprocessing}"
        summary |= {
            f"{prefix}_mean": values.mean(),
            f"{prefix}_std": values.std(ddof=1),
            f"{prefix}_cases": int(values.count()),
        }
    return summary


def _published(cell: pd.Series, plan: dict) -> dict:
    if plan["data"]["name"] != published.literature()["data"]:
        return {}
    entry = published.find(*cell[["method", "variant", "labelled", "unlabelled"]], ceiling=cell["role"] == "ceiling")
    if entry is None:
        return {}
    differences = published.differences(entry, plan, cell)
    return {f"published_{name}": entry[name] for name in (*PUBLISHED, "labelled", "unlabelled")} | {
        "published_source": published.describe(entry),
        "published_comparable": not differences,
        "published_differences": "; ".join(differences),
    }


def _add_tests(rows: list[dict], scores: dict, plan: dict) -> None:
    """Fill in the TEST columns of the rows that stand in a budget with a reference and have numbers."""
    measure = ("dice_percent", plan["evaluation"]["postprocessing"])
    for labelled in {row["labelled"] for row in rows}:
        block = [n for n, row in enumerate(rows) if row["labelled"] == labelled and row["role"] != "ceiling"]
        references = [n for n in block if rows[n]["display"] == plan["reference"]]
        if not references or references[0] not in scores:
            continue
        reference = references[0]
        rows[reference]["reference"] = rows[reference]["display"]
        tested = [n for n in block if n != reference and n in scores]
        tests = [paired_t_test(scores[reference][measure], scores[n][measure]) for n in tested]
        for n, test, p_holm in zip(tested, tests, holm([test.p for test in tests]), strict=True):
            rows[n] |= {
                "reference": rows[reference]["display"],
                "test_cases": test.n,
                "difference": test.difference,
                "difference_low": test.low,
                "difference_high": test.high,
                "dz": test.dz,
                "p": test.p,
                "p_holm": p_holm,
                "test_reason": test.reason,
            }
