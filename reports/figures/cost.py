"""What a method costs in training time against the Dice it reaches."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reports.figures.measured import Measured, by_mean_dice, per_case, setting
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import CEILING, new_figure
from reports.measures import DICE
from reports.tables.cost import pareto_ranks

TITLE = "Training time and Dice"


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """One figure a labelled budget."""
    if not source.budgets:
        yield LeftOut("cost", TITLE, "No floor and no method is done yet.")
    for labelled in source.budgets:
        runs = source.at(labelled)
        points = cost(source, runs)
        name, title = f"cost_{labelled}", f"{TITLE}, {labelled} labelled"
        if len(points) < 2:
            reason = (
                f"With {labelled} labelled cases fewer than two methods have a training time on record; times of "
                "trials that shared their machine count only with `report --packed-timings`."
            )
            yield LeftOut(name, title, reason)
        else:
            yield Sheet(name, title, _caption(source, runs, points, labelled), _figure(source, points))


def cost(source: Measured, runs: pd.DataFrame) -> pd.DataFrame:
    """One line a row: mean Dice over cases [%], mean minutes of training over runs, whether any of them was packed.

    Rows whose records have no training time are left out.
    """
    provenance = source.experiment.provenance
    if "seconds_training" not in provenance:
        return pd.DataFrame(columns=["dice", "minutes", "packed"])
    facts = provenance.reindex(runs["trial"].unique())
    facts["row"] = runs.drop_duplicates("trial").set_index("trial")["row"]
    seconds = pd.to_numeric(facts["seconds_training"], errors="coerce")
    minutes = seconds.groupby(facts["row"]).mean() / 60
    sharing = pd.to_numeric(facts.get("trials_sharing_the_machine", pd.Series(1, facts.index)), errors="coerce")
    packed = ((sharing > 1) & seconds.notna()).groupby(facts["row"]).any()  # of the times that are in the mean
    dice = per_case(runs, DICE).mean()
    table = pd.DataFrame({"dice": dice, "minutes": minutes, "packed": packed}).loc[by_mean_dice(runs)]
    return table[(table["minutes"] > 0) & table["dice"].notna()]


def _figure(source: Measured, points: pd.DataFrame) -> Figure:
    """Minutes on a logarithmic axis, Dice in %; a hollow mark was timed while the machine was shared."""
    figure = new_figure(max(3.2, 0.5 + 0.155 * (len(points) + 3)))
    axes = figure.subplots()
    front = points[pareto_ranks(points["minutes"], points["dice"]) == 1].sort_values("minutes")
    axes.step(front["minutes"], front["dice"], where="post", color="#b0b0b0", linewidth=1.0, zorder=1)
    key = []
    for row, point in points.iterrows():
        look = source.look[row]
        face = "white" if point["packed"] else look.colour
        axes.plot(point["minutes"], point["dice"], linestyle="none", marker=look.marker, markersize=look.size + 1,
                  color=look.colour, markerfacecolor=face, markeredgewidth=1.0, zorder=3)  # fmt: skip
        key.append(Line2D([], [], linestyle="none", marker=look.marker, markersize=look.size + 1, color=look.colour,
                          markerfacecolor=face, markeredgewidth=1.0, label=row))  # fmt: skip
    key.append(Line2D([], [], color="#b0b0b0", label="Pareto front"))
    for row in source.rows("ceiling"):
        ceiling = per_case(source.runs[source.runs["row"] == row], DICE)[row].mean()
        axes.axhline(ceiling, color=CEILING.colour, linestyle=CEILING.dashes, linewidth=0.8, zorder=1)
        key.append(Line2D([], [], color=CEILING.colour, linestyle=CEILING.dashes, linewidth=0.8, label=row))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
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
        timed = f" Timed while packed, several trials at a time on one machine ({which}): orders of magnitude only."
    machine = f" Trained on {', '.join(sorted(devices))}." if len(devices) else ""
    return (
        f"Mean Dice over test cases against training time, logarithmic, with {labelled} labelled cases. Grey: the "
        "Pareto front; for whatever lies below it another method trains no longer and reaches more."
        f"{timed}{machine} "
        f"{setting(source, runs)}"
    )
