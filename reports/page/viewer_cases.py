"""What the case viewer shows of an experiment: a choice of trials, their scores by case, and their volumes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.records.case_values import CHECKPOINT, POSTPROCESSINGS
from reports.measures import nsd, with_rows
from reports.page.viewer_volumes import packed, read_volumes
from reports.published import spacing_of
from reports.results import Results, trained

# The measures that the heat map offers: name, then metric and unit in cases.csv, then a factor.
MEASURES = {
    "Dice [%]": ("dice", "", 100.0),
    "Jaccard [%]": ("jaccard", "", 100.0),
    "95HD [mm]": ("hd95", "mm", 1.0),
    "ASSD [mm]": ("assd", "mm", 1.0),
    "ASD [mm]": ("asd", "mm", 1.0),
    "95HD [voxel]": ("hd95", "voxel", 1.0),
    "ASSD [voxel]": ("assd", "voxel", 1.0),
    "ASD [voxel]": ("asd", "voxel", 1.0),
}
LATER = {"95HD max [mm]": ("hd95_max", "mm", 1.0), "95HD max [voxel]": ("hd95_max", "voxel", 1.0)}
OVERHEAD = 400  # bytes of the page around a case's volumes


@dataclass(frozen=True)
class Shown:
    """The trials that the viewer shows: one per method with the same number of labelled cases, and the ceilings.

    `labels` are their names; `sentence` tells the reader how they were chosen.
    """

    trials: list[str]
    labels: list[str]
    sentence: str


def measures_of(results: Results) -> dict[str, tuple[str, str, float]]:
    """MEASURES, and those of the later metrics that any record has."""
    similarity = nsd(results)
    later = LATER | {similarity.label: (similarity.metric, similarity.unit, similarity.factor)}
    scored = set(results.cases["metric"])
    return MEASURES | {name: measure for name, measure in later.items() if measure[0] in scored}


def choose(results: Results) -> Shown:
    """Choose the trials to show.

    The number of labelled cases is the one with the most finished methods, the smallest of several. Seed and draw are
    the most frequent ones. A method that lacks them shows its first finished run, and its label says so.
    """
    done = with_rows(results.cells[trained(results.cells)])
    methods, ceilings = done[done["role"] != "ceiling"], done[done["role"] == "ceiling"]
    if done.empty:
        return Shown([], [], "No method has finished yet.")
    counts = methods.groupby("labelled")["row"].nunique()
    budget = counts.idxmax() if len(counts) else None
    candidates = pd.concat([methods[methods["labelled"] == budget], ceilings])
    runs = list(zip(candidates["draw"], candidates["seed"], strict=True))
    common = max(dict.fromkeys(runs), key=runs.count)
    trials, labels = [], []
    for _, group in candidates.groupby("row", sort=False):
        wanted = group[(group["draw"] == common[0]) & (group["seed"] == common[1])]
        cell = (wanted if len(wanted) else group).iloc[0]
        label = cell["display"] + (f", {cell['labelled']} labelled" if cell["role"] == "ceiling" else "")
        if wanted.empty:
            label += f" ({_run(cell['draw'], cell['seed'])})"
        trials.append(cell["trial"])
        labels.append(label)
    parts = [f"{budget} labelled cases" if len(counts) else "all training cases labelled", _run(*common)]
    if len(counts) > 1:
        parts[0] += f" (of the budgets {', '.join(map(str, counts.index))}, the one with the most finished methods)"
    return Shown(trials, labels, f"Shown: {', '.join(parts)}.")


def _run(draw, seed) -> str:
    return f"seed {seed}" if draw == "first" else f"draw {draw}, seed {seed}"


def describe_cases(results: Results, shown: Shown) -> dict:
    """The viewer's data without the volumes, ready for JSON.

    Returns:
        Among others `cases`, the lowest mean Dice first, and `values`, nested by postprocessing, measure, structure,
        method and case. The measure `volume` is in ml. An undefined value is None.
    """
    plan = results.plan
    rows = results.cases[(results.cases["checkpoint"] == CHECKPOINT) & results.cases["trial"].isin(shown.trials)]
    classes, postprocessing = plan.data.classes, plan.evaluation.postprocessing
    dice = rows[(rows["metric"] == "dice") & (rows["postprocessing"] == postprocessing)]
    difficulty = dice.groupby("case")["value"].mean()
    cases = sorted(difficulty.index, key=lambda case: (difficulty[case], case))
    cases += sorted(set(results.pictures) - set(cases))

    def table(chosen: pd.DataFrame, factor: float | pd.Series) -> list:
        """Nest values by structure, method and case."""
        values = chosen["value"].astype(float) * factor
        grid = values.set_axis(pd.MultiIndex.from_frame(chosen[["class", "trial", "case"]])).to_dict()
        return [
            [[_number(grid.get((structure, trial, case))) for case in cases] for trial in shown.trials]
            for structure in range(1, classes + 1)
        ]

    def volumes(voxels: pd.DataFrame) -> list:
        """Convert counts of voxels to ml, and nest them likewise."""
        return table(voxels, voxels["case"].map(lambda case: math.prod(spacing_of(plan.data, case)) / 1000))

    values = {}
    for name in POSTPROCESSINGS:
        scored = rows[rows["postprocessing"] == name]
        values[name] = {
            label: table(scored[(scored["metric"] == metric) & (scored["unit"] == unit)], factor)
            for label, (metric, unit, factor) in measures_of(results).items()
        } | {"volume": volumes(scored[scored["metric"] == "predicted"])}
    truth = rows[(rows["metric"] == "reference") & (rows["postprocessing"] == postprocessing)]
    truth = truth.drop_duplicates(["class", "case"]).assign(trial=shown.trials[0] if shown.trials else "")
    return {
        "cases": cases,
        "methods": shown.labels,
        "classes": classes,
        "postprocessing": postprocessing,
        "values": values,
        "truth": [structure[0] if structure else [] for structure in volumes(truth)],
    }


def _number(value) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def pack_cases(results: Results, shown: Shown, cases: Sequence[str], allowance: int) -> tuple[dict[str, dict], int]:
    """Pack the volumes of cases, in the order given, as long as they fit into `allowance` bytes together.

    Returns:
        The packed volumes by case, and the number of cases with a picture that were left out for their size.
    """
    data = results.plan.data
    chosen, left_out = {}, 0
    for case in cases:
        if case not in results.pictures:
            continue
        predictions = [results.records[trial] / "predictions" / f"{case}.npz" for trial in shown.trials]
        volumes = read_volumes(results.pictures[case], predictions, spacing_of(data, case), data.classes)
        if volumes is None:
            continue
        text = packed(volumes.stack.tobytes())
        if len(text) + OVERHEAD > allowance:
            left_out += 1
            continue
        allowance -= len(text) + OVERHEAD
        chosen[case] = {
            "size": list(volumes.stack.shape[1:]),
            "spacing": list(volumes.spacing),
            "missing": volumes.missing,
            "data": text,
        }
    return chosen, left_out
