"""Segmentations of each method's best, median and worst test case."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from reports.figures import disagreement
from reports.figures.captioned import CaptionedFigure, LeftOut
from reports.figures.measured import Measured, by_mean_dice, setting
from reports.figures.segmentations import (
    KEY,
    Segmentations,
    add_contour_key,
    add_error_key,
    add_scale_bar,
    error_limit,
    picture_grid,
    surface_words,
)
from reports.figures.style import HEIGHT, LINE, SMALL, WIDTH, wrapped
from reports.measures import DICE

TITLE = "Best, median and worst case of each method"
PLACES = ("best", "median", "worst")
NAMES = 0.95  # inches: the column of methods' names


def draw(source: Measured) -> Iterator[CaptionedFigure | LeftOut]:
    """Draw for each number of labelled cases the best, median and worst cases, then those of most disagreement."""
    titles = {"examples": TITLE} | disagreement.TITLES
    if not source.budgets:
        yield from (LeftOut(name, title, "No floor and no method is done yet.") for name, title in titles.items())
        return
    segmentations = Segmentations(source.experiment)
    for labelled in source.budgets:
        shown = shown_runs(source, segmentations, labelled)
        if shown.empty:
            reason = "No record holds its predictions of the test cases."
            if not segmentations.cases:
                reason = "The folder holds no pictures of its test cases."
            yield from (LeftOut(f"{name}_{labelled}", f"{title}, {labelled} labelled", reason)
                        for name, title in titles.items())  # fmt: skip
            continue
        yield from _pages(source, segmentations, shown, labelled)
        yield from disagreement.draw(source, segmentations, shown, labelled)


def shown_runs(source: Measured, segmentations: Segmentations, labelled: int) -> pd.DataFrame:
    """Choose each method's first run, in the plan's order, that predicts every case with a picture.

    Returns:
        The lines of these runs in `source.runs`, the ceiling first, then by mean Dice.
    """
    runs = source.at(labelled, ceiling=True)
    runs = runs[runs["case"].isin(segmentations.cases)]
    chosen = [runs[:0]]
    for row in source.rows("ceiling") + by_mean_dice(source.at(labelled)):
        for trial, run in runs[runs["row"] == row].groupby("trial", sort=False):
            if all(segmentations.has(trial, case) for case in run["case"]):
                chosen.append(run)
                break
    return pd.concat(chosen)


def best_median_worst(dice: pd.Series) -> dict[str, str]:
    """The best, the median (of two the worse) and the worst case by Dice, each case once."""
    cases = list(dice.dropna().sort_index().sort_values(ascending=False, kind="stable").index)
    if not cases:
        return {}
    chosen: dict[str, str] = {}
    for place, case in zip(PLACES, (cases[0], cases[len(cases) // 2], cases[-1]), strict=True):
        if case not in chosen.values():
            chosen[place] = case
    return chosen


def _pages(
    source: Measured, segmentations: Segmentations, shown: pd.DataFrame, labelled: int
) -> Iterator[CaptionedFigure]:
    runs = {row: run.set_index("case") for row, run in shown.groupby("row", sort=False)}
    places = {row: best_median_worst(run[DICE.name]) for row, run in runs.items()}
    pairs = [(run["trial"].iloc[0], case) for row, run in runs.items() for case in places[row].values()]
    limit = error_limit([segmentations.surfaces(*pair) for pair in pairs])
    row_height = (WIDTH - NAMES) / 6 * segmentations.aspect + 1.3 * LINE
    most = max(int((HEIGHT - KEY - LINE) / row_height), 1)
    pages = [list(runs)[n : n + most] for n in range(0, len(runs), most)]
    caption = (
        f"Best, median and worst test case by Dice of each method's first run with {labelled} labelled cases. Over "
        f"each: the beginning of the case's name, {DICE.label}, {source.distance.label}. Left of each pair: the axial "
        f"slice with the largest true area. {surface_words(limit, segmentations.classes)} "
        f"{setting(source, shown, averaged=False)}"
    )
    for number, page in enumerate(pages, start=1):
        name, title = f"examples_{labelled}", f"{TITLE}, {labelled} labelled"
        if len(pages) > 1:
            name, title = f"{name}_{number}", f"{title} ({number} of {len(pages)})"
        figure = _figure(segmentations, {row: runs[row] for row in page}, limit, source.distance.name, row_height)
        yield CaptionedFigure(name, title, caption, figure)


def _figure(
    segmentations: Segmentations, runs: dict[str, pd.DataFrame], limit: float, distance: str, row_height: float
) -> Figure:
    """One line per method, from left to right slice and surface of its best, median and worst case."""
    figure, panels = picture_grid(len(runs), 2 * len(PLACES), LINE + len(runs) * row_height)
    for line, (row, run) in zip(panels, runs.items(), strict=True):
        line[0].set_ylabel(wrapped(row, 15, 3), rotation=0, ha="right", va="center", fontsize=SMALL)
        places = best_median_worst(run[DICE.name])
        for place, left, right in zip(PLACES, line[::2], line[1::2], strict=True):
            if place not in places:
                continue
            case, trial = places[place], run["trial"].iloc[0]
            scores = f"Dice {run.loc[case, DICE.name]:.1f}   95HD {run.loc[case, distance]:.1f}".replace("nan", "–")
            left.set_title(f"{segmentations.short_names[case]}   {scores}", loc="left", fontsize=SMALL, pad=2)
            segmentations.draw_slice(left, trial, case)
            segmentations.draw_surfaces(right, case, segmentations.surfaces(trial, case), limit)
    for place, axes in zip(PLACES, panels[0, ::2], strict=True):
        axes.annotate(f"{place} case", (0, 1), xytext=(0, 13), xycoords="axes fraction", textcoords="offset points",
                      weight="bold", fontsize=SMALL)  # fmt: skip
    add_scale_bar(panels[0, 0])
    add_contour_key(figure, segmentations.structures, "lower left")
    add_error_key(figure, limit)
    return figure
