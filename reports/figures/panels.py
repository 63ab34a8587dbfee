"""A figure of many small panels, row by row, laid out in inches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.ticker import LogLocator, MaxNLocator

from reports.figures.style import SMALL, WIDTH, new_figure

LINE = 0.13  # inches: a line of type
CHARACTER = 0.062  # inches, of the smallest type
TICK = 0.035
GAP = 0.05  # between a tick and its label
EDGE = 0.05  # around all


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`; texts: {value: what is written there}; minor: values of ticks without text."""

    low: float
    high: float
    texts: dict[float, str]
    minor: Sequence[float] = ()
    logarithmic: bool = False

    def share(self, values) -> np.ndarray:
        """How far along the axis values lie, 0 to 1; NaN where they cannot."""
        values = np.asarray(values, dtype=float)
        if not self.logarithmic:
            return (values - self.low) / (self.high - self.low)
        return np.log(np.where(values > 0, values, np.nan) / self.low) / np.log(self.high / self.low)


def linear(low: float, high: float, ticks: int, integer: bool = False) -> Scale:
    """From `low` to `high`, with about so many ticks."""
    if not np.isfinite([low, high]).all():
        low, high = 0.0, 1.0
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
    values = MaxNLocator(ticks, integer=integer).tick_values(low, high)
    step = values[1] - values[0]
    digits = next((n for n in range(6) if np.allclose(np.round(values, n), values, rtol=0, atol=step / 100)), 6)
    inside = values[(values >= low) & (values <= high)]
    return Scale(low, high, {value: f"{value:.{digits}f}".replace("-", "−") for value in inside})


def logarithmic(low: float, high: float) -> Scale:
    """From `low` to `high`, both above 0, with ticks at decades, or closer where there would be one or none."""
    few = high < 20 * low
    major, minor = (
        [value for value in LogLocator(subs=subs, numticks=6).tick_values(low, high) if low <= value <= high]
        for subs in ((1, 2, 5) if few else (1,), range(2, 10))
    )
    return Scale(low, high, {value: f"{value:g}" for value in major}, minor, logarithmic=True)


class Panel:
    """One of the panels of a figure; what is drawn in it is cut off at its edges."""

    def __init__(self, axes, x: Scale, y: Scale, left: float, top: float, width: float, height: float):
        self.x, self.y = x, y
        self.left, self.top, self.right, self.bottom = left, top, left + width, top + height
        self._axes = axes
        self.frame = Rectangle((left, top), width, height, transform=axes.transData)

    def place(self, x, y) -> np.ndarray:
        """(N, 2): values as points of the figure."""
        across, up = np.broadcast_arrays(self.x.share(x), self.y.share(y))
        return np.column_stack(
            [self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)]
        )

    def lines(self, lines: Sequence[tuple], **look) -> None:
        """Lines, x and y of each; `look` as of matplotlib's LineCollection."""
        collection = LineCollection([self.place(*line) for line in lines], **look)
        self._axes.add_artist(collection)
        collection.set_clip_path(self.frame)

    def marked_line(self, x, y, **look) -> None:
        """A line with markers; `look` as of matplotlib's Line2D."""
        self._axes.add_artist(Line2D(*self.place(x, y).T, **look))

    def band(self, x, low, high, **look) -> None:
        outline = np.concatenate([self.place(x, low), self.place(x, high)[::-1]])
        self._axes.add_artist(PolyCollection([outline], **look))

    def text(self, left: float, top: float, text: str, **look) -> None:
        """At a point of the figure."""
        self._axes.text(left, top, text, **{"fontsize": SMALL, "ha": "center", "va": "top", "linespacing": 1.2} | look)

    def key(self, left: float, top: float, labels: Sequence[str], **look) -> None:
        """A line of each look with its label, one below the other."""
        heights = top + LINE * (0.5 + np.arange(len(labels)))
        self._axes.add_artist(LineCollection([[(left, y), (left + 0.12, y)] for y in heights], **look))
        for y, label in zip(heights, labels, strict=True):
            self.text(left + 0.17, y, label, ha="left", va="center_baseline")


