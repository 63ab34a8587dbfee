"""The critical-difference diagram: mean ranks over cases, and which methods they cannot tell apart."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, per_case, setting
from reports.figures.style import SMALL, new_figure
from reports.measures import DICE
from reports.statistics import CriticalDifference, critical_difference

PER_BUDGET = True
TITLES = {"ranks": "Critical difference of mean ranks"}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw the mean ranks of floor and methods."""
    runs = source.competing(labelled)
    result = critical_difference(per_case(runs, DICE))
    if result.reason:
        yield "ranks", f"No ranks to compare: {result.reason}."
        return
    p = "< 0.001" if result.p < 0.001 else f"= {result.p:.3f}"
    caption = (
        f"Mean rank by Dice over {result.n} test cases with {labelled} labelled cases; 1 is the best. Friedman's test "
        f"that all rank alike: p {p}. Bars join methods whose mean ranks differ by no more than Nemenyi's critical "
        f"difference at 5 % (CD = {result.distance:.2f}): these cases do not tell them apart. The test compares "
        f"trained checkpoints, not how methods vary from seed to seed. {setting(source, runs)}"
    )
    yield "ranks", Pages(caption, [_figure(source, result)])


def _figure(source: Measured, result: CriticalDifference) -> Figure:
    from scikit_posthocs import critical_difference_diagram  # here, because it loads pyplot, which takes a second

    ranks = result.mean_ranks
    figure = new_figure(1)
    axes = figure.subplots()
    diagram = critical_difference_diagram(
        ranks,
        result.pairwise,
        ax=axes,
        label_fmt_left="{label:.30}   {rank:.1f} ",
        label_fmt_right=" {rank:.1f}   {label:.30}",
        label_props={"fontsize": SMALL},
        elbow_props={"linewidth": 0.9},
        marker_props={"s": 14},
        crossbar_props={"color": "#444444", "linewidth": 2.4, "solid_capstyle": "butt"},
        color_palette={row: source.look[row].colour for row in ranks.index},
    )
    for label in diagram["labels"]:
        label.set_color("black")
    for (crossbar,) in diagram["crossbars"]:
        crossbar.set_xdata(sorted(crossbar.get_xdata()))  # scikit-posthocs draws the points in a random order
    best, end = ranks.iloc[0], ranks.iloc[0] + result.distance
    axes.plot([best, end], [1.6, 1.6], color="black", linewidth=0.8, marker="|")
    axes.locator_params(axis="x", integer=True, nbins=20)
    axes.spines["top"].set_visible(True)
    axes.text((best + end) / 2, 1.7, f"CD = {result.distance:.2f}", ha="center", va="bottom", fontsize=SMALL)
    axes.set_title("mean rank by Dice (1 = best)", pad=10)
    figure.set_figheight(0.6 + 0.16 * axes.dataLim.height)
    return figure
