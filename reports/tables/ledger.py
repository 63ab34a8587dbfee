"""The literature's figures beside ours, and whether ours agree with them."""

import numpy as np
import pandas as pd
from scipy import stats

from reports import published
from reports.results import Results
from reports.scores import ASD, DICE, HD95, JACCARD, Scores, empty_predictions, with_rows

FIGURES = {"dice": DICE, "jaccard": JACCARD, "asd": ASD, "hd95": HD95}
DISTANCES = ("asd", "hd95")
FEWEST_SEEDS = 3

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NOT_COMPARABLE = "not comparable"
NO_FIGURE = "no figure of ours"
NOT_PLANNED = "not planned"

NO_RUN = pd.DataFrame(index=pd.Index([], name="trial"))
EMPTY = "some of our predictions are empty, whose distances theirs scored 0"

THEIRS = ["entry", "method", "variant", "published_labelled", "published_unlabelled", "figure", "published", "source",
          "repeated_in", "certainty", "iterations", "checkpoint", "largest_component", "headline",
          "remark"]  # fmt: skip
ROW = ["row", "display", "settings", "labelled", "unlabelled"]
OURS = ["postprocessing", "seeds", "mean", "seed_sd", "low", "high", "gap", "verdict", "differences"]
COLUMNS = THEIRS + ROW + OURS


def ledger_frame(results: Results, scores: Scores, rows: pd.DataFrame) -> pd.DataFrame:
    """One line a published figure and row of ours of its method, variant and budget; then those without such a row.

    Ours are runs on the papers' labelled cases (draw "first") where there are any, under the published postprocessing
    where it is known, else the plan's. mean, seed_sd: over runs, of their means over cases. low, high: 95 % prediction
    interval for one new seed, mean ± t·s·√(1 + 1/S) of S seeds; with three seeds or more a comparable figure is
    reproduced if it lies within. differences: what of the protocols differs. No lines for data other than the
    literature's.
    """
    if results.plan["data"]["name"] != published.literature()["data"]:
        return pd.DataFrame(columns=COLUMNS)
    entries = published.literature()["entries"]
    cells = with_rows(results.cells)
    empty = empty_predictions(results)["empty"]
    lines = []
    for line in rows.to_dict("records"):
        runs = cells[cells["row"] == line["row"]]
        if runs["draw"].eq("first").any():
            runs = runs[runs["draw"] == "first"]
        for entry in published.find(
            line["method"], line["variant"], line["labelled"], line["unlabelled"], ceiling=line["role"] == "ceiling"
        ):
            scored = published.postprocessing(entry, results.plan["evaluation"]["postprocessing"])
            reasons = published.differences(entry, results.plan, runs.iloc[0])
            missed = empty.reindex([(trial, scored) for trial in runs["trial"]]).sum() > 0
            for figure in _figures(entry):
                values = scores.get((line["row"], scored, FIGURES[figure].name), NO_RUN)
                own = values.index.get_level_values("trial").isin(runs["trial"])
                means = values[own].mean(axis=1).dropna().to_numpy(dtype=float)
                why = [*reasons, EMPTY] if missed and figure in DISTANCES else reasons
                ours = {key: line[key] for key in ROW} | {"postprocessing": scored}
                lines.append(_theirs(entry, figure) | ours | _compared(entry[figure], means, why))
    compared = {line["entry"] for line in lines}
    for number, entry in enumerate(entries):
        if number not in compared:
            lines += [_theirs(entry, figure) | {"verdict": NOT_PLANNED} for figure in _figures(entry)]
    return pd.DataFrame(lines, columns=COLUMNS)


def _figures(entry: dict) -> list[str]:
    return [figure for figure in FIGURES if entry[figure] is not None]


def _theirs(entry: dict, figure: str) -> dict:
    return {key: entry[key] for key in THEIRS if key in entry} | {
        "entry": published.literature()["entries"].index(entry),
        "published_labelled": entry["labelled"],
        "published_unlabelled": entry["unlabelled"],
        "figure": figure,
        "published": entry[figure],
        "repeated_in": "; ".join(entry["repeated_in"]),
    }


def _compared(theirs: float, means: np.ndarray, differences: list[str]) -> dict:
    """`means`: ours, one a seed."""
    seeds = len(means)
    low, high = prediction_interval(means)
    mean = means.mean() if seeds else np.nan
    if seeds == 0:
        verdict = NO_FIGURE
    elif differences:
        verdict = NOT_COMPARABLE
    elif seeds < FEWEST_SEEDS:
        verdict = UNDECIDED
    else:
        verdict = REPRODUCED if low <= theirs <= high else NOT_REPRODUCED
    return {
        "seeds": seeds, "mean": mean, "seed_sd": means.std(ddof=1) if seeds > 1 else np.nan, "low": low, "high": high,
        "gap": mean - theirs, "verdict": verdict, "differences": "; ".join(differences),
    }  # fmt: skip


def prediction_interval(means: np.ndarray) -> tuple[float, float]:
    """Where 95 % of new seeds' means fall, if seeds vary as these do; NaN with fewer than two."""
    seeds = len(means)
    if seeds < 2:
        return np.nan, np.nan
    reach = stats.t.ppf(0.975, seeds - 1) * means.std(ddof=1) * np.sqrt(1 + 1 / seeds)
    return means.mean() - reach, means.mean() + reach
