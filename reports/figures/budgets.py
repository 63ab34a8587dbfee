"""Dice and 95HD against the number of labelled cases."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, per_case, score_tables, setting
from reports.figures.style import CEILING, FLOOR, SMALL, panel_grid, wrapped
from reports.labels_saved import Pooled, label_intervals, labels_saved
from reports.measures import DICE, Measure
from reports.statistics import run_pool

PER_BUDGET = False
TITLES = {
    "budgets_dice": "Dice with fewer and more labelled cases",
    "budgets_hd95": "95HD with fewer and more labelled cases",
}
OTHERS = {"color": "#d4d4d4", "linewidth": 0.7}
NEUTRAL = "#444444"  # of the key, where no method is meant


def draw(source: Measured, labelled: None) -> Iterator[tuple[str, Pages | str]]:
    """Draw a figure of Dice and one of 95HD, if methods are done with two numbers of labelled cases or more."""
    methods = source.runs[source.runs["role"] == "method"]
    over_runs = bool(source.runs.groupby(["row", "labelled"])["trial"].nunique().gt(1).any())
    for name, measure in zip(TITLES, (DICE, source.distance), strict=True):
        if methods["labelled"].nunique() < 2:
            yield name, "Methods are done at fewer than two numbers of labelled cases."
        else:
            yield name, Pages(_caption(source, measure, over_runs), [_figure(source, measure, over_runs)])


def curve(runs: pd.DataFrame, measure: Measure, over_runs: bool) -> pd.DataFrame:
    """Mean scores of one method with a band around them.

    Args:
        runs: the method's lines of `Measured.runs`.
        measure: the score.
        over_runs: whether the band is the mean plus and minus the standard deviation of the runs' means. Otherwise it
            is the 95 % confidence interval of the mean over cases.

    Returns:
        Columns mean, low and high; index: number of labelled cases. A case counts with its mean over runs.
    """
    points = {}
    for labelled, group in runs.groupby("labelled"):
        cases = per_case(group, measure).iloc[:, 0].dropna()
        if over_runs:
            reach = group.groupby("trial")[measure.name].mean().std(ddof=1)
        else:
            reach = stats.t.ppf(0.975, len(cases) - 1) * cases.sem() if len(cases) > 1 else np.nan
        points[labelled] = (cases.mean(), cases.mean() - reach, cases.mean() + reach)
    return pd.DataFrame.from_dict(points, orient="index", columns=["mean", "low", "high"]).sort_index()


def supervised(means: list[pd.Series]) -> pd.Series:
    """Join the means of floor and ceiling to one curve over the number of labelled cases."""
    return pd.concat(means).groupby(level=0).mean() if means else pd.Series(dtype=float)


def _figure(source: Measured, measure: Measure, over_runs: bool) -> Figure:
    """One panel per method: its curve and band, the other methods in grey, the floor's curve and the ceiling's line."""
    runs, methods = source.runs, source.rows("method")
    curves = {row: curve(runs[runs["row"] == row], measure, over_runs) for row in dict.fromkeys(runs["row"])}
    floor = supervised([curves[row]["mean"] for role in ("floor", "ceiling") for row in source.rows(role)])
    ceilings = [curves[row]["mean"].iloc[0] for row in source.rows("ceiling")][:1]
    saved = _saved(source) if measure is DICE and len(floor) else {}
    figure, panels = panel_grid(len(methods), 4, 1.45, sharex=True, sharey=True)
    for axes, row in zip(panels, methods, strict=True):
        points, look = curves[row], source.look[row]
        for other in methods:
            axes.plot(curves[other]["mean"], **OTHERS)
        for ceiling in ceilings:
            axes.axhline(ceiling, **CEILING.reference_line, label="ceiling: all cases labelled")
        if len(floor):
            axes.plot(floor, **FLOOR.reference_line, marker="o", markersize=1.8, label="supervised floor")
        axes.fill_between(points.index, points["low"], points["high"], color=look.colour, alpha=0.25, linewidth=0)
        axes.plot(points["mean"], color=look.colour, linestyle=look.dashes, marker=look.marker)
        axes.set_title(wrapped(row, 28), pad=12 if measure is DICE else None)
        axes.grid(axis="y")
        if saved:
            _mark_labels_saved(axes, saved[row], points["mean"])
    _set_counts(panels[0], source, floor)
    for axes in panels[-4:]:
        axes.set_xlabel("labelled cases")
    figure.supylabel(measure.label, fontsize=7.5)
    key = [
        Line2D([], [], color=NEUTRAL, marker="o", label="the panel's method"),
        Patch(color=NEUTRAL, alpha=0.25, linewidth=0,
              label="± SD over runs" if over_runs else "95 % confidence interval over cases"),
        *[Line2D([], [], **OTHERS, label="the other methods")] * (len(methods) > 1),
    ]  # fmt: skip
    key += panels[0].get_legend_handles_labels()[0]
    figure.legend(handles=key, loc="outside lower center", ncols=3)
    return figure


def _saved(source: Measured) -> dict[str, pd.Series]:
    """Labels saved of each method by number of labelled cases; none where their interval leaves any number possible."""
    tables, baselines, pooled = _pooled(source), source.rows("floor") + source.rows("ceiling"), {}
    for baseline in baselines:
        pooled = {n: found for (row, n), found in tables.items() if row == baseline} | pooled
    means = {
        row: pd.Series({n: table.mean().mean() for (of, n), (table, _) in tables.items() if of == row}, dtype=float)
        for row in baselines + source.rows("method")
    }
    floor = supervised([means[row] for row in baselines])
    return {
        row: pd.Series(
            {
                labelled: labels_saved(floor, dice, labelled)
                for labelled, dice in means[row].items()
                if not label_intervals(tables[row, labelled], pooled, labelled, ceiling=None).saved_is_open
            },
            dtype=float,
        ).dropna()
        for row in source.rows("method")
    }


def _pooled(source: Measured) -> dict[tuple[str, int], Pooled]:
    """The Dice of each row at each number of labelled cases, with the pool of those that compete there. Rows whose mean
    lacks a run are left out: labels saved compare means."""
    found = {}
    for labelled, runs in source.runs[~source.runs["trial"].isin(source.lacking)].groupby("labelled"):
        pool = run_pool(score_tables(source.competing(labelled)).values())
        roles = runs.drop_duplicates("row").set_index("row")["role"]
        for row, table in score_tables(runs).items():
            found[row, labelled] = (table, None if roles[row] == "ceiling" else pool)
    return found


def _mark_labels_saved(axes: Axes, saved: pd.Series, means: pd.Series) -> None:
    """Draw a line from each point to where the floor's curve has the same Dice, and write the distance on top."""
    axes.hlines(means[saved.index], saved.index, saved.index + saved, color="black", linewidth=0.7, zorder=3,
                label="labels saved, numbers on top")  # fmt: skip
    for labelled, cases in saved.items():
        text = f"{cases:+.0f}".replace("-", "−") if abs(cases) >= 0.5 else "0"
        axes.annotate(text, (labelled, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), fontsize=SMALL,
                      textcoords="offset points", ha="center")  # fmt: skip


