"""Segmentations to look at: the cases that methods disagree on most."""

from collections.abc import Callable, Iterator

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.measured import Measured, setting
from reports.figures.page import KEY, LINE, Page
from reports.figures.segmentations import COLOURS_OF_ERROR, Segmentations, draw_slice, error_limit, surface_words
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import HEIGHT, WIDTH, wrapped
from reports.measures import DICE

TITLES = {
    "disagreement_slices": "Cases that methods disagree on most, axial slices",
    "disagreement_surfaces": "Cases that methods disagree on most, surfaces",
}
MOST_CASES = 3
COLUMNS = (4, 8)  # pictures side by side: no fewer, so that they do not grow huge, and no more, to see something
GAP = 0.05  # inches between pictures
TRUTH = "truth"


def sheets(
    source: Measured, segmentations: Segmentations, shown: pd.DataFrame, labelled: int
) -> Iterator[Sheet | LeftOut]:
    """A figure of slices and one of surfaces of the runs in `shown` (see examples.shown_runs)."""
    titles = {name: f"{title}, {labelled} labelled" for name, title in TITLES.items()}
    compared = shown[shown["role"] != "ceiling"]
    spread = disagreement(compared.pivot(index="case", columns="row", values=DICE.name))
    if compared["row"].nunique() < 2 or spread.empty:
        reason = f"With {labelled} labelled cases fewer than two methods have predictions to compare."
        yield from (LeftOut(f"{name}_{labelled}", title, reason) for name, title in titles.items())
        return
    # the ceiling comes last, to see whether a case is merely hard
    rows = [*dict.fromkeys(compared["row"]), *dict.fromkeys(shown.loc[shown["role"] == "ceiling", "row"])]
    words = (
        "The test cases whose Dice varies most over methods (the ceiling aside): its standard deviation over the first "
        f"runs with {labelled} labelled cases, in percentage points. Methods by mean Dice over all cases; over each "
        "picture the Dice of its case in %."
    )
    runs = shown.set_index(["row", "case"])
    figure = _slices(segmentations, spread, rows, runs)
    caption = f"{words} The axial slice with the largest true area. {setting(source, shown, averaged=False)}"
    yield Sheet(f"disagreement_slices_{labelled}", titles["disagreement_slices"], caption, figure)
    figure, limit = _surfaces(segmentations, spread, rows, runs)
    caption = f"{words} {surface_words(limit, segmentations.classes)} {setting(source, shown, averaged=False)}"
    yield Sheet(f"disagreement_surfaces_{labelled}", titles["disagreement_surfaces"], caption, figure)


def disagreement(dice: pd.DataFrame) -> pd.Series:
    """Standard deviation over methods (columns) of each case's Dice, the largest first; no case that lacks one."""
    return dice.dropna().sort_index().std(axis=1, ddof=1).sort_values(ascending=False, kind="stable")


def _slices(segmentations: Segmentations, spread: pd.Series, rows: list[str], runs: pd.DataFrame) -> Figure:
    """A block a case, an axial slice a method."""

    def draw(page: Page, row: str, case: str, place: tuple, first: bool) -> None:
        draw_slice(page, segmentations, runs.loc[(row, case), "trial"], case, place)
        if first:
            page.scale_bar(20 / segmentations.plane[0] * place[2], *place, mm=20)

    layout = _Layout(rows, runs, segmentations.plane[1] / segmentations.plane[0])
    page = layout.draw(segmentations, spread, draw)
    page.contour_key(segmentations.structures)
    return page.figure


def _surfaces(
    segmentations: Segmentations, spread: pd.Series, rows: list[str], runs: pd.DataFrame
) -> tuple[Figure, float]:
    """A block a case, the true surface and one a method; and the error in mm at which colours end."""
    layout = _Layout([TRUTH, *rows], runs, segmentations.seen[1] / segmentations.seen[0])
    cases = spread.index[: layout.cases]
    predicted = {(row, case): segmentations.surfaces(runs.loc[(row, case), "trial"], case)
                 for case in cases for row in rows}  # fmt: skip
    limit = error_limit(list(predicted.values()))

    def draw(page: Page, row: str, case: str, place: tuple, first: bool) -> None:
        if row == TRUTH:
            page.image(segmentations.true_surface_image(case), *place)
        else:
            page.image(segmentations.surface_image(case, predicted[row, case], limit), *place)

    page = layout.draw(segmentations, spread, draw)
    page.error_key(COLOURS_OF_ERROR, limit)
    return page.figure, limit


class _Layout:
    """Where pictures stand: a block of lines a case, as many cases as fit on a page."""

    def __init__(self, panels: list[str], runs: pd.DataFrame, aspect: float):
        """panels: the rows in order, TRUTH among them or not; aspect: height of a picture over its width."""
        lines = -(-len(panels) // COLUMNS[1])
        columns = max(-(-len(panels) // lines), COLUMNS[0])
        self.runs, self.width = runs, WIDTH / columns - GAP
        self.height = self.width * aspect
        self.lines = [panels[n : n + columns] for n in range(0, len(panels), columns)]
        self.heads = [max(self._title(row).count("\n") + 2 for row in line) * LINE for line in self.lines]
        self.block = 1.6 * LINE + sum(self.heads) + len(self.lines) * (self.height + GAP)
        self.cases = min(MOST_CASES, max(int((HEIGHT - KEY) / self.block), 1))

    def _title(self, row: str) -> str:
        return wrapped(row, int(self.width * 16), 3)

    def draw(self, segmentations: Segmentations, spread: pd.Series, picture: Callable) -> Page:
        """`picture(page, row, case, (left, top, width, height), first)` draws one."""
        spread = spread[: self.cases]
        page = Page(len(spread) * self.block)
        for number, (case, deviation) in enumerate(spread.items()):
            top = number * self.block + 1.3 * LINE
            page.text(0.03, top, f"{segmentations.short_names[case]}: SD over methods {deviation:.1f}", weight="bold")
            for line, head in zip(self.lines, self.heads, strict=True):
                top += head
                for position, row in enumerate(line):
                    left = position * (self.width + GAP)
                    score = "" if row == TRUTH else f"\n{self.runs.loc[(row, case), DICE.name]:.1f}"
                    page.text(left + self.width / 2, top - 0.02, self._title(row) + score, ha="center")
                    first = number == 0 and row == self.lines[0][0]
                    picture(page, row, case, (left, top, self.width, self.height), first)
                top += self.height + GAP
        return page
