"""Training curves: what each method minimised, and the terms of it."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from reports.figures.measured import Measured
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import COLOURS, DASHES, GREY, grid, new_figure, wrapped

NOT_LOSSES = ("step", "seconds", "learning_rate_factor")
TOTAL = "total"
SHARE_SMOOTHED = 40  # a moving mean over this part of training
PANELS_WITH_KEY = 14  # on a page
TITLES = {"losses": "Total loss in training", "terms": "Terms of the loss in training"}


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """For each labelled budget the total loss of all methods, and the terms of it on as many pages as it takes."""
    if not source.budgets:
        yield from (LeftOut(name, title, "No floor and no method is done yet.") for name, title in TITLES.items())
    for labelled in source.budgets:
        names = {name: f"{title}, {labelled} labelled" for name, title in TITLES.items()}
        histories = read_histories(source, labelled)
        if not histories:
            yield from (LeftOut(f"{name}_{labelled}", title, "No record holds a readable history of its losses.")
                        for name, title in names.items())  # fmt: skip
            continue
        yield Sheet(f"losses_{labelled}", names["losses"], _caption_of_totals(labelled), _totals(source, histories))
        with_terms = {row: runs[0] for row, runs in histories.items() if _terms(runs[0])}
        if not with_terms:
            yield LeftOut(f"terms_{labelled}", names["terms"], "No method has more than one term in its loss.")
        pages = [list(with_terms)[n : n + PANELS_WITH_KEY] for n in range(0, len(with_terms), PANELS_WITH_KEY)]
        for number, page in enumerate(pages, start=1):
            name, title = f"terms_{labelled}", names["terms"]
            if len(pages) > 1:
                name, title = f"{name}_{number}", f"{title} ({number} of {len(pages)})"
            figure = _pages_of_terms({row: with_terms[row] for row in page})
            yield Sheet(name, title, _caption_of_terms(labelled), figure)


def read_histories(source: Measured, labelled: int) -> dict[str, list[pd.DataFrame]]:
    """{row: the history of each of its runs}, in the plan's order; runs without a readable one are left out."""
    histories: dict[str, list[pd.DataFrame]] = {}
    for trial, row in source.at(labelled, ceiling=True).drop_duplicates("trial")[["trial", "row"]].to_numpy():
        history = _read(source.experiment.records[trial])
        if history is not None:
            histories.setdefault(row, []).append(history)
    return histories


def _read(record: Path) -> pd.DataFrame | None:
    try:
        history = pd.read_csv(record / "history.csv").apply(pd.to_numeric, errors="coerce")
    except (OSError, ValueError):
        return None
    return history if len(history) and "step" in history and _totals_of(history) else None


def _totals_of(history: pd.DataFrame) -> list[str]:
    """The total of each phase: "total", or "segment/total" where a method has several."""
    return [column for column in history if column.split("/")[-1] == TOTAL]


def _terms(history: pd.DataFrame) -> list[str]:
    return [column for column in history if column not in NOT_LOSSES and column.split("/")[-1] != TOTAL]


def smoothed(losses: pd.Series) -> pd.Series:
    """A centred moving mean over a 40th of training."""
    return losses.rolling(max(len(losses) // SHARE_SMOOTHED, 1), center=True, min_periods=1).mean()


def _thinned(*series: pd.Series) -> list[pd.Series]:
    """At most some hundred points of a smooth curve: more cannot be seen in a small panel, only stored."""
    return [values[:: max(len(values) // 300, 1)] for values in series]


def _totals(source: Measured, histories: dict[str, list[pd.DataFrame]]) -> Figure:
    """One panel a method, each with its own scale: totals smoothed, a line a run, and the first run's as it was."""
    columns = min(len(histories), 5)
    rows = -(-len(histories) // columns)
    figure = new_figure(0.4 + (1.3 if rows > 1 else 1.9) * rows)
    for number, (axes, (row, runs)) in enumerate(
        zip(grid(figure, len(histories), columns, sharex=True), histories.items(), strict=True)
    ):
        totals = _totals_of(runs[0])
        colours = [source.look[row].colour, GREY, *COLOURS]
        for total, colour in zip(totals, colours, strict=False):
            axes.plot(runs[0]["step"], runs[0][total], color=colour, linewidth=0.4, alpha=0.3, rasterized=True)
            for run in runs:
                if total in run:
                    axes.plot(*_thinned(run["step"], smoothed(run[total])), color=colour, linewidth=1.0,
                              label=total.removesuffix("/total") if run is runs[0] else None)  # fmt: skip
        _scale(axes, [run[total] for run in runs for total in totals if total in run], room=0.6 * (len(totals) > 1))
        if len(totals) > 1:
            axes.legend(loc="upper right", handlelength=1.0, borderpad=0.1, labelspacing=0.2)
        axes.set_title(wrapped(row, 22))
        axes.tick_params(labelbottom=number + columns >= len(histories))
    figure.supxlabel("step", fontsize=7.5)
    figure.supylabel("total loss", fontsize=7.5)
    return figure


def _scale(axes: Axes, losses: list[pd.Series], room: float) -> None:
    """From the lowest smoothed loss to nearly the highest raw one, as single spikes may leave the panel, and as much
    room above as this share of it."""
    low = min(smoothed(series).min() for series in losses)
    high = max(max(smoothed(series).max(), series.quantile(0.98)) for series in losses)
    if low < high:
        margin = 0.08 * (high - low)
        axes.set_ylim(low - margin, high + margin + room * (high - low))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))


def _pages_of_terms(histories: dict[str, pd.DataFrame]) -> Figure:
    """One panel a method: each term of the first run, smoothed, on a logarithmic scale where none is negative."""
    columns = min(len(histories), 2)
    rows = -(-len(histories) // columns)
    figure = new_figure(0.4 + 1.2 * rows)
    for axes, (row, history) in zip(grid(figure, len(histories), columns), histories.items(), strict=True):
        curves = {term: smoothed(history[term]) for term in _terms(history)}
        for number, (term, curve) in enumerate(curves.items()):
            look = {"color": COLOURS[number % 6], "linestyle": DASHES[number // 6 % 4], "linewidth": 1.0}
            axes.plot(*_thinned(history["step"], curve), label=term, **look)
        highest = max(curve.max() for curve in curves.values())
        if highest > 0 and all((curve.dropna() >= 0).all() for curve in curves.values()):
            _make_logarithmic(axes, highest)
        axes.set_title(wrapped(row, 40))
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2, labelspacing=0.3)
    figure.supxlabel("step", fontsize=7.5)
    figure.supylabel("value as recorded", fontsize=7.5)
    return figure


def _make_logarithmic(axes: Axes, highest: float) -> None:
    axes.set_yscale("log", nonpositive="mask")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom=max(bottom, highest / 1e5))
    few = top < 20 * bottom  # decades alone would label nothing
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _caption_of_totals(labelled: int) -> str:
    return (
        f"Total loss by training step with {labelled} labelled cases; the ceiling has all of them. Strong lines: "
        "moving mean over a 40th of training, one a run; light: the first run as recorded. Methods with several phases "
        "have a curve for each. Every panel has its own scale: totals of different methods are different functions and "
        "do not say which segments better."
    )


def _caption_of_terms(labelled: int) -> str:
    return (
        f"Terms of each method's loss by training step with {labelled} labelled cases, first run, as the method's file "
        "names and records them, and what fraction of voxels takes part where it says so; moving mean over a 40th of "
        "training. Logarithmic where nothing is negative; zeros leave gaps."
    )
