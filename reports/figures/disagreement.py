"""Segmentations of the test cases that methods disagree on most."""

from collections.abc import Callable, Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, setting, shown_runs, why_nothing_is_shown
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

PER_BUDGET = True
TITLES = {
    "disagreement_slices": "Cases that methods disagree on most, axial slices",
    "disagreement_surfaces": "Cases that methods disagree on most, surfaces",
}
MOST_CASES = 3
COLUMNS = (4, 8)  # the fewest and the most pictures side by side
LABEL = 0.3  # inches: the column of cases' names
TRUTH = "truth"


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw a figure of slices and one of surfaces."""
    segmentations, shown = source.segmentations, shown_runs(source, labelled)
    if shown.empty:
        yield from dict.fromkeys(TITLES, why_nothing_is_shown(source)).items()
        return
    compared = shown[shown["role"] != "ceiling"]
    spread = disagreement(compared.pivot(index="case", columns="row", values=DICE.name))
    if compared["row"].nunique() < 2 or spread.empty:
        reason = f"With {labelled} labelled cases fewer than two methods have predictions to compare."
        yield from dict.fromkeys(TITLES, reason).items()
        return
    # the ceiling comes last, to show whether a case is merely hard
    rows = [*dict.fromkeys(compared["row"]), *dict.fromkeys(shown.loc[shown["role"] == "ceiling", "row"])]
    aside = " (the ceiling aside)" * (len(compared) < len(shown))
    words = (
        f"The test cases whose Dice varies most over methods{aside}. SD is its standard deviation over the "
        f"first runs with {labelled} labelled cases, in percentage points. Methods are sorted by mean Dice over all "
        "cases. Over each picture stands the Dice of its case in %."
    )
    runs = shown.set_index(["row", "case"])
    trial = runs["trial"]

    def draw_slice(axes: Axes, row: str, case: str) -> None:
        segmentations.draw_slice(axes, trial[row, case], case)

    figure = _figure(segmentations, rows, spread, runs, draw_slice)
    add_scale_bar(figure.axes[0])
    add_contour_key(figure, segmentations.structures, "outside lower left")
    caption = f"{words} The axial slice with the largest true area. {setting(source, shown, averaged=False)}"
    yield "disagreement_slices", Pages(caption, [figure])

    cases = spread.index[:MOST_CASES]
    limit = error_limit(segmentations.surfaces(trial[row, case], case) for case in cases for row in rows)

    def draw_surfaces(axes: Axes, row: str, case: str) -> None:
        if row == TRUTH:
            segmentations.draw_true_surfaces(axes, case)
        else:
            segmentations.draw_surfaces(axes, case, segmentations.surfaces(trial[row, case], case), limit)

    figure = _figure(segmentations, [TRUTH, *rows], spread, runs, draw_surfaces)
    add_error_key(figure, limit)
    caption = f"{words} {surface_words(limit, segmentations.classes)} {setting(source, shown, averaged=False)}"
    yield "disagreement_surfaces", Pages(caption, [figure])


def disagreement(dice: pd.DataFrame) -> pd.Series:
    """Standard deviation over methods (columns) of each case's Dice, the largest first, of cases without gaps."""
    return dice.dropna().sort_index().std(axis=1, ddof=1).sort_values(ascending=False, kind="stable")


def _figure(
    segmentations: Segmentations,
    rows: list[str],
    spread: pd.Series,
    runs: pd.DataFrame,
    picture: Callable[[Axes, str, str], None],
) -> Figure:
    """A block of lines per case, as many cases as fit on a page; `picture(axes, row, case)` draws one picture."""
    lines = -(-len(rows) // COLUMNS[1])
    columns = max(-(-len(rows) // lines), COLUMNS[0])
    titles = [wrapped(row, int(16 * WIDTH / columns), 3) for row in rows]
    heads = [2.3 + max(title.count("\n") for title in titles[n : n + columns]) for n in range(0, len(rows), columns)]
    height = lines * (WIDTH - LABEL) / columns * segmentations.aspect + sum(heads) * LINE
    spread = spread[: min(max(int((HEIGHT - KEY) / height), 1), MOST_CASES)]
    figure, panels = picture_grid(len(spread) * lines, columns, len(spread) * height)
    for (case, deviation), block in zip(spread.items(), panels.reshape(len(spread), -1), strict=True):
        block[0].set_ylabel(f"{segmentations.short_names[case]}\nSD {deviation:.1f}", weight="bold", fontsize=SMALL)
        for axes, row, title in zip(block, rows, titles, strict=False):
            score = "" if row == TRUTH else f"\n{runs.loc[(row, case), DICE.name]:.1f}"
            axes.set_title(title + score, fontsize=SMALL, pad=2)
            picture(axes, row, case)
    return figure
