"""The critical-difference diagram: mean ranks over cases, and which methods they cannot tell apart."""

import textwrap
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.measured import Measured, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import SMALL, new_figure
from reports.measures import DICE
from reports.statistics import CriticalDifference, critical_difference

TITLE = "Critical difference of mean ranks"
LEVEL = 0.55  # between bars, where 1 is between names


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """One figure a labelled budget: floor and methods, not the ceiling."""
    if not source.budgets:
        yield LeftOut("ranks", TITLE, "No floor and no method is done yet.")
    for labelled in source.budgets:
        runs = source.at(labelled)
        result = critical_difference(per_case(runs, DICE))
        name, title = f"ranks_{labelled}", f"{TITLE}, {labelled} labelled"
        if result.reason:
            yield LeftOut(name, title, f"No ranks to compare: {result.reason}.")
            continue
        p = "< 0.001" if result.p < 0.001 else f"= {result.p:.3f}"
        caption = (
            f"Mean rank by Dice over {result.n} test cases with {labelled} labelled cases; 1 is the best. Friedman's "
            f"test that all rank alike: p {p}. Grey bars join methods whose mean ranks differ by no more than "
            f"Nemenyi's critical difference at 5 % (CD = {result.distance:.2f}): these cases do not tell them apart. "
            f"The test is about trained checkpoints, not about how methods vary from seed to seed. "
            f"{setting(source, runs)}"
        )
        yield Sheet(name, title, caption, _figure(source, result))


def indistinct(ranks: pd.Series, distance: float) -> list[tuple[float, float]]:
    """The longest stretches of mean ranks (sorted) with two methods or more that lie within `distance`: their ends."""
    values, stretches, reached = list(ranks), [], -1
    for first, low in enumerate(values):
        last = max(n for n, high in enumerate(values) if high - low <= distance)
        if last > max(first, reached):
            stretches.append((low, values[last]))
        reached = max(reached, last)
    return stretches


def levels(stretches: list[tuple[float, float]], gap: float) -> list[int]:
    """A level for each stretch, as near to 0 as it can be without touching an earlier one's."""
    ends: list[float] = []
    placed = []
    for low, high in stretches:
        free = next((n for n, end in enumerate(ends) if end + gap <= low), len(ends))
        ends[free : free + 1] = [high]
        placed.append(free)
    return placed


def _figure(source: Measured, result: CriticalDifference) -> Figure:
    """Ranks from the best on the left; a line leads from each to its name, the better half on the left."""
    ranks, count = result.mean_ranks, len(result.mean_ranks)
    stretches = indistinct(ranks, result.distance)
    placed = levels(stretches, 0.02 * count)
    first_name = 0.8 + LEVEL * (max(placed, default=-1) + 1) + 0.5
    left = (count + 1) // 2
    bottom = first_name + left
    figure = new_figure(0.35 + 0.16 * (bottom + 2))
    axes = figure.add_axes((0.27, 0.02, 0.46, 0.96))
    figure.set_layout_engine("none")
    axes.set_axis_off()
    axes.set_xlim(1, count)
    axes.set_ylim(bottom, -2.6)
    _draw_scale(axes, count, result.distance)
    for position, (row, rank) in enumerate(ranks.items()):
        on_left, look = position < left, source.look[row]
        y = first_name + (position if on_left else count - 1 - position)
        end = 1 - 0.01 * count if on_left else count + 0.01 * count
        axes.plot([rank, rank, end], [0, y, y], color=look.colour, linewidth=0.9, clip_on=False)
        name = textwrap.shorten(row, 30, placeholder="…")
        text = f"{name}   {rank:.1f}" if on_left else f"{rank:.1f}   {name}"
        axes.annotate(text, (end, y), xytext=(-3 if on_left else 3, 0), textcoords="offset points", va="center",
                      ha="right" if on_left else "left", fontsize=SMALL, annotation_clip=False)  # fmt: skip
        axes.plot(rank, 0, marker=look.marker, color=look.colour, markersize=look.size, clip_on=False, zorder=4)
    for (low, high), level in zip(stretches, placed, strict=True):
        y = 0.8 + LEVEL * level
        margin = 0.004 * count
        axes.plot(
            [low - margin, high + margin], [y, y], color="#444444", linewidth=2.4, solid_capstyle="butt", zorder=3
        )
    return figure


def _draw_scale(axes: Axes, count: int, distance: float) -> None:
    """The axis of ranks, and above it the critical difference as long as it is."""
    axes.plot([1, count], [0, 0], color="black", linewidth=0.8, zorder=2, clip_on=False)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [-0.25, 0], color="black", linewidth=0.6, zorder=2, clip_on=False)
        axes.text(rank, -0.4, str(rank), ha="center", va="bottom", fontsize=SMALL)
    axes.plot([1, 1 + distance], [-1.7, -1.7], color="black", linewidth=0.8, marker="|", markersize=4, clip_on=False)
    axes.text(1 + distance / 2, -1.8, f"CD = {distance:.2f}", ha="center", va="bottom", fontsize=SMALL)
    axes.annotate("mean rank by Dice\n(1 = best)", (1, 0), xytext=(-10, 0), textcoords="offset points", ha="right",
                  va="center", fontsize=SMALL, annotation_clip=False)  # fmt: skip
