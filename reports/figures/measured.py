"""What figures are drawn from: the scores of the finished runs, and the name, order and look of methods."""

import json
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from benchmark.records.models import EXTERNAL, name_with_role
from reports.figures.segmentations import Segmentations
from reports.figures.style import CEILING, FLOOR, Look, drawable, looks
from reports.measures import DICE, Measure, hd95, held_back, scores, with_rows
from reports.results import Results, external, is_left_out, trained
from reports.selection import selected_runs
from reports.tables.formats import counted

COLUMNS = ["row", "role", "labelled", "trial", "seed", "draw"]
POSTPROCESSING = {"none": "no postprocessing", "largest_component": "largest connected component only"}


@dataclass(frozen=True)
class Measured:
    """The scores of an experiment's finished runs.

    Attributes:
        experiment: the results, without the scores by case.
        runs: one line per run and test case, of the last checkpoint under the plan's postprocessing. Columns: row (the
            method's name in figures), role, labelled, trial, seed, draw, case, dice_percent, and 95HD in the unit of
            `distance`. Scores are means over structures. Runs that diverged and count with the worst values are among
            them where another run of their row was trained to the end.
        look: how each planned row is drawn, in the plan's order.
        selected: one line per run that has an oracle, with `row` as in `runs` and the columns of `selected_runs`.
    """

    experiment: Results
    runs: pd.DataFrame
    look: dict[str, Look]
    selected: pd.DataFrame

    @cached_property
    def segmentations(self) -> Segmentations:
        """The test cases that have a picture, and what the runs predict."""
        return Segmentations(self.experiment)

    @property
    def distance(self) -> Measure:
        return hd95(self.experiment)

    @property
    def budgets(self) -> list[int]:
        """Numbers of labelled cases with which a floor or a method is done."""
        return sorted(self.runs.loc[self.runs["role"] != "ceiling", "labelled"].unique())

    def at(self, labelled: int, ceiling: bool = False) -> pd.DataFrame:
        """The runs with this number of labelled cases, with or without those of the ceiling."""
        of_ceiling = self.runs["role"] == "ceiling"
        return self.runs[(~of_ceiling & (self.runs["labelled"] == labelled)) | (of_ceiling & ceiling)]

    def competing(self, labelled: int) -> pd.DataFrame:
        """The runs of floor and methods that tests and ranks compare: of rows whose mean lacks no run."""
        runs = self.at(labelled)
        return runs[~runs["trial"].isin(self.lacking)]

    @cached_property
    def lacking(self) -> set[str]:
        """The trials of rows whose mean lacks a run that failed or diverged."""
        cells = with_rows(self.experiment.cells)
        return set(cells.loc[cells["row"].isin(held_back(self.experiment)), "trial"])

    def rows(self, role: str) -> list[str]:
        """The rows of one role (floor, ceiling or method) with finished runs, in the plan's order."""
        return list(dict.fromkeys(self.runs.loc[self.runs["role"] == role, "row"]))


def measured_in(experiment: Results) -> Measured:
    """Collect the scores of an experiment's finished runs."""
    cells = experiment.cells.assign(row=row_names(experiment.cells), trained=trained(experiment.cells))
    cells = cells.astype({"draw": str})  # "first" and numbers do not sort
    postprocessing = experiment.plan.evaluation.postprocessing
    values = {DICE.name: [], hd95(experiment).name: []}
    for (_, scored, name), table in scores(experiment).items():
        if scored == postprocessing and name in values:
            values[name].append(table.set_axis(table.index.get_level_values("trial")))
    none = pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []]))
    columns = {name: pd.concat(parts).stack(future_stack=True) if parts else none for name, parts in values.items()}
    runs = pd.DataFrame(columns).rename_axis(["trial", "case"]).reset_index()
    drawn = cells.loc[cells.groupby(["row", "labelled"])["trained"].transform("any"), COLUMNS]
    runs = drawn.merge(runs, on="trial")
    runs = runs.astype({"labelled": int} | dict.fromkeys(values, float))
    special = {"floor": FLOOR, "ceiling": CEILING}
    roles = dict(zip(cells["row"], cells["role"], strict=True))
    methods = looks(row for row, role in roles.items() if role not in special)
    names = dict(zip(cells["trial"], cells["row"], strict=True))
    selected = selected_runs(experiment)
    selected = selected.assign(row=selected["trial"].map(names))
    none_of_them = experiment.cases[:0]  # it is sent to other processes
    experiment = replace(experiment, cases=none_of_them, left_out=none_of_them)
    return Measured(experiment, runs, {row: special.get(role) or methods[row] for row, role in roles.items()}, selected)


def row_names(cells: pd.DataFrame) -> list[str]:
    """Name the method of each cell for figures.

    The name is the display name, with † for a reconstruction, ‡ for masks from elsewhere, and floor or ceiling in
    brackets. A number tells apart methods or settings with the same name.
    """
    names, meanings = [], {}
    for cell in cells.to_dict("records"):
        name = drawable(cell["display"]) + {"reconstruction": "†", EXTERNAL: "‡"}.get(cell["fidelity"], "")
        name = name_with_role(name, cell["role"])
        meaning = (cell["method"], json.dumps(cell["settings"], sort_keys=True))
        known = meanings.setdefault(name, [])
        if meaning not in known:
            known.append(meaning)
        number = known.index(meaning)
        names.append(f"{name} [{number + 1}]" if number else name)
    return names


