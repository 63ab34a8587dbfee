"""A map of all pairs of methods: how much they differ in mean Dice, and which tests find a difference."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, by_mean_dice, per_case, score_tables, setting
from reports.figures.style import SMALL, WIDTH, new_figure, wrapped
from reports.measures import DICE
from reports.statistics import FEWEST_FOR_MARKS, holm_of_cases, paired_t_test, run_pool, seed_aware_test

PER_BUDGET = True
TITLES = {"significance": "Differences in Dice between all methods"}
MOST_WITH_NUMBERS = 12  # with more methods the cells are too small for text
NARROWEST, WIDE_KEY = 4.0, 5.5  # inches: of the figure, and from which on the keys of both marks stand side by side
DOT = {"linestyle": "none", "marker": "o", "markersize": 2.6, "markeredgewidth": 0}
RING = {"linestyle": "none", "marker": "o", "markersize": 5.6, "markeredgewidth": 0.7, "markerfacecolor": "none"}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw the map of floor and methods."""
    runs = source.competing(labelled)
    if runs["row"].nunique() < 2:
        one = next(iter(runs["row"]), "no method")
        yield "significance", f"With {labelled} labelled cases only {one} is done."
        return
    differences, by_cases, by_seeds = pairwise(runs, by_mean_dice(runs))
    if by_seeds.isna().all(axis=None):
        by_seeds = None
    caption = _caption(source, runs, labelled, by_cases, by_seeds)
    yield "significance", Pages(caption, [_figure(differences, by_cases, by_seeds)])


def pairwise(runs: pd.DataFrame, rows: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Compare all pairs of methods.

    Args:
        runs: lines of `Measured.runs`.
        rows: names of the methods.

    Returns:
        Three tables, methods by methods: mean Dice of row minus column; p of the paired t-test over cases; p of the
        seed-aware test, with the pool of all methods as in tables. Both p are Holm-corrected over all pairs, and NaN
        where a test cannot be made.
    """
    cases = per_case(runs, DICE)
    paired = [paired_t_test(cases[a], cases[b]) for a, b in combinations(rows, 2)]
    return (
        _matrix(rows, [test.difference for test in paired], sign=-1),
        _matrix(rows, holm_of_cases([test.p for test in paired], [test.n for test in paired])),
        seed_aware_p(runs, rows),
    )


def seed_aware_p(runs: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    """p of the seed-aware test of all pairs, as `pairwise` has it."""
    scores = score_tables(runs)
    pool = run_pool(scores.values())
    tests = [seed_aware_test(scores[a], scores[b], pool) for a, b in combinations(rows, 2)]
    return _matrix(rows, holm_of_cases([test.p for test in tests], [test.cases for test in tests]))


def _matrix(rows: list[str], values, sign: int = 1) -> pd.DataFrame:
    """Put the values of all pairs (in the order of `combinations`) above the diagonal, and times `sign` below it."""
    matrix = np.full((len(rows), len(rows)), np.nan)
    first, second = np.triu_indices(len(rows), k=1)
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
    axes.set_xticks(np.arange(1, count) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, count) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="both", length=0)
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


def _mark(axes: Axes, p: pd.DataFrame, ink: np.ndarray, numbers: bool, mark: dict, label: str) -> Line2D:
    """Mark the significant pairs, above their number if there is one. Returns the line of the key."""
    for colour in ("black", "white"):
        y, x = np.nonzero((p < 0.05).to_numpy() & (ink == colour))
        axes.plot(x, y - (0.2 if numbers else 0), color=colour, **mark)
    return Line2D([], [], color="black", **mark, label=label)


def _caption(
    source: Measured, runs: pd.DataFrame, labelled: int, by_cases: pd.DataFrame, by_seeds: pd.DataFrame | None
) -> str:
    pairs = len(by_cases) * (len(by_cases) - 1) // 2
    few = ""
    if runs["case"].nunique() < FEWEST_FOR_MARKS:
        few = f"Marks need {FEWEST_FOR_MARKS} test cases or more. "
    seeds = "There are too few seeds for a test of whether methods would differ if trained again."
    if by_seeds is not None:
        seeds = (
            "Rings: p < 0.05 in the seed-aware test, Holm-corrected likewise "
            f"({(by_seeds < 0.05).sum(axis=None) // 2} of them); it compares methods."
        )
    return (
        f"Mean Dice of the row minus that of the column, in percentage points, with {labelled} labelled cases; methods "
        "sorted by mean Dice. Dots: p < 0.05 in a paired t-test over cases, Holm-corrected over "
        f"{f'the {pairs} pairs' if pairs > 1 else 'the one pair'} ({(by_cases < 0.05).sum(axis=None) // 2} of them); "
        f"it compares trained checkpoints. {few}{seeds} "
        f"{setting(source, runs)}"
    )
