"""Dice and 95HD against the number of labelled cases."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, NullLocator
from scipy import stats

from reports.figures.measured import Measured, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import CEILING, FLOOR, SMALL, Look, grid, new_figure, wrapped
from reports.labels_saved import labels_saved
from reports.scores import DICE, HD95, Measure

FIGURES = (
    ("budgets_dice", "Dice with fewer and more labelled cases", DICE),
    ("budgets_hd95", "95HD with fewer and more labelled cases", HD95),
)
OTHERS = "#d4d4d4"


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """A figure of Dice and one of 95HD, where methods are done at two budgets or more."""
    methods = source.runs[source.runs["role"] == "method"]
    over_runs = bool(source.runs.groupby(["row", "labelled"])["trial"].nunique().gt(1).any())
    for name, title, measure in FIGURES:
        if methods["labelled"].nunique() < 2:
            yield LeftOut(name, title, "Methods are done at fewer than two numbers of labelled cases.")
        else:
            yield Sheet(name, title, _caption(source, measure, over_runs), _figure(source, measure, over_runs))


def _figure(source: Measured, measure: Measure, over_runs: bool) -> Figure:
    """One panel a method: its curve and band, those of the others in grey, the floor's curve and the ceiling's line."""
    runs, methods = source.runs, source.rows("method")
    curves = {row: curve(runs[runs["row"] == row], measure, over_runs) for row in dict.fromkeys(runs["row"])}
    floor = supervised([curves[row]["mean"] for role in ("floor", "ceiling") for row in source.rows(role)])
    ceiling = next((curves[row]["mean"].iloc[0] for row in source.rows("ceiling")), None)
    columns = min(len(methods), 4)
    figure = new_figure(0.85 + 1.55 * -(-len(methods) // columns))
    panels = grid(figure, len(methods), columns, sharex=True, sharey=True)
    others = [np.column_stack([curves[row].index, curves[row]["mean"]]) for row in methods]
    for axes, row in zip(panels, methods, strict=True):
        axes.add_collection(LineCollection(others, colors=OTHERS, linewidths=0.7, zorder=1))
        if ceiling is not None:
            axes.axhline(ceiling, color=CEILING.colour, linestyle=CEILING.dashes, linewidth=0.8, zorder=2)
        axes.plot(floor.index, floor, color=FLOOR.colour, linestyle=FLOOR.dashes, linewidth=0.9, marker="o",
                  markersize=1.8, zorder=3)  # fmt: skip
        _draw_curve(axes, curves[row], source.look[row])
        if measure is DICE:
            _mark_labels_saved(axes, curves[row]["mean"], floor)
        axes.set_title(wrapped(row, 28), pad=11 if measure is DICE else None)
        axes.grid(axis="y")
    _label_axes(panels, columns, source, floor, measure)
    key = _key(len(floor) > 0, ceiling is not None, over_runs, measure)
    figure.legend(handles=key, loc="outside lower center", ncols=3)
    return figure


def curve(runs: pd.DataFrame, measure: Measure, over_runs: bool) -> pd.DataFrame:
    """Of one row by number of labelled cases: the mean over cases, each averaged over runs; the band's low and high.

    The band is that mean plus and minus the standard deviation over runs of each run's mean; or, where nothing was run
    twice, the 95 % confidence interval of the mean over cases.
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
    """Floor and ceiling as one curve over the number of labelled cases; empty where there is neither."""
    return pd.concat(means).groupby(level=0).mean() if means else pd.Series(dtype=float)


def _draw_curve(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    low, high = points["low"].fillna(points["mean"]), points["high"].fillna(points["mean"])
    axes.fill_between(points.index, low, high, color=look.colour, alpha=0.25, linewidth=0, zorder=4)
    axes.plot(points.index, points["mean"], color=look.colour, linestyle=look.dashes, marker=look.marker, zorder=5)


def _mark_labels_saved(axes: Axes, means: pd.Series, floor: pd.Series) -> None:
    """A horizontal line from each point to where the floor's curve has the same Dice, and above the panel how many
    cases lie between."""
    for labelled, dice in means.items():
        saved = labels_saved(floor, dice, labelled)
        if saved is not None:
            axes.plot([labelled, labelled + saved], [dice, dice], color="black", linewidth=0.7, zorder=6)
            text = f"{saved:+.0f}".replace("-", "−") if abs(saved) >= 0.5 else "0"
            axes.text(labelled, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", fontsize=SMALL)


def _label_axes(panels: list[Axes], columns: int, source: Measured, floor: pd.Series, measure: Measure) -> None:
    counts = sorted(set(source.budgets) | set(floor.index))
    training = source.experiment.plan["data"]["train"]
    shared = panels[0]  # every panel's axis: they are shared
    shared.set_xscale("log")
    shared.set_xticks(counts, [f"{n}\n{100 * n / training:.0f} %" for n in counts])
    shared.xaxis.set_minor_locator(NullLocator())
    shared.xaxis.set_minor_formatter(NullFormatter())
    shared.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)
    for number, axes in enumerate(panels):
        axes.tick_params(labelbottom=number + columns >= len(panels))
        if number + columns >= len(panels):
            axes.set_xlabel("labelled cases")
        if number % columns == 0:
            axes.set_ylabel(measure.label)


def _key(floor: bool, ceiling: bool, over_runs: bool, measure: Measure) -> list:
    band = "± SD over runs" if over_runs else "95 % confidence interval over cases"
    key = [
        Line2D([], [], color="#444444", marker="o", label="the panel's method"),
        Patch(color="#444444", alpha=0.25, linewidth=0, label=band),
        Line2D([], [], color=OTHERS, label="the other methods"),
    ]
    if floor:
        look = {"color": FLOOR.colour, "linestyle": FLOOR.dashes, "marker": "o", "markersize": 1.8}
        key.append(Line2D([], [], **look, label="supervised floor"))
    if ceiling:
        look = {"color": CEILING.colour, "linestyle": CEILING.dashes, "linewidth": 0.8}
        key.append(Line2D([], [], **look, label="ceiling: all cases labelled"))
    if measure is DICE and floor:
        key.append(Line2D([], [], color="black", linewidth=0.7, label="labels saved, numbers on top"))
    return key


def _caption(source: Measured, measure: Measure, over_runs: bool) -> str:
    if over_runs:
        band = "one standard deviation over runs (seeds and draws) of a run's mean, none where a point has one run"
    else:
        band = "95 % confidence interval of the mean over test cases; nothing was run with a second seed"
    saved = (
        " Horizontal lines and the numbers on top: labels saved, how many more labelled cases the supervised floor "
        "would need for the method's Dice (negative: how many fewer), between the points of its curve; none where it "
        "does not reach it."
    )
    return (
        f"Mean {measure.label.split(' ')[0]} over test cases against the number of labelled cases, logarithmic, and "
        f"their share of the {source.experiment.plan['data']['train']} training cases. Bands: {band}."
        f"{saved if measure is DICE else ''} The floor's curve ends in the ceiling. {setting(source, source.runs)}"
    )
