"""The map of all pairs of methods: how much they differ in mean Dice, and which tests say so."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import SMALL, WIDTH, new_figure, wrapped
from reports.measures import DICE
from reports.statistics import holm, paired_t_test, seed_aware_test

TITLE = "Differences in Dice between all methods"
MOST_WITH_NUMBERS = 12  # more columns are too narrow for type of 7 points
NARROWEST, WIDE_KEY = 4.0, 5.5  # inches: of the figure, and from which on both marks' keys stand side by side
DOT, RING = 2.6, 5.6  # points across


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """One figure a labelled budget: floor and methods, not the ceiling."""
    if not source.budgets:
        yield LeftOut("significance", TITLE, "No floor and no method is done yet.")
    for labelled in source.budgets:
        runs = source.at(labelled)
        name, title = f"significance_{labelled}", f"{TITLE}, {labelled} labelled"
        if runs["row"].nunique() < 2:
            yield LeftOut(name, title, f"With {labelled} labelled cases only {runs['row'].iloc[0]} is done.")
        else:
            yield _sheet(source, runs, labelled, name, title)


def _sheet(source: Measured, runs: pd.DataFrame, labelled: int, name: str, title: str) -> Sheet:
    rows = by_mean_dice(runs)
    differences, by_cases, by_seeds = pairwise(runs, rows)
    pairs = len(rows) * (len(rows) - 1) // 2
    tested = np.isfinite(by_seeds).to_numpy().any()
    found = [int((p < 0.05).to_numpy().sum()) // 2 for p in (by_cases, by_seeds)]
    caption = (
        f"Mean Dice of the row minus that of the column, in percentage points, with {labelled} labelled cases; methods "
        f"sorted by mean Dice. Dots: p < 0.05 in a paired t-test over cases, Holm-corrected over the {pairs} pairs "
        f"({found[0]} of them); it compares trained checkpoints. "
        + (
            f"Rings: p < 0.05 in the seed-aware test, Holm-corrected likewise ({found[1]} of them); it compares "
            "methods. "
            if tested
            else "No method has two seeds, so no test here says whether methods would differ if trained again. "
        )
        + setting(source, runs)
    )
    return Sheet(name, title, caption, _figure(differences, by_cases, by_seeds if tested else None))


def pairwise(runs: pd.DataFrame, rows: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Three tables rows × rows: mean Dice of row minus column; Holm-corrected p of the paired t-test over cases, and of
    the seed-aware test (NaN where a test cannot be made)."""
    cases = per_case(runs, DICE)
    run = ["draw", "trial"] if runs["draw"].nunique() > 1 else "trial"
    tables = {row: group.pivot(index=run, columns="case", values=DICE.name)
              for row, group in runs.groupby("row")}  # fmt: skip
    pairs = list(combinations(rows, 2))
    by_case = {row: cases[row] for row in rows}
    paired = [paired_t_test(by_case[a], by_case[b]) for a, b in pairs]
    seeded = [seed_aware_test(tables[a], tables[b]) for a, b in pairs]
    return (
        _matrix(rows, pairs, [test.difference for test in paired], sign=-1),
        _matrix(rows, pairs, holm([test.p for test in paired])),
        _matrix(rows, pairs, holm([test.p for test in seeded])),
    )


def _matrix(rows: list[str], pairs: list[tuple[str, str]], values, sign: int = 1) -> pd.DataFrame:
    matrix = np.full((len(rows), len(rows)), np.nan)
    first, second = np.array([(rows.index(a), rows.index(b)) for a, b in pairs]).T
    matrix[first, second], matrix[second, first] = values, sign * np.asarray(values)
    return pd.DataFrame(matrix, index=rows, columns=rows)


def _figure(differences: pd.DataFrame, by_cases: pd.DataFrame, by_seeds: pd.DataFrame | None) -> Figure:
    count = len(differences)
    side = min(0.5, 5.2 / count)
    width = max(1.75 + side * count, NARROWEST)
    figure = new_figure(width, min(WIDTH, 2.4 + side * count))
    axes = figure.subplots()
    limit = float(np.nanmax(np.abs(differences))) or 1.0
    image = axes.imshow(differences, cmap="RdBu", vmin=-limit, vmax=limit)
    names = [wrapped(row, 22) for row in differences]
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
    axes.tick_params(length=0)
    for draw_lines in (axes.hlines, axes.vlines):
        draw_lines(np.arange(1, count) - 0.5, -0.5, count - 0.5, color="white", linewidth=0.8, zorder=0.5)
    axes.spines[:].set_visible(False)
    ink = np.where(np.abs(differences) > 0.6 * limit, "white", "black")
    numbers = count <= MOST_WITH_NUMBERS
    if numbers:
        for y, x in np.argwhere(np.isfinite(differences.to_numpy())):
            text = f"{round(differences.iloc[y, x], 1) or 0:+.1f}".replace("-", "−")
            axes.text(x, y + 0.06, text, ha="center", va="top", fontsize=SMALL, color=ink[y, x])
    key = [_mark(axes, by_cases, ink, numbers, DOT, "p < 0.05 over cases (paired t-test, Holm)")]
    if by_seeds is not None:
        key.append(_mark(axes, by_seeds, ink, numbers, RING, "p < 0.05 over seeds and cases (Holm)"))
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=25, pad=0.02)
    bar.set_label("Dice of row − column [percentage points]")
    bar.outline.set_linewidth(0.4)
    figure.legend(handles=key, loc="outside lower center", ncols=2 if width > WIDE_KEY else 1)
    return figure


def _mark(axes: Axes, p: pd.DataFrame, ink: np.ndarray, numbers: bool, size: float, label: str) -> Line2D:
    """Mark the significant pairs, above the number where there is one; returns the line of the key."""
    for colour in ("black", "white"):
        y, x = np.nonzero((p < 0.05).to_numpy() & (ink == colour))
        axes.plot(x, y - (0.2 if numbers else 0), **_marker(size, colour))
    return Line2D([], [], **_marker(size, "black"), label=label)


def _marker(size: float, colour: str) -> dict:
    filled = {"markeredgewidth": 0} if size == DOT else {"markerfacecolor": "none", "markeredgewidth": 0.7}
    return {"linestyle": "none", "marker": "o", "markersize": size, "color": colour} | filled
