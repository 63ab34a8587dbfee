"""Training curves: what each method minimised, and the terms of it."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.figures.measured import Measured
from reports.figures.panels import CHARACTER, LINE, Panels, Scale, linear, logarithmic
from reports.figures.sheet import LeftOut, Sheet
from reports.figures.style import COLOURS, DASHES, GREY, wrapped

NOT_LOSSES = ("step", "seconds", "learning_rate_factor")
TOTAL = "total"
SHARE_SMOOTHED = 40  # a moving mean over this part of training
PANELS_WITH_KEY = 14  # on a page
TITLES = {"losses": "Total loss in training", "terms": "Terms of the loss in training"}


def draw(source: Measured) -> Iterator[Sheet | LeftOut]:
    """For each labelled budget the total loss of all methods; at the smallest the terms of it, too, on as many pages as
    it takes: at the others they look much the same, and dozens of pages say less than one."""
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
        if labelled != source.budgets[0]:
            continue
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
        record = source.experiment.records.get(trial)
        history = None if record is None else _read(record)
        if history is not None:
            histories.setdefault(row, []).append(history)
    return histories


def _read(record: Path) -> pd.DataFrame | None:
    # the csv module, for pandas takes ten times as long over a small file, and there may be a thousand
    try:
        with (record / "history.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        values = np.array([[float(field or "nan") for field in row] for row in rows])
        history = pd.DataFrame(values, columns=header)
    except (OSError, ValueError, csv.Error):
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


def _curve(history: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed, at most some hundred points of it: more cannot be seen in a small panel, only stored."""
    thinned = slice(None, None, max(len(history) // 300, 1))
    return history["step"].to_numpy()[thinned], smoothed(history[column]).to_numpy()[thinned]


def _totals(source: Measured, histories: dict[str, list[pd.DataFrame]]) -> Figure:
    """One panel a method, each with its own scale: totals smoothed, a line a run, and the first run's as it was."""
    totals = {row: _totals_of(runs[0]) for row, runs in histories.items()}
    curves = {row: {total: [_curve(run, total) for run in runs if total in run] for total in totals[row]}
              for row, runs in histories.items()}  # fmt: skip
    count = len(histories)
    columns = min(count, 5)
    panels = Panels(
        [wrapped(row, 22) for row in histories],
        [_steps([run for runs in histories.values() for run in runs])] * count,
        [_scale_of_totals(histories[row], curves[row]) for row in histories],
        columns,
        height=1.0 if count > columns else 1.4,
        margin=LINE,
        foot=2 * LINE,
        shared="x",
    )
    raw = [[(runs[0]["step"], runs[0][total]) for total in totals[row]] for row, runs in histories.items()]
    colours = {row: [source.look[row].colour, GREY, *COLOURS] for row in histories}
    panels.background(
        raw, colors=[colour for row in histories for colour, _ in zip(colours[row], totals[row], strict=False)],
        linewidths=0.4, alpha=0.3,
    )  # fmt: skip
    for panel, row in zip(panels.panels, histories, strict=True):
        for (total, of_runs), colour in zip(curves[row].items(), colours[row], strict=False):
            panel.lines(of_runs, colors=colour, linewidths=1.0, label=f"{row}: {total}")
        if len(totals[row]) > 1:
            labels = [total.removesuffix(f"/{TOTAL}") for total in totals[row]]
            left = panel.right - 0.2 - 0.9 * CHARACTER * max(map(len, labels))
            panel.key(left, panel.top, labels, colors=colours[row][: len(labels)], linewidths=1.0)
    panels.name_x("step")
    panels.name_y("total loss")
    return panels.figure


def _steps(histories: list[pd.DataFrame]) -> Scale:
    steps = [history["step"] for history in histories]
    low, high = min(step.min() for step in steps), max(step.max() for step in steps)
    return linear(low - 0.05 * (high - low), high + 0.05 * (high - low), 3, integer=True)


def _scale_of_totals(runs: list[pd.DataFrame], curves: dict[str, list[tuple]]) -> Scale:
    """From the lowest smoothed loss to nearly the highest raw one, as single spikes may leave the panel, and room for
    a key where there are several losses."""
    smooth = np.concatenate([losses for of_runs in curves.values() for _, losses in of_runs])
    raw = [run[total].to_numpy() for run in runs for total in curves if total in run]
    if not np.isfinite(smooth).any():
        return linear(0, 1, 3)
    low = np.nanmin(smooth)
    high = max(np.nanmax(smooth), *(np.nanquantile(losses, 0.98) for losses in raw if np.isfinite(losses).any()))
    margin, room = 0.08 * (high - low), 0.6 * (high - low) * (len(curves) > 1)
    return linear(low - margin, high + margin + room, 3)


def _pages_of_terms(histories: dict[str, pd.DataFrame]) -> Figure:
    """One panel a method: each term of the first run, smoothed, on a logarithmic scale where none is negative."""
    curves = {row: {term: _curve(history, term) for term in _terms(history)} for row, history in histories.items()}
    longest = max(len(term) for terms in curves.values() for term in terms)
    steps = [_steps([history]) for history in histories.values()]
    panels = Panels(
        [wrapped(row, 40) for row in histories],
        steps,
        [_scale_of_terms([losses for _, losses in terms.values()]) for terms in curves.values()],
        columns=min(len(histories), 2),
        height=0.78,
        margin=LINE,
        key=0.25 + CHARACTER * longest,
        foot=2 * LINE,
        shared="x" if all(scale == steps[0] for scale in steps) else "",
    )
    for panel, (row, terms) in zip(panels.panels, curves.items(), strict=True):
        look = {
            "colors": [COLOURS[number % 6] for number in range(len(terms))],
            "linestyles": [DASHES[number // 6 % 4] for number in range(len(terms))],
            "linewidths": 1.0,
        }
        panel.lines(list(terms.values()), label=row, **look)
        panel.key(panel.right + 0.08, (panel.top + panel.bottom - LINE * len(terms)) / 2, list(terms), **look)
    panels.name_x("step")
    panels.name_y("value as recorded")
    return panels.figure


def _scale_of_terms(curves: list[np.ndarray]) -> Scale:
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if not len(values):
        return linear(0, 1, 3)
    low, high = values.min(), values.max()
    if low < 0 or high == 0:
        return linear(low - 0.05 * (high - low), high + 0.05 * (high - low), 3)
    low = max(values[values > 0].min(), high / 1e5)
    margin = (high / low) ** 0.05 if high > low else 2.0
    return logarithmic(low / margin, high * margin)


def _caption_of_totals(labelled: int) -> str:
    return (
        f"Total loss by training step with {labelled} labelled cases; the ceiling has all of them. Strong lines: "
        "moving mean over a 40th of training, one a run; light: the first run as recorded. Methods whose every step "
        "has several phases have a curve for each; a jump is a stage of training that begins. Every panel has its own "
        "scale: totals of different methods are different functions and do not say which segments better."
    )


def _caption_of_terms(labelled: int) -> str:
    return (
        f"Terms of each method's loss by training step with {labelled} labelled cases, first run, as the method's file "
        "names and records them, and what fraction of voxels takes part where it says so; moving mean over a 40th of "
        "training. Logarithmic where nothing is negative; zeros leave gaps."
    )