class Panels:
    """All panels on one pair of axes: a pair for each takes three times as long, minutes over a thousand records."""

    def __init__(
        self,
        titles: Sequence[str],
        x: Sequence[Scale],
        y: Sequence[Scale],
        columns: int,
        height: float,
        margin: float = 0.0,
        key: float = 0.0,
        foot: float = 0.0,
        shared: str = "",
        raised: float = 0.0,
    ):
        """height: of a panel; margin: for what stands left of all panels; key: room right of each; foot: below all;
        raised: room between a panel and its title. shared: axes ("x", "xy") that are the same
        in all panels and have their labels on the outer ones alone.
        """
        rows = -(-len(titles) // columns)
        head = raised + LINE * (1 + max(title.count("\n") for title in titles)) + 2 * GAP
        below = (
            TICK + GAP + LINE * (1 + max((text.count("\n") for scale in x for text in scale.texts.values()), default=0))
        )
        before = (
            TICK + GAP + CHARACTER * max((len(text) for scale in y for text in scale.texts.values()), default=0) + 0.08
        )
        pitch = head + height + (TICK if "x" in shared else below)
        under = below if "x" in shared and len(titles) % columns else 0.0  # labels of the panels above empty places
        ends = [EDGE + pitch * row + head + height for row in range(rows)]
        ends[-1] += under
        self.height = ends[-1] + below + foot
        self.figure: Figure = new_figure(self.height, constrained=False)
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, WIDTH)
        self._axes.set_ylim(self.height, 0)
        if "y" in shared:
            margin, before = margin + before - 2 * GAP, 2 * GAP
        wide = (WIDTH - margin - 2 * EDGE) / columns
        self.panels = []
        for number, (title, *scales) in enumerate(zip(titles, x, y, strict=True)):
            row, column = divmod(number, columns)
            left = EDGE + margin + column * wide + before
            panel = Panel(self._axes, *scales, left, ends[row] - height, wide - before - key - 0.08, height)
            panel.text((panel.left + panel.right) / 2, panel.top - GAP - raised, title, va="baseline", fontsize=7.5)
            if "x" not in shared or number + columns >= len(titles):
                self._label_x(panel)
            if "y" not in shared or column == 0:
                self._label_y(panel)
            self.panels.append(panel)
        self._draw_frames()

    def _label_x(self, panel: Panel) -> None:
        for value, text in panel.x.texts.items():
            panel.text(panel.place(value, panel.y.low)[0, 0], panel.bottom + TICK + GAP, text)

    def _label_y(self, panel: Panel) -> None:
        for value, text in panel.y.texts.items():
            y = panel.place(panel.x.low, value)[0, 1]
            panel.text(panel.left - TICK - GAP, y, text, ha="right", va="center_baseline")

    def _draw_frames(self) -> None:
        lines = []
        for p in self.panels:
            lines += [[(p.left, p.top), (p.left, p.bottom)], [(p.left, p.bottom), (p.right, p.bottom)]]
            for values, length in ((list(p.x.texts), TICK), (p.x.minor, 0.6 * TICK)):
                lines += [[(x, p.bottom), (x, p.bottom + length)] for x, _ in p.place(values, p.y.low)]
            for values, length in ((list(p.y.texts), TICK), (p.y.minor, 0.6 * TICK)):
                lines += [[(p.left, y), (p.left - length, y)] for _, y in p.place(p.x.low, values)]
        self._axes.add_artist(LineCollection(lines, colors="black", linewidths=0.6, capstyle="projecting", zorder=10))

    def background(self, lines: Sequence[Sequence[tuple]], **look) -> None:
        """Lines of every panel, x and y of each, as one picture: in an SVG thousands of points would be stored."""
        placed = [panel.place(*line) for panel, own in zip(self.panels, lines, strict=True) for line in own]
        collection = LineCollection(placed, rasterized=True, **look)
        self._axes.add_artist(collection)
        frames = [Path.unit_rectangle().transformed(panel.frame.get_patch_transform()) for panel in self.panels]
        collection.set_clip_path(Path.make_compound_path(*frames), self._axes.transData)

    def name_x(self, name: str) -> None:
        """Below all panels."""
        self._axes.text(WIDTH / 2, self.height - EDGE, name, ha="center", va="bottom")

    def name_y(self, name: str) -> None:
        """Left of all panels."""
        self._axes.text(EDGE, self.height / 2, name, ha="left", va="center", rotation=90)
