"""What choosing the checkpoint on the test cases adds to the Dice of each method."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.captioned import Pages
from reports.figures.distributions import MEAN
from reports.figures.measured import Measured, setting
from reports.figures.style import LOWEST, new_figure, wrapped
from reports.selection import GAIN, KNOWN_SIZES

PER_BUDGET = True
TITLES = {"selection": "What selection on test cases adds"}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw a line for each method, with a dot for each run."""
    runs = source.at(labelled)
    gains = source.selected[source.selected["trial"].isin(runs["trial"])]
    if gains.empty:
        yield "selection", f"With {labelled} labelled cases no method has stored checkpoints in all of its runs."
        return
    caption = (
        "Dice of the best checkpoint on the test cases (oracle) minus that of the last, with "
        f"{labelled} labelled cases. A dot is a run, a diamond the mean over runs. The checkpoints of a run are those "
        f"of every {source.experiment.plan.evaluation.checkpoints} iterations and the last. A figure that was selected "
        f"on test cases contains such a gain. {KNOWN_SIZES} {setting(source, runs, averaged=False)}"
    )
    yield "selection", Pages(caption, [_figure(source, gains)])


def _figure(source: Measured, gains: pd.DataFrame) -> Figure:
    by_row = gains.groupby("row")[GAIN]
    rows = list(by_row.mean().sort_values(ascending=False, kind="stable").index)
    figure = new_figure(max(0.9 + 0.23 * len(rows), LOWEST))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        values, colour = by_row.get_group(row), source.look[row].colour
        axes.scatter(values, [y] * len(values), s=14, color=colour, linewidths=0, zorder=3)
        axes.plot(values.mean(), y, linestyle="none", zorder=4, **MEAN)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), [wrapped(row, 40) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("oracle − last checkpoint [points of Dice]")
    axes.grid()
    key = [
        Line2D([], [], linestyle="none", color="black", marker="o", markersize=3.5, label="run"),
        Line2D([], [], linestyle="none", **MEAN, label="mean"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=len(key))
    return figure
