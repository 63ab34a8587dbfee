"""What the case viewer shows of an experiment: views to choose from, scores by case, and volumes."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from benchmark.records.case_values import CHECKPOINT, POSTPROCESSINGS
from benchmark.records.models import name_with_role
from data.progress import follow
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
class View:
    """What the viewer shows at once: a trial of each method with one budget, and of the ceilings.

    A method that lacks the run shows its first finished one, and its label says so.

    Attributes:
        budget: number of labelled cases, as text.
        run: seed, and draw if there are several.
        trials: positions in `Shown.trials`.
        labels: names of the methods.
        replaced: whether any trial is of another run.
        keys: what tells methods with their settings apart, in every view alike.
    """

    budget: str
    run: str
    trials: list[int]
    labels: list[str]
    replaced: bool
    keys: list[str]


@dataclass(frozen=True)
class Shown:
    """The trials that the viewer offers.

    Attributes:
        trials: every trial of a view.
        views: one for each budget and run that exist. A reader chooses among them.
        first: the view that is open at first, by its position.
        main: of each budget, the view of its most frequent run.
    """

    trials: list[str]
    views: list[View]
    first: int
    main: list[int]

    @property
    def main_trials(self) -> list[int]:
        """The trials of `main`, by their position."""
        return sorted({trial for view in self.main for trial in self.views[view].trials})


@dataclass(frozen=True)
class Packed:
    """Volumes for the page.

    Attributes:
        cases: by case, what the viewer reads of it.
        left_out: number of cases with a picture that are left out for their size.
        one_run: whether predictions are those of one run for each budget, for the same reason.
    """

    cases: dict[str, dict]
    left_out: int
    one_run: bool


def measures_of(results: Results) -> dict[str, tuple[str, str, float]]:
    """MEASURES, and those of the later metrics that any record has."""
    similarity = nsd(results)
    later = LATER | {similarity.label: (similarity.metric, similarity.unit, similarity.factor)}
    scored = set(results.cases["metric"])
    return MEASURES | {name: measure for name, measure in later.items() if measure[0] in scored}


def choose(results: Results) -> Shown:
    """Find the views, budgets ascending, runs in the plan's order.

    The first view has the budget with the most finished methods, the smallest of several, and its most frequent run.
    """
    done = with_rows(results.cells[trained(results.cells)])
    is_ceiling = done["role"] == "ceiling"
    counts = done[~is_ceiling].groupby("labelled")["row"].nunique()
    draws = done.loc[~is_ceiling, "draw"].nunique() > 1
    views, main, positions = [], [], {}
    for budget in list(counts.index) or [None] * bool(len(done)):
        candidates = pd.concat([done[~is_ceiling & (done["labelled"] == budget)], done[is_ceiling]])
        offered = candidates if budget is None else candidates[candidates["role"] != "ceiling"]
        runs = list(zip(offered["draw"], offered["seed"], strict=True))
        common = max(dict.fromkeys(runs), key=runs.count)
        for run in dict.fromkeys(runs):
            main += [len(views)] * (run == common)
            views.append(_view(candidates, budget, run, draws, positions))
    first = main[list(counts.index).index(counts.idxmax())] if len(counts) else 0
    return Shown(list(positions), views, first, main)


def _view(candidates: pd.DataFrame, budget: int | None, run: tuple, draws: bool, positions: dict[str, int]) -> View:
    """The view of a run (draw, seed).

    Args:
        candidates: cells of the budget and of the ceilings.
        budget: number of labelled cases, or None if there are only ceilings.
        run: draw and seed.
        draws: whether there are several draws of the labelled cases.
        positions: of the trials that earlier views have. Those of this one are added.
    """
    trials, labels, keys, replaced = [], [], [], False
    for _, group in candidates.groupby("row", sort=False):
        same_draw = group["draw"].eq(run[0]) | group["role"].eq("ceiling")  # with every label nothing is drawn
        wanted = group[same_draw & group["seed"].eq(run[1])]
        cell = (wanted if len(wanted) else group).iloc[0]
        label = name_with_role(cell["display"], cell["role"])
        if wanted.empty:
            replaced = True
            label += f" ({_run(cell['draw'], cell['seed'], draws and cell['role'] != 'ceiling')})"
        trials.append(positions.setdefault(cell["trial"], len(positions)))
        labels.append(label)
        keys.append(" ".join(cell[["role", "method", "display", "settings"]]))
    return View("all" if budget is None else str(budget), _run(*run, draws), trials, labels, replaced, keys)


def _run(draw: str | int, seed: int, draws: bool) -> str:
    return f"draw {draw}, seed {seed}" if draws else f"seed {seed}"


def describe_cases(results: Results, shown: Shown) -> dict:
    """The viewer's data without the volumes, ready for JSON.

    Returns:
        Among others `cases`, the lowest mean Dice first, and `values`, nested by postprocessing, measure, structure,
        trial and case. The measure `volume` is in ml. An undefined value is None.
    """
    plan = results.plan
    rows = results.cases[(results.cases["checkpoint"] == CHECKPOINT) & results.cases["trial"].isin(shown.trials)]
    classes, postprocessing = plan.data.classes, plan.evaluation.postprocessing
    dice = rows[(rows["metric"] == "dice") & (rows["postprocessing"] == postprocessing)]
    difficulty = dice.groupby("case")["value"].mean()
    cases = sorted(difficulty.index, key=lambda case: (difficulty[case], case))
    cases += sorted(set(results.pictures) - set(cases))

    def table(chosen: pd.DataFrame, factor: float | pd.Series) -> list:
        """Nest values by structure, trial and case."""
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
        "views": [asdict(view) for view in shown.views],
        "first": shown.first,
        "classes": classes,
        "postprocessing": postprocessing,
        "values": values,
        "truth": [structure[0] if structure else [] for structure in volumes(truth)],
    }


def _number(value) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def pack_cases(results: Results, shown: Shown, cases: Sequence[str], allowance: int) -> Packed:
    """Pack the volumes of cases, in the order given, as long as they fit into `allowance` bytes together.

    The predictions of all trials are packed if the first case says that there is room for them, else those of one run
    for each budget.
    """
    pictured = [case for case in cases if case in results.pictures]
    trials, chosen, left_out = list(range(len(shown.trials))), {}, 0
    for case in follow(pictured, "packing pictures"):
        volumes = _packed(results, shown, case, trials)
        if volumes is not None and not chosen and not left_out and _size(volumes) * len(pictured) > allowance:
            trials = shown.main_trials
            volumes = _packed(results, shown, case, trials)
        if volumes is None:
            continue
        if _size(volumes) > allowance:
            left_out += 1
            continue
        allowance -= _size(volumes)
        chosen[case] = volumes
    return Packed(chosen, left_out, len(trials) < len(shown.trials))


def _packed(results: Results, shown: Shown, case: str, trials: Sequence[int]) -> dict | None:
    """A case as the viewer reads it, or None if its picture cannot be read."""
    data = results.plan.data
    predictions = [results.records[shown.trials[trial]] / "predictions" / f"{case}.npz" for trial in trials]
    volumes = read_volumes(results.pictures[case], predictions, spacing_of(data, case), data.classes)
    if volumes is None:
        return None
    return {
        "size": list(volumes.stack.shape[1:]),
        "spacing": list(volumes.spacing),
        "trials": list(trials),
        "missing": [trials[place] for place in volumes.missing],
        "data": packed(volumes.stack.tobytes()),
    }


def _size(volumes: dict) -> int:
    return len(volumes["data"]) + OVERHEAD + 10 * len(volumes["trials"])
