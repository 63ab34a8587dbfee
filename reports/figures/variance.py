"""Where the variance of single scores comes from, a bar for each number of labelled cases."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, score_tables, setting
from reports.figures.style import COLOURS, SMALL, new_figure
from reports.statistics import Components, variance_components

PER_BUDGET = False
TITLES = {"variance": "Where the variance of Dice comes from"}
COLOUR = {
    "case": "#d4d4d4", "method": COLOURS[0], "method × case": COLOURS[4], "draw": COLOURS[1],
    "method × draw": COLOURS[5], "method × draw, seed": COLOURS[5], "seed": COLOURS[3], "residual": "#8c8c8c",
}  # fmt: skip
LEAST_WITH_NUMBER = 0.03  # share of the bar


def draw(source: Measured, labelled: None) -> Iterator[tuple[str, Pages | str]]:
    """Draw the components of each budget that has them."""
    found = {budget: variance_components(score_tables(source.competing(budget)).values()) for budget in source.budgets}
    known = {budget: parts for budget, parts in found.items() if not parts.reason}
    if not known:
        reasons = dict.fromkeys(parts.reason for parts in found.values())
        yield "variance", f"The variance cannot be divided: {'; '.join(reasons)}."
        return
    runs = pd.concat([source.competing(budget) for budget in known])
    yield "variance", Pages(_caption(source, runs, known), [_figure(known)])


def _figure(known: dict[int, Components]) -> Figure:
    figure = new_figure(0.9 + 0.34 * len(known))
    axes = figure.subplots()
    shares = pd.DataFrame({f"{budget} labelled": parts.shares for budget, parts in known.items()}).fillna(0)
    left = pd.Series(0.0, index=shares.columns)
    for name in [name for name in COLOUR if name in shares.index]:
        widths = 100 * shares.loc[name]
        bars = axes.barh(shares.columns, widths, left=left, color=COLOUR[name], edgecolor="white", linewidth=0.6,
                         label=name)  # fmt: skip
        shown = [f"{width:.0f}" if width >= 100 * LEAST_WITH_NUMBER else "" for width in widths]
        axes.bar_label(bars, shown, label_type="center", fontsize=SMALL)
        left += widths
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the variance of a single score [%]")
    figure.legend(loc="outside lower center", ncols=7)
    return figure


def _caption(source: Measured, runs: pd.DataFrame, known: dict[int, Components]) -> str:
    spreads = "; ".join(
        f"{budget} labelled: " + ", ".join(f"{name} {value**0.5:.1f}" for name, value in parts.variances.items())
        for budget, parts in known.items()
    )
    drawn = ""
    if any("draw" in name for parts in known.values() for name in parts.variances.index):
        drawn = "Draw: some draws of the labelled cases are better for every method. "
    return (
        "Shares of the variance of a single Dice, one run in one test case, over floor and methods. Case: some cases "
        "are harder for every method. Method: methods differ in the mean. Method × case: they differ in which cases "
        f"they find hard. {drawn}Seed: the mean of a method changes from run to run. Residual: what a single score "
        f"has beyond that. Standard deviations in points of Dice: {spreads}. ANOVA estimates; one below 0 counts as 0. "
        f"{setting(source, runs, averaged=False)}"
    )
