"""Training curves: the total loss of each method, and its terms."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmark.records.models import LOGGED
from benchmark.records.spreadsheets import original
from reports.figures.captioned import Pages
from reports.figures.measured import Measured
from reports.figures.style import COLOURS, DASHES, chunks, drawable, panel_grid, wrapped

NOT_LOSSES = ("step", "seconds", "learning_rate_factor")
TOTAL = "total"
SHARE_SMOOTHED = 40  # the moving mean covers this fraction of training
MOST_POINTS = 300  # of a smoothed curve: more cannot be seen in a small panel
PANELS_OF_TERMS = 14  # on a page
GREY = "#8c8c8c"
PER_BUDGET = True
TITLES = {"losses": "Total loss in training", "terms": "Terms of the loss in training"}


def draw(source: Measured, labelled: int) -> Iterator[tuple[str, Pages | str]]:
    """Draw the total losses, and with the fewest labelled cases the terms of the loss.

    With other numbers of labelled cases the terms look much the same, and they take pages.
    """
    histories = read_histories(source, labelled)
    if not histories:
        yield from dict.fromkeys(TITLES, "No record holds a readable history of its losses.").items()
        return
    yield "losses", Pages(_caption_of_totals(labelled, bool(source.rows("ceiling"))), [_totals(source, histories)])
    if labelled != source.budgets[0]:
        return
    first_runs = [(row, runs[0]) for row, runs in histories.items() if _columns_of_terms(runs[0])]
    pages = [_terms(dict(page)) for page in chunks(first_runs, PANELS_OF_TERMS)]
    yield "terms", Pages(_caption_of_terms(labelled), pages) if pages else "No method has more than one loss term."


def read_histories(source: Measured, labelled: int) -> dict[str, list[pd.DataFrame]]:
    """The readable history of each run, by method in the plan's order."""
    histories: dict[str, list[pd.DataFrame]] = {}
    for trial, row in source.at(labelled, ceiling=True).drop_duplicates("trial")[["trial", "row"]].to_numpy():
        record = source.experiment.records.get(trial)
        history = None if record is None else _read(record)
        if history is not None:
            histories.setdefault(row, []).append(history)
    return histories


def _read(record: Path) -> pd.DataFrame | None:
    try:
        history = pd.read_csv(record / "history.csv").astype(float).rename(columns=original)
    except (OSError, ValueError):
        return None
    return history if len(history) and "step" in history and _columns_of_totals(history) else None


def _columns_of_totals(history: pd.DataFrame) -> list[str]:
    """The total of each phase of a step: "total", or for example "segment/total" if a method has several phases."""
    return [column for column in history if column.split("/")[-1] == TOTAL and not column.startswith(LOGGED)]


def _columns_of_terms(history: pd.DataFrame) -> list[str]:
    numbers = [column for column in history if column not in NOT_LOSSES and not column.startswith(LOGGED)]
    return [column for column in numbers if column.split("/")[-1] != TOTAL]


def smoothed(losses: pd.Series) -> pd.Series:
    """A centred moving mean over a 40th of training."""
    return losses.rolling(max(len(losses) // SHARE_SMOOTHED, 1), center=True, min_periods=1).mean()


def _plot_smoothed(axes: Axes, history: pd.DataFrame, column: str, **look) -> np.ndarray:
    """Plot a smoothed column and return its values."""
    thinned = slice(None, None, max(len(history) // MOST_POINTS, 1))
    values = smoothed(history[column]).to_numpy()[thinned]
    axes.plot(history["step"].to_numpy()[thinned], values, linewidth=1.0, **look)
    return values


def _totals(source: Measured, histories: dict[str, list[pd.DataFrame]]) -> Figure:
    """One panel per method: smoothed totals, a line per run, and the totals of the first run as recorded."""
    figure, panels = panel_grid(len(histories), 5, 1.45, sharex=True)
    for axes, (row, runs) in zip(panels, histories.items(), strict=True):
        totals = _columns_of_totals(runs[0])
        shown = []
        for total, colour in zip(totals, [source.look[row].colour, GREY, *COLOURS], strict=False):
            axes.plot(runs[0]["step"], runs[0][total], color=colour, linewidth=0.4, alpha=0.3, rasterized=True)
            for number, run in enumerate(run for run in runs if total in run):
                phase = "" if number else drawable(total.removesuffix(f"/{TOTAL}"))
                shown += [
                    _plot_smoothed(axes, run, total, color=colour, label=wrapped(phase, 20, 1)),
                    run[total].quantile([0.02, 0.98]),
                ]
        _set_limits(axes, np.concatenate(shown), room=0.6 if len(totals) > 1 else 0)
        axes.locator_params(axis="x", nbins=3, integer=True)
        axes.locator_params(axis="y", nbins=3)
        axes.set_title(wrapped(row, 22))
        if len(totals) > 1:
            axes.legend(loc="upper right", borderpad=0, labelspacing=0.2)
    figure.supxlabel("step", fontsize=7.5)
    figure.supylabel("total loss", fontsize=7.5)
    return figure


def _set_limits(axes: Axes, values: np.ndarray, room: float) -> None:
    """Fit the y axis to these values with `room` above them, as a share of their range. Single spikes are cut off."""
    if np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
        extent = (high - low) or abs(high) or 1.0
        axes.set_ylim(low - 0.08 * extent, high + (0.08 + room) * extent)


def _terms(histories: dict[str, pd.DataFrame]) -> Figure:
    """One panel per method: each term of the first run, smoothed."""
    figure, panels = panel_grid(len(histories), 2, 1.15, sharex=True)
    for axes, (row, history) in zip(panels, histories.items(), strict=True):
        values = []
        for number, term in enumerate(_columns_of_terms(history)):
            look = {"color": COLOURS[number % 6], "linestyle": DASHES[number // 6 % 4]}
            values.append(_plot_smoothed(axes, history, term, **look, label=wrapped(drawable(term), 36, 1)))
        _set_scale(axes, np.concatenate(values))
        axes.locator_params(axis="x", nbins=3, integer=True)
        axes.set_title(wrapped(row, 40))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.supxlabel("step", fontsize=7.5)
    figure.supylabel("value as recorded", fontsize=7.5)
    return figure


def _set_scale(axes: Axes, values: np.ndarray) -> None:
    """Make the y axis logarithmic over at most five decades, if no value is negative."""
    positive = values[values > 0]
    if (values < 0).any() or not len(positive):
        axes.locator_params(axis="y", nbins=3)
        return
    low, high = max(positive.min(), positive.max() / 1e5), positive.max()
    axes.set_yscale("log")
    axes.set_ylim(low / 1.2, high * 1.2)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,), numticks=6))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _caption_of_totals(labelled: int, ceiling: bool) -> str:
    all_labelled = "; the ceiling has all of them" * ceiling
    return (
        f"Total loss by training step with {labelled} labelled cases{all_labelled}. Strong lines: "
        "moving mean over a 40th of training, one per run. Light lines: the first run as recorded. A method whose "
        "step has several phases has a curve for each. A jump is a new stage of training. Every panel has its own "
        "scale: totals of different methods are different functions and do not say which segments better."
    )


def _caption_of_terms(labelled: int) -> str:
    return (
        f"Terms of each method's loss by training step with {labelled} labelled cases, first run, under the names that "
        "the method gives them. Some methods also record the fraction of voxels that take part. Lines are moving means "
        "over a 40th of training. The scale is logarithmic where nothing is negative; zeros leave gaps."
    )
