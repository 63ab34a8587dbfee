"""Training time of each method against the Dice it reaches."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from reports.figures.captioned import Pages
from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.style import CEILING, new_figure, wrapped
from reports.measures import DICE
from reports.tables.cost import pareto_ranks
from reports.timings import mean_times

PER_BUDGET = True
TITLES = {"cost": "Training time and Dice"}
FRONT = "#b0b0b0"


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw a point per method."""
    runs = source.at(labelled)
    points = training_cost(source, runs)
    if len(points) < 2:
        yield "cost", f"With {labelled} labelled cases fewer than two methods have a training time on record."
    else:
        yield "cost", Pages(_caption(source, runs, points, labelled), [_figure(source, points)])


def training_cost(source: Measured, runs: pd.DataFrame) -> pd.DataFrame:
    """Dice and training time of each method in `runs`, the best Dice first.

    Returns:
        Columns: dice, the mean over cases in percent; minutes, the mean training time of `mean_times`; packed, whether
        these runs shared their machine with other trials; competing, whether the mean lacks no run that failed or
        diverged. Methods without a training time on record are left out.
    """
    row = runs.drop_duplicates("trial").set_index("trial")["row"]
    times = mean_times(source.experiment.provenance, row)
    columns = {
        "dice": per_case(runs, DICE).mean(),
        "minutes": times["seconds_training"] / 60,
        "packed": times["seconds_training_shared"],
        "competing": ~row.index.to_series().isin(source.lacking).groupby(row).any(),
    }
    table = pd.DataFrame(columns).loc[by_mean_dice(runs)]
    return table[(table["minutes"] > 0) & table["dice"].notna()]


def _figure(source: Measured, points: pd.DataFrame) -> Figure:
    """Minutes on a logarithmic axis, Dice in percent. A hollow mark was timed while other trials shared the machine."""
    figure = new_figure(max(3.2, 0.5 + 0.155 * (len(points) + 3)))
    axes = figure.subplots()
    competing = points[points["competing"]]
    front = competing[pareto_ranks(competing["minutes"], competing["dice"]) == 1].sort_values("minutes")
    key = []
    for row, point in points.iterrows():
        look = source.look[row]
        face = "white" if point["packed"] else look.colour
        mark = {"marker": look.marker, "markersize": look.size + 1, "color": look.colour, "markerfacecolor": face}
        key += axes.plot(point["minutes"], point["dice"], linestyle="none", **mark, zorder=3, label=wrapped(row, 40, 3))
    key += axes.step(front["minutes"], front["dice"], where="post", color=FRONT, linewidth=1, zorder=1,
                     label="Pareto front")  # fmt: skip
    for row in source.rows("ceiling"):
        ceiling = per_case(source.runs[source.runs["row"] == row], DICE)[row].mean()
        key.append(axes.axhline(ceiling, **CEILING.reference_line, zorder=1, label=wrapped(row, 40, 3)))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08, y=0.08)
    axes.set_xlabel("training time [min]")
    axes.set_ylabel(DICE.label)
    axes.grid()
    figure.legend(handles=key, loc="outside right center", labelspacing=0.45)
    return figure


def _caption(source: Measured, runs: pd.DataFrame, points: pd.DataFrame, labelled: int) -> str:
    provenance = source.experiment.provenance
    devices = provenance.reindex(runs["trial"].unique()).get("device", pd.Series(dtype=object)).dropna().unique()
    packed = points["packed"]
    timed = ""
    if packed.any():
        which = "all" if packed.all() else f"hollow marks, {packed.sum()} of {len(packed)}"
        timed = f" Timed while several trials shared one machine ({which}): orders of magnitude only."
    machine = f" Trained on {', '.join(sorted(devices))}." if len(devices) else ""
    return (
        f"Mean Dice over test cases against training time, logarithmic, with {labelled} labelled cases. The grey line "
        "is the Pareto front. For each method below it another one trains no longer and reaches more."
        f"{timed}{machine} {setting(source, runs)}"
    )