def per_case(runs: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Mean scores over runs: one line per case, one column per row in the order of `runs`."""
    table = runs.groupby(["case", "row"])[measure.name].mean().unstack("row")
    return table.reindex(columns=list(dict.fromkeys(runs["row"])))


def score_tables(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The Dice of each row, one line per run and one column per case, as `reports.statistics` takes it."""
    index = ["draw", "trial"] if runs["draw"].nunique() > 1 else "trial"
    groups = runs.groupby("row", sort=False)
    return {row: group.pivot(index=index, columns="case", values=DICE.name) for row, group in groups}


def by_mean_dice(runs: pd.DataFrame) -> list[str]:
    """The rows sorted by mean Dice, the best first, ties in the order of `runs`."""
    return list(per_case(runs, DICE).mean().sort_values(ascending=False, kind="stable").index)


def shown_runs(source: Measured, labelled: int) -> pd.DataFrame:
    """Choose the runs whose segmentations are shown.

    This is each method's first run, in the plan's order, that predicts every case with a picture.

    Returns:
        The lines of these runs in `source.runs`, the ceiling first, then by mean Dice.
    """
    segmentations, runs = source.segmentations, source.at(labelled, ceiling=True)
    runs = runs[runs["case"].isin(segmentations.cases)]
    chosen = [runs[:0]]
    for row in source.rows("ceiling") + by_mean_dice(source.at(labelled)):
        for trial, run in runs[runs["row"] == row].groupby("trial", sort=False):
            if all(segmentations.has(trial, case) for case in run["case"]):
                chosen.append(run)
                break
    return pd.concat(chosen)


def why_nothing_is_shown(source: Measured) -> str:
    """The reason if `shown_runs` is empty."""
    if not source.segmentations.cases:
        return "The folder holds no pictures of its test cases."
    return "No record holds its predictions of the test cases."


def _over(runs: pd.DataFrame) -> str:
    """Over how many seeds and draws the means of runs are, which may differ from row to row and budget to budget."""
    of_row = runs.groupby(["row", "labelled"])
    seeds, draws = of_row["seed"].nunique(), of_row["draw"].nunique()
    if seeds.empty:
        return ""
    if seeds.eq(1).all() and draws.eq(1).all():
        return "; one seed"
    over = f"; a case counts with its mean over {counted(seeds, 'seed')}"
    return over if draws.eq(1).all() else f"{over} and {counted(draws, 'draw')} of the labelled cases"


def setting(source: Measured, runs: pd.DataFrame, averaged: bool = True) -> str:
    """The end of a caption: data, protocol, number of seeds, and which runs are missing or out of date.

    Args:
        source: the experiment.
        runs: the lines of `source.runs` that the figure shows.
        averaged: whether the figure shows means over runs.
    """
    plan, cells = source.experiment.plan, source.experiment.cells
    masks = runs["trial"].isin(cells.loc[external(cells), "trial"])
    scored = "last checkpoint" if len(runs) == 0 or not masks.all() else "masks as they were given"
    parts = [
        f"{plan.data.name}, {plan.data.test} test cases; {scored}, "
        f"{POSTPROCESSING[plan.evaluation.postprocessing]}{_over(runs[~masks]) if averaged else ''}."
    ]
    concerned = cells[cells["labelled"].isin(runs["labelled"].unique())]
    shown = concerned["trial"].isin(source.runs["trial"])
    left_out = int((is_left_out(concerned) & ~shown).sum())
    missing = int((~shown).sum()) - left_out
    if left_out:
        parts.append(f"Failed or diverged, and left out: {left_out} of {len(concerned)} planned trials.")
    if missing:
        parts.append(f"Not everything is done: {missing} of {len(concerned)} planned trials are missing.")
    if worst := int((shown & concerned["worst"].astype(bool)).sum()):
        parts.append(f"Diverged runs count with Dice 0 and the image diagonal: {worst} of these.")
    if collapsed := int((shown & concerned["collapsed"].ne("")).sum()):
        parts.append(f"Collapsed without an error: {collapsed} of these; the comparison names them.")
    for mark, meaning in (("†", "reconstruction"), ("‡", "masks from elsewhere")):
        if runs["row"].str.contains(mark).any():
            parts.append(f"{mark} {meaning}.")
    stale = runs.loc[runs["trial"].isin(cells.loc[cells["stale"].ne(""), "trial"]), "row"].unique()
    if len(stale):
        which = "any of these" if len(stale) == runs["row"].nunique() else ", ".join(sorted(stale))
        parts.append(f"Today's code might not give the same for {which}.")
    peeked = runs.loc[runs["trial"].isin(cells.loc[cells["peeked"].ne(""), "trial"]), "row"].unique()
    if len(peeked):
        parts.append(f"Opened labels that are not theirs: {', '.join(sorted(peeked))}.")
    return " ".join(parts)
