"""Every case's Dice and 95HD, by method."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, ScalarFormatter

from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import CEILING, FLOOR, new_figure, wrapped
from reports.scores import DICE, HD95

TITLE = "Dice and 95HD of every test case"


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """One figure a labelled budget."""
    if not source.budgets:
        yield LeftOut("distributions", TITLE, "No floor and no method is done yet.")
    for labelled in source.budgets:
        yield _sheet(source, labelled)


def _sheet(source: Measured, labelled: int) -> Sheet:
    """Rows are methods, the best mean Dice on top, above them the ceiling; left Dice in %, right 95HD in voxels."""
    runs = source.at(labelled, ceiling=True)
    ceilings = source.rows("ceiling")
    rows = ceilings + by_mean_dice(source.at(labelled))
    floors = [row for row in source.rows("floor") if row in rows]
    figure = new_figure(0.75 + 0.23 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, measure in ((left, DICE), (right, HD95)):
        table = per_case(runs, measure)[rows]
        _boxes(axes, table, source)
        for row in ceilings + floors:
            look = source.look[row]
            axes.axvline(table[row].mean(), color=look.colour, linestyle=look.dashes, linewidth=0.8, zorder=1)
        axes.set_xlabel(measure.label)
    undefined = int(per_case(runs, HD95).isna().sum().sum())
    _logarithmic(right, per_case(runs, HD95))
    left.set_yticks(range(len(rows)), [wrapped(row, 22) for row in rows])
    left.set_ylim(len(rows) - 0.4, -0.6)
    if ceilings:
        for axes in (left, right):
            axes.axhline(len(ceilings) - 0.5, color="black", linewidth=0.6)
    figure.legend(handles=_key(bool(ceilings), bool(floors)), loc="outside lower center", ncols=5)
    caption = (
        f"Dice (left) and 95HD (right) of each test case with {labelled} labelled cases. Dots: cases, each at the same "
        "height within every row; boxes: quartiles and median, whiskers to the furthest case within 1.5 times the "
        f"quartiles' distance; rows sorted by mean Dice. {setting(source, runs)}"
    )
    if undefined:
        caption += f" {undefined} undefined distances of empty predictions are not shown."
    return Sheet(f"distributions_{labelled}", f"{TITLE}, {labelled} labelled", caption, figure)


def _boxes(axes: Axes, table: pd.DataFrame, source: Measured) -> None:
    heights = np.linspace(-0.28, 0.28, len(table)) if len(table) > 1 else np.zeros(1)
    for position, row in enumerate(table):
        values, colour = table[row].to_numpy(), source.look[row].colour
        axes.axhline(position, color="#eeeeee", linewidth=0.5, zorder=0)
        defined = values[np.isfinite(values)]
        axes.boxplot(
            [defined], positions=[position], orientation="horizontal", widths=0.62, showfliers=False,
            patch_artist=True, manage_ticks=False,
            boxprops={"facecolor": colour, "alpha": 0.25, "linewidth": 0.6},
            medianprops={"color": colour, "linewidth": 1.2}, whiskerprops={"linewidth": 0.6, "color": colour},
            capprops={"linewidth": 0.6, "color": colour},
        )  # fmt: skip
        axes.scatter(values, position + heights, s=5, color=colour, linewidths=0, zorder=3)
        axes.scatter([defined.mean()] if len(defined) else [], [position] if len(defined) else [], s=16, marker="D",
                     facecolor="white", edgecolor="black", linewidths=0.7, zorder=4)  # fmt: skip


def _logarithmic(axes: Axes, table: pd.DataFrame) -> None:
    """A logarithmic axis from the smallest distance up; below one voxel, where there may be a 0, a linear one."""
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
