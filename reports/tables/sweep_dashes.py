"""Why methods of the label sweep have a dash in place of a gap closed or of labels saved."""

from collections.abc import Callable

import pandas as pd

from reports.labels_saved import LabelIntervals
from reports.measures import DICE
from reports.tables.formats import name_of

LACKS_RUNS = "the row lacks runs that failed or diverged"
NO_FLOOR = "no floor with so many labelled cases has all its results"


def gap_reason(line: dict) -> str:
    """Why a method has no share of the gap; "" if it has one. `line`: of `sweep_frame`."""
    if line["left_out"]:
        return LACKS_RUNS
    if pd.isna(line["floor"]):
        return NO_FLOOR
    if pd.isna(line["ceiling"]):
        return "no ceiling has all its results"
    if line["ceiling"] <= line["floor"]:
        return "the ceiling is not above the floor"
    if LabelIntervals(line["gap_low"], line["gap_high"]).gap_is_open:
        return "the interval holds both 0 and 100 % of the gap, so the data say nothing"
    return ""


def saved_reason(line: dict) -> str:
    """Why a method has no number of labels saved; "" if it has one. `line`: of `sweep_frame`."""
    if line["left_out"]:
        return LACKS_RUNS
    if LabelIntervals(saved_low=line["saved_low"], saved_high=line["saved_high"]).saved_is_open:
        return "the interval holds every number of labels, so the data say nothing"
    if not pd.isna([line["labels_saved"], line["labels_saved_beyond"]]).all():
        return ""
    if pd.isna(line["floor"]):
        return NO_FLOOR
    low = line[DICE.name] < line["floor"]
    return f"no floor with {'fewer' if low else 'more'} labelled cases has so {'low' if low else 'high'} a Dice"


def dash_notes(frame: pd.DataFrame, quantity: str, reason: Callable[[dict], str]) -> list[str]:
    """One note that says why methods with results have a dash, grouped by the reason; none if no method has one.

    Args:
        frame: as of `sweep_frame`.
        quantity: what the dashes stand for.
        reason: `gap_reason` or `saved_reason`.
    """
    methods = frame[frame["role"].eq("method") & frame["runs_done"].gt(0)]
    why: dict[str, dict[int, list[str]]] = {}
    for line in methods.to_dict("records"):
        if of_line := reason(line):
            why.setdefault(of_line, {}).setdefault(line["labelled"], []).append(name_of(line))
    counts = methods["labelled"].value_counts()
    parts = []
    for of_lines, budgets in why.items():
        named = [
            f"{'all methods' if len(names) == counts[labelled] > 1 else ', '.join(names)} with {labelled} labelled"
            for labelled, names in budgets.items()
        ]
        parts.append(f"{of_lines[0].upper()}{of_lines[1:]}: {'; '.join(named)}.")
    return [f"{quantity}, cells with –. {' '.join(parts)}"] if parts else []
