"""Every case's Dice and 95HD, by method."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import CEILING, FLOOR, new_figure, wrapped
from reports.measures import DICE

TITLE = "Dice and 95HD of every test case"


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """One figure a labelled budget."""
    if not source.budgets:
        yield LeftOut("distributions", TITLE, "No floor and no method is done yet.")
    for labelled in source.budgets:
        yield _sheet(source, labelled)


def _sheet(source: Measured, labelled: int) -> Sheet:
    """Rows are methods, the best mean Dice on top, above them the ceiling; left Dice in %, right 95HD."""
    runs = source.at(labelled, ceiling=True)
    ceilings = source.rows("ceiling")
    rows = ceilings + by_mean_dice(source.at(labelled))
    floors = [row for row in source.rows("floor") if row in rows]
    figure = new_figure(0.75 + 0.23 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, DICE), (right, source.distance)):
        table = per_case(runs, measure)[rows]
        _boxes(axes, table, source)
        for row in ceilings + floors:
            look = source.look[row]
            axes.axvline(table[row].mean(), color=look.colour, linestyle=look.dashes, linewidth=0.8, zorder=1)
        axes.set_xlabel(measure.label)
    undefined = int(per_case(runs, source.distance).isna().sum().sum())
    _logarithmic(right, per_case(runs, source.distance))
    left.set_yticks(range(len(rows)), [wrapped(row, 22) for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    if ceilings:
        for axes in (left, right):
            axes.axhline(len(ceilings) - 0.5, color="black", linewidth=0.6)
    figure.legend(handles=_key(bool(ceilings), bool(floors)), loc="outside lower center", ncols=5)
    caption = (
        f"Dice (left) and 95HD (right) of each test case with {labelled} labelled cases. Dots: cases, each at the same "
        "height within every row; boxes: quartiles and median, whiskers to the furthest case within 1.5 times the "
        f"quartiles' distance; rows sorted by mean Dice. The axis of 95HD is logarithmic above 1. "
        f"{setting(source, runs)}"
    )
    if undefined:
        caption += f" {undefined} undefined distances of empty predictions are not shown."
    return Sheet(f"distributions_{labelled}", f"{TITLE}, {labelled} labelled", caption, figure)


def _boxes(axes: Axes, table: pd.DataFrame, source: Measured) -> None:
    """A few collections: with artists of its own for each row, a page of them takes seconds."""
    heights = np.linspace(-0.28, 0.28, len(table)) if len(table) > 1 else np.zeros(1)
    values, positions = table.to_numpy(), np.arange(len(table.columns))
    colours = np.array([source.look[row].colour for row in table], dtype=object)
    described = np.isfinite(values).any(axis=0)
    boxes, medians, whiskers = [], [], []
    for column, y in zip(values.T[described], positions[described], strict=True):
        box = boxplot_stats(column[np.isfinite(column)])[0]
        left, right, low, high = box["q1"], box["q3"], box["whislo"], box["whishi"]
        boxes.append([(left, y - 0.31), (right, y - 0.31), (right, y + 0.31), (left, y + 0.31)])
        medians.append([(box["med"], y - 0.31), (box["med"], y + 0.31)])
        whiskers += [[(low, y), (left, y)], [(right, y), (high, y)]]
        whiskers += [[(end, y - 0.155), (end, y + 0.155)] for end in (low, high)]
    axes.hlines(positions, 0, 1, transform=axes.get_yaxis_transform(), color="#eeeeee", linewidth=0.5, zorder=0)
    axes.add_collection(PolyCollection(boxes, facecolors=colours[described], edgecolors="black", alpha=0.25,
                                       linewidths=0.6, zorder=1), autolim=False)  # fmt: skip
    for lines, of_each, width in ((medians, 1, 1.2), (whiskers, 4, 0.6)):
        drawn = LineCollection(lines, colors=np.repeat(colours[described], of_each), linewidths=width, zorder=2)
        axes.add_collection(drawn, autolim=False)
    axes.scatter(values.T, np.add.outer(positions, heights), s=5, c=np.repeat(colours, len(table)), linewidths=0,
                 zorder=3)  # fmt: skip
    axes.scatter(np.nanmean(values[:, described], axis=0), positions[described], s=16, marker="D", facecolor="white",
                 edgecolor="black", linewidths=0.7, zorder=4)  # fmt: skip


def _logarithmic(axes: Axes, table: pd.DataFrame) -> None:
    """A logarithmic axis from the smallest distance up; below 1, where there may be a 0, a linear one."""
    axes.set_xscale("symlog", linthresh=1)
    smallest, largest = table.min().min(), table.max().max()
    if np.isfinite(smallest):
        axes.set_xlim(0 if smallest < 1 else smallest / 1.15, largest * 1.15 or 1)
    ticks = [t for t in (0, 1, 2, 5, 10, 20, 50, 100, 200, 500) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _key(ceiling: bool, floor: bool) -> list[Line2D]:
    point = {"linestyle": "none", "color": "black"}
    key = [
        Line2D([], [], marker="o", markersize=2.5, label="case", **point),
        Line2D([], [], marker="D", markersize=4, markerfacecolor="white", label="mean", **point),
    ]
    for there, look, name in ((ceiling, CEILING, "ceiling"), (floor, FLOOR, "floor")):
        if there:
            line = {"color": look.colour, "linestyle": look.dashes, "linewidth": 0.8}
            key.append(Line2D([], [], label=f"mean of the {name}", **line))
    return key
