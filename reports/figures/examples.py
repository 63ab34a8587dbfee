"""Segmentations to look at: each method's best, median and worst case."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from reports.figures import disagreement
from reports.figures.measured import Measured, by_mean_dice, setting
from reports.figures.page import KEY, LINE, Page
from reports.figures.segmentations import COLOURS_OF_ERROR, Segmentations, draw_slice, error_limit, surface_words
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import HEIGHT, WIDTH, wrapped
from reports.measures import DICE

TITLE = "Best, median and worst case of each method"
PLACES = ("best", "median", "worst")
NAME, HEAD, GAP = 0.95, 0.2, 0.05  # inches: the column of names, the line of places, between pictures


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """For each labelled budget: pages of best, median and worst cases, then the cases of most disagreement."""
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
        yield from _sheets(source, segmentations, shown, labelled)
        yield from disagreement.sheets(source, segmentations, shown, labelled)


def shown_runs(source: Measured, segmentations: Segmentations, labelled: int) -> pd.DataFrame:
    """The lines of each row's first run, in the plan's order, that predicts every case that has a picture.

    Rows are in the order of the other figures: ceiling, then by mean Dice.
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
    """{place: case}: the best, the median (of two the worse) and the worst case by Dice, each case once."""
    cases = list(dice.dropna().sort_index().sort_values(ascending=False, kind="stable").index)
    if not cases:
        return {}
    chosen: dict[str, str] = {}
    for place, case in zip(PLACES, (cases[0], cases[len(cases) // 2], cases[-1]), strict=True):
        if case not in chosen.values():
            chosen[place] = case
    return chosen


def _sheets(source: Measured, segmentations: Segmentations, shown: pd.DataFrame, labelled: int) -> Iterator[Sheet]:
    runs = {row: run.set_index("case") for row, run in shown.groupby("row", sort=False)}
    places = {row: best_median_worst(run[DICE.name]) for row, run in runs.items()}
    pairs = [(run["trial"].iloc[0], case) for row, run in runs.items() for case in places[row].values()]
    limit = error_limit([segmentations.surfaces(*pair) for pair in pairs])
    width, slice_height, surface_height = _sizes(segmentations)
    most = max(int((HEIGHT - KEY - HEAD) / (max(slice_height, surface_height) + LINE + GAP)), 1)
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
        chosen = {row: (runs[row], places[row]) for row in page}
        figure = _figure(segmentations, chosen, limit, source.distance.name)
        yield Sheet(name, title, caption, figure)


def _sizes(segmentations: Segmentations) -> tuple[float, float, float]:
    """Inches: width of every picture, height of a slice and of a surface."""
    width = (WIDTH - NAME) / 6 - GAP
    return width, *(width * size[1] / size[0] for size in (segmentations.plane, segmentations.seen))


def _figure(
    segmentations: Segmentations, rows: dict[str, tuple[pd.DataFrame, dict[str, str]]], limit: float, distance: str
) -> Figure:
    """A line a method; from left to right slice and surface of its best, median and worst case."""
    width, slice_height, surface_height = _sizes(segmentations)
    height = max(slice_height, surface_height)
    page = Page(HEAD + len(rows) * (height + LINE + GAP))
    for place in PLACES:
        left = NAME + 2 * PLACES.index(place) * (width + GAP)
        page.text(left + width + GAP / 2, LINE, f"{place} case", ha="center", weight="bold")
    for line, (row, (run, places)) in enumerate(rows.items()):
        top = HEAD + line * (height + LINE + GAP) + LINE
        page.text(0.03, top + height / 2, wrapped(row, 15, 3), va="center")
        for place, case in places.items():
            left = NAME + 2 * PLACES.index(place) * (width + GAP)
            scores = f"Dice {run.loc[case, DICE.name]:.1f}   95HD {run.loc[case, distance]:.1f}"
            page.text(left, top - 0.02, f"{segmentations.short_names[case]}   {scores.replace('nan', '–')}")
            trial = run["trial"].iloc[0]
            where = (left, top + (height - slice_height) / 2, width, slice_height)
            draw_slice(page, segmentations, trial, case, where)
            if (line, place) == (0, PLACES[0]):
                page.scale_bar(20 / segmentations.plane[0] * width, *where, mm=20)
            picture = segmentations.surface_image(case, segmentations.surfaces(trial, case), limit)
            page.image(picture, left + width + GAP, top + (height - surface_height) / 2, width, surface_height)
    page.contour_key(segmentations.structures)
    page.error_key(COLOURS_OF_ERROR, limit)
    return page.figure