def _set_counts(axes: Axes, source: Measured, floor: pd.Series) -> None:
    """Make the x axis logarithmic, with a tick at each number of labelled cases and its share of the training cases."""
    counts = sorted(set(source.budgets) | set(floor.index))
    training = source.experiment.plan.data.train
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{n}\n{100 * n / training:.0f} %" for n in counts])
    axes.minorticks_off()
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)


def _caption(source: Measured, measure: Measure, over_runs: bool) -> str:
    if over_runs:
        band = "one standard deviation over runs (seeds and draws) of a run's mean, none where a point has one run"
    else:
        band = "95 % confidence interval of the mean over test cases; nothing was run with a second seed"
    saved = (
        " Horizontal lines and the numbers on top are labels saved: how many more labelled cases the supervised floor "
        "needs for the method's Dice, or fewer if negative. They are interpolated between the points of the floor's "
        "curve. Where the curve does not reach the Dice, seeds and cases leave any number possible, or runs were left "
        "out, there is none."
    )
    return (
        f"Mean {measure.label.split(' ')[0]} over test cases against the number of labelled cases, logarithmic, and "
        f"their share of the {source.experiment.plan.data.train} training cases. Bands: {band}."
        f"{saved if measure is DICE else ''} The floor's curve ends in the ceiling. {setting(source, source.runs)}"
    )
