"""Dice and 95HD of every test case, by method."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.style import CEILING, FLOOR, LOWEST, new_figure, wrapped
from reports.measures import DICE

PER_BUDGET = True
TITLES = {"distributions": "Dice and 95HD of every test case"}
TICKS, FEWEST_TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500), 3  # of distances
MEAN = {"marker": "D", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": "black", "markeredgewidth": 0.7}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw one line per method, the ceiling on top, then by mean Dice. Dice is on the left, 95HD on the right."""
    runs = source.at(labelled, ceiling=True)
    ceilings = source.rows("ceiling")
    rows = ceilings + by_mean_dice(source.at(labelled))
    floors = [row for row in source.rows("floor") if row in rows]
    figure = new_figure(max(0.75 + 0.23 * len(rows), LOWEST))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, DICE), (right, source.distance)):
        table = per_case(runs, measure)
        for y, row in enumerate(rows):
            _draw_row(axes, table[row], y, source.look[row].colour)
        for row in ceilings + floors:
            axes.axvline(table[row].mean(), **source.look[row].reference_line, zorder=1)
        if ceilings:
            axes.axhline(len(ceilings) - 0.5, color="black", linewidth=0.6)
        axes.set_xlabel(measure.label)
        axes.grid(axis="y")
    distances = per_case(runs, source.distance)
    _set_distance_axis(right, distances)
    left.set_yticks(range(len(rows)), [wrapped(row, 22) for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    key = [
        Line2D([], [], linestyle="none", color="black", marker="o", markersize=2.5, label="case"),
        Line2D([], [], linestyle="none", **MEAN, label="mean"),
    ]
    key += [Line2D([], [], **CEILING.reference_line, label="mean of the ceiling")] * bool(ceilings)
    key += [Line2D([], [], **FLOOR.reference_line, label="mean of the floor")] * bool(floors)
    figure.legend(handles=key, loc="outside lower center", ncols=len(key))
    caption = (
        f"Dice (left) and 95HD (right) of each test case with {labelled} labelled cases. A dot is a case. It has the "
        "same height within every row. Boxes show quartiles and median. Whiskers reach the furthest case within 1.5 "
        "times the distance of the quartiles. Rows are sorted by mean Dice. The axis of 95HD is logarithmic above 1. "
        f"{setting(source, runs)}"
    )
    undefined = int(distances.isna().sum().sum())
    if undefined:
        caption += f" {undefined} undefined distances of empty predictions are not shown."
    yield "distributions", Pages(caption, [figure])


def _draw_row(axes: Axes, values: pd.Series, y: int, colour: str) -> None:
    line = {"color": colour, "linewidth": 0.6}
    axes.boxplot(
        values.dropna(), orientation="horizontal", positions=[y], widths=0.62, capwidths=0.31, manage_ticks=False,
        patch_artist=True, boxprops={"facecolor": colour, "linewidth": 0.6, "alpha": 0.25}, whiskerprops=line,
        capprops=line, medianprops={"color": colour, "linewidth": 1.2}, showfliers=False,
        showmeans=True, meanprops=MEAN | {"zorder": 4},
    )  # fmt: skip
    heights = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else [0]
    axes.scatter(values, np.add(y, heights), s=5, color=colour, linewidths=0, zorder=3)


def _set_distance_axis(axes: Axes, distances: pd.DataFrame) -> None:
    """Make the axis logarithmic above 1 and linear below it, where there may be zeros."""
    axes.set_xscale("symlog", linthresh=1)
    smallest, largest = distances.min().min(), distances.max().max()
    if np.isfinite(smallest):
        axes.set_xlim(0 if smallest < 1 else smallest / 1.15, largest * 1.15 or 1)
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) < FEWEST_TICKS:  # the distances are of one size
        ticks = MaxNLocator(FEWEST_TICKS + 1).tick_values(low, high)[1:-1]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
