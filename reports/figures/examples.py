"""Segmentations of each method's best, median and worst test case."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, setting, shown_runs, why_nothing_is_shown
from reports.figures.segmentations import (
    KEY,
    add_contour_key,
    add_error_key,
    add_scale_bar,
    error_limit,
    picture_grid,
    surface_words,
)
from reports.figures.style import HEIGHT, LINE, SMALL, WIDTH, chunks, wrapped
from reports.measures import DICE

PER_BUDGET = True
TITLES = {"examples": "Best, median and worst case of each method"}
PLACES = ("best", "median", "worst")
NAMES = 0.95  # inches: the column of methods' names


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw one line of pictures per method."""
    segmentations, shown = source.segmentations, shown_runs(source, labelled)
    if shown.empty:
        yield "examples", why_nothing_is_shown(source)
        return
    runs = {row: run.set_index("case") for row, run in shown.groupby("row", sort=False)}
    limit = error_limit(
        segmentations.surfaces(run["trial"].iloc[0], case)
        for run in runs.values()
        for case in best_median_worst(run[DICE.name]).values()
    )
    row_height = (WIDTH - NAMES) / 6 * segmentations.aspect + 1.3 * LINE
    most = max(int((HEIGHT - KEY - LINE) / row_height), 1)
    caption = (
        f"Best, median and worst test case by Dice of each method's first run with {labelled} labelled cases. Over "
        f"each: the beginning of the case's name, {DICE.label}, {source.distance.label}. Left of each pair: the axial "
        f"slice with the largest true area. {surface_words(limit, segmentations.classes)} "
        f"{setting(source, shown, averaged=False)}"
    )
    pages = [_figure(source, dict(page), limit, row_height) for page in chunks(list(runs.items()), most)]
    yield "examples", Pages(caption, pages)


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


def _figure(source: Measured, runs: dict[str, pd.DataFrame], limit: float, row_height: float) -> Figure:
    """One line per method, from left to right slice and surface of its best, median and worst case."""
    segmentations, distance = source.segmentations, source.distance.name
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
