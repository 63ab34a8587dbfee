"""Dice and 95HD against the number of labelled cases."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy import stats

from reports.figures.measured import Measured, per_case, setting
from reports.figures.panels import LINE, Panel, Panels, Scale, linear
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import CEILING, FLOOR, Look, wrapped
from reports.labels_saved import labels_saved
from reports.measures import DICE, Measure

FIGURES = (
    ("budgets_dice", "Dice with fewer and more labelled cases"),
    ("budgets_hd95", "95HD with fewer and more labelled cases"),
)
OTHERS = "#d4d4d4"


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """A figure of Dice and one of 95HD, where methods are done at two budgets or more."""
    methods = source.runs[source.runs["role"] == "method"]
    over_runs = bool(source.runs.groupby(["row", "labelled"])["trial"].nunique().gt(1).any())
    for (name, title), measure in zip(FIGURES, (DICE, source.distance), strict=True):
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
    drawn = pd.concat([curves[row] for row in methods] + [floor.to_frame("mean")])
    panels = Panels(
        [wrapped(row, 28) for row in methods],
        [_counts(source, floor)] * len(methods),
        [_heights(drawn)] * len(methods),
        columns,
        height=1.05,
        margin=LINE,
        foot=0.6,
        shared="xy",
        raised=LINE if measure is DICE else 0.0,
    )
    others = [(curves[row].index, curves[row]["mean"]) for row in methods]
    for number, (panel, row) in enumerate(zip(panels.panels, methods, strict=True)):
        ends = [panel.x.low, panel.x.high]
        panel.lines([(ends, value) for value in panel.y.texts], colors="#e0e0e0", linewidths=0.5, zorder=0)
        panel.lines(others, colors=OTHERS, linewidths=0.7, zorder=1)
        if ceiling is not None:
            panel.lines([(ends, ceiling)], colors=CEILING.colour, linestyles=[CEILING.dashes], linewidths=0.8, zorder=2)
        panel.marked_line(floor.index, floor, color=FLOOR.colour, linestyle=FLOOR.dashes, linewidth=0.9, marker="o",
                          markersize=1.8, zorder=3)  # fmt: skip
        _draw_curve(panel, curves[row], source.look[row])
        if measure is DICE:
            _mark_labels_saved(panel, curves[row]["mean"], floor)
        if number + columns >= len(methods):
            panel.text((panel.left + panel.right) / 2, panel.bottom + 0.36, "labelled cases", fontsize=7.5)
    panels.name_y(measure.label)
    key = _key(len(floor) > 0, ceiling is not None, over_runs, measure)
    panels.figure.legend(handles=key, loc="lower center", ncols=3)
    return panels.figure


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


def _counts(source: Measured, floor: pd.Series) -> Scale:
    """Numbers of labelled cases, on a logarithmic scale, with their share of the training cases."""
    counts = sorted(set(source.budgets) | set(floor.index))
    training = source.experiment.plan["data"]["train"]
    texts = {n: f"{n}\n{100 * n / training:.0f} %" for n in counts}
    return Scale(counts[0] / 1.25, counts[-1] * 1.25, texts, logarithmic=True)


def _heights(drawn: pd.DataFrame) -> Scale:
    low, high = drawn.min().min(), drawn.max().max()
    margin = 0.05 * (high - low)
    return linear(low - margin, high + margin, 4)


def _draw_curve(panel: Panel, points: pd.DataFrame, look: Look) -> None:
    low, high = points["low"].fillna(points["mean"]), points["high"].fillna(points["mean"])
    panel.band(points.index, low, high, color=look.colour, alpha=0.25, linewidth=0, zorder=4)
    panel.marked_line(points.index, points["mean"], color=look.colour, linestyle=look.dashes, marker=look.marker,
                      zorder=5)  # fmt: skip


def _mark_labels_saved(panel: Panel, means: pd.Series, floor: pd.Series) -> None:
    """A horizontal line from each point to where the floor's curve has the same Dice, and above the panel how many
    cases lie between."""
    lines = []
    for labelled, dice in means.items():
        saved = labels_saved(floor, dice, labelled)
        if saved is not None:
            lines.append(([labelled, labelled + saved], dice))
            text = f"{saved:+.0f}".replace("-", "−") if abs(saved) >= 0.5 else "0"
            panel.text(panel.place(labelled, dice)[0, 0], panel.top - 0.02, text, va="bottom")
    panel.lines(lines, colors="black", linewidths=0.7, zorder=6)


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
