"""The critical-difference diagram: the ranks of methods, and which of them the tests do not tell apart."""

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, by_mean_dice, per_case, score_tables, setting
from reports.figures.pairwise_map import seed_aware_p
from reports.figures.style import SMALL, Look, new_figure
from reports.measures import DICE
from reports.statistics import CriticalDifference, critical_difference, ranking
from reports.statistics.friedman import FEWEST_METHODS

PER_BUDGET = True
TITLES = {"ranks": "Ranks, and which methods differ"}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw the ranks of floor and methods: with seeds as samples where they can be, else of trained checkpoints."""
    runs = source.competing(labelled)
    p = seed_aware_p(runs, by_mean_dice(runs))
    if len(p) >= FEWEST_METHODS and p.notna().any(axis=None):
        yield "ranks", _of_methods(source, runs, labelled, p)
    else:
        yield "ranks", _of_checkpoints(source, runs, labelled)


def _of_methods(source: Measured, runs: pd.DataFrame, labelled: int, p: pd.DataFrame) -> Pages:
    """Mean ranks over resampled seeds and cases; bars by the seed-aware test."""
    ranked = ranking(score_tables(runs))
    figure, axes = diagram(ranked["mean_rank"], p.fillna(1), source.look)  # without a test nothing is told apart
    axes.set_title("mean rank by Dice, seeds and cases resampled (1 = best)", pad=10)
    caption = (
        f"Rank by mean Dice with {labelled} labelled cases, averaged over resamples of seeds and of test cases; 1 is "
        "the best. Bars join methods that the seed-aware test does not tell apart (p ≥ 0.05, Holm-corrected over all "
        "pairs, as the rings of the map of differences). A dot on a bar is a method that it joins; one without a dot "
        "differs from another of the bar. Seeds and cases are samples, so this compares methods. Methods joined by a "
        f"bar need not be alike. {setting(source, runs)}"
    )
    return Pages(caption, [figure])


def _of_checkpoints(source: Measured, runs: pd.DataFrame, labelled: int) -> Pages | str:
    """Mean ranks within cases; bars by Nemenyi's test."""
    result = critical_difference(per_case(runs, DICE))
    if result.reason:
        return f"No ranks to compare: {result.reason}."
    figure = nemenyi_diagram(result, source.look)
    p = "< 0.001" if result.p < 0.001 else f"= {result.p:.3f}"
    caption = (
        f"Mean rank by Dice over {result.n} test cases with {labelled} labelled cases; 1 is the best. Friedman's test "
        f"that all rank alike: p {p}. Bars join methods whose mean ranks differ by no more than Nemenyi's critical "
        f"difference at 5 % (CD = {result.distance:.2f}): these cases do not tell them apart. There are too few seeds "
        "for a test that compares methods. This one compares trained checkpoints, not how methods vary from seed to "
        f"seed. {setting(source, runs)}"
    )
    return Pages(caption, [figure])


def nemenyi_diagram(result: CriticalDifference, look: Mapping[str, Look]) -> Figure:
    """Mean ranks with the critical difference, and bars that join what it does not tell apart."""
    figure, axes = diagram(result.mean_ranks, result.pairwise, look)
    best, end = result.mean_ranks.iloc[0], result.mean_ranks.iloc[0] + result.distance
    axes.plot([best, end], [1.6, 1.6], color="black", linewidth=0.8, marker="|")
    axes.text((best + end) / 2, 1.7, f"CD = {result.distance:.2f}", ha="center", va="bottom", fontsize=SMALL)
    axes.set_title("mean rank by Dice (1 = best)", pad=10)
    figure.set_figheight(0.6 + 0.16 * axes.dataLim.height)
    return figure


def diagram(ranks: pd.Series, p: pd.DataFrame, look: Mapping[str, Look]) -> tuple[Figure, Axes]:
    """Methods on a line of ranks, joined where p is 0.05 or more."""
    from scikit_posthocs import critical_difference_diagram  # here, because it loads pyplot, which takes a second

    figure = new_figure(1)
    axes = figure.subplots()
    diagram = critical_difference_diagram(
        ranks,
        p,
        ax=axes,
        label_fmt_left="{label:.30}   {rank:.1f} ",
        label_fmt_right=" {rank:.1f}   {label:.30}",
        label_props={"fontsize": SMALL},
        elbow_props={"linewidth": 0.9},
        marker_props={"s": 14},
        crossbar_props={"color": "#444444", "linewidth": 2.4, "solid_capstyle": "butt", "marker": "o", "markersize": 4},
        color_palette={row: look[row].colour for row in ranks.index},
    )
    for label in diagram["labels"]:
        label.set_color("black")
    for (crossbar,) in diagram["crossbars"]:
        crossbar.set_xdata(sorted(crossbar.get_xdata()))  # scikit-posthocs draws the points in a random order
    axes.locator_params(axis="x", integer=True, nbins=20)
    axes.spines["top"].set_visible(True)
    figure.set_figheight(0.6 + 0.16 * axes.dataLim.height)
    return figure, axes
