"""The style that all figures share: sizes, fonts, the look of each method, and reproducible files."""

import textwrap
import unicodedata
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.errors import one_line

WIDTH = 7.2  # inches: both columns of a journal page
LOWEST = 2.3  # inches: a figure with titles, axes and a key that leaves an inch for what is drawn
HEIGHT = 9.2  # inches: the most that leaves room for a caption
LINE = 0.13  # inches: a line of text
SMALL = 7  # points: the smallest text
LONGEST = 120  # characters of a name

_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "text.parse_math": False,  # "US$ or CA$" is no formula, and most of LaTeX is more than matplotlib can draw
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "figure.dpi": 200,
    "svg.hashsalt": "semiseg-bench",
    "svg.fonttype": "path",
}

# The colours of Okabe and Ito without black, which floor and ceiling have, and without yellow, too pale on white.
# With six colours, eleven markers and four line styles no two of the first 24 methods share all three.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))


@dataclass(frozen=True)
class Look:
    """How a method is drawn in every figure."""

    colour: str
    marker: str
    dashes: tuple
    size: float = 4.5  # of the marker, in points

    @property
    def reference_line(self) -> dict:
        """Settings of a thin line at the floor's or the ceiling's mean."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 0.8}


FLOOR = Look("black", "*", (0, (3, 1.5)), 7)
CEILING = Look("black", "_", (0, ()))


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each planned method, in the plan's order. It does not depend on which runs are finished."""
    return {
        method: Look(COLOURS[n % 6], MARKERS[n % 11], DASHES[n // 6 % 4])
        for n, method in enumerate(dict.fromkeys(methods))
    }


def applied() -> AbstractContextManager:
    """A context with matplotlib's defaults and this style, whatever the user has set."""
    return matplotlib.style.context(["default", _SETTINGS])


def new_figure(height: float, width: float = WIDTH, layout: str = "constrained") -> Figure:
    """An empty figure of this size in inches."""
    return Figure(figsize=(width, height), layout=layout)


def panel_grid(count: int, columns: int, height: float, **sharing) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row by row.

    Args:
        count: number of panels.
        columns: the most panels side by side.
        height: inches per row. One or two rows get more, because titles and key take the same room.
        sharing: `sharex` and `sharey` of matplotlib's `subplots`.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = new_figure(max(height * rows, LOWEST if rows == 1 else 1.5 * LOWEST))
    panels = figure.subplots(rows, columns, squeeze=False, **sharing).ravel()
    for unused in panels[count:]:
        unused.remove()
    for lowest in panels[max(count - columns, 0) : count]:
        lowest.tick_params(labelbottom=True)
    return figure, list(panels[:count])


def chunks(items: list, size: int) -> list[list]:
    """Split items into pages of `size`."""
    return [items[n : n + size] for n in range(0, len(items), size)]


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.png and NAME.svg without date, version or random ids."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with warnings.catch_warnings():
        # Characters that the font lacks become boxes. Several lines on the terminal for each would help nobody.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.draw_without_rendering()
        box = figure.get_tightbbox().padded(0.04)
        figure.set_layout_engine("none")  # keeps the layout, which takes long to compute
        figure.savefig(png, bbox_inches=box, metadata={"Software": None})
        figure.savefig(svg, bbox_inches=box, metadata={"Date": None, "Creator": None})
    return png, svg


def drawable(text: str) -> str:
    """A name as matplotlib can draw it: one line of visible characters.

    Characters without a picture go, and control characters are spelled out. Matplotlib leaves names that begin with an
    underscore out of keys, so that a space without width goes before it. Very long names are cut.

    Example:
        >>> drawable("two\\nlines"), drawable("a\\u200bb")
        ('two lines', 'ab')
    """
    line = "".join(c for c in one_line(text) if unicodedata.category(c) != "Cf")
    line = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
    return f"\u200b{line}" if line.startswith("_") else line or "–"


def wrapped(text: str, width: int, most: int = 2) -> str:
    """Break text into up to `most` lines of similar length, each at most `width` characters. The rest becomes …"""
    lines = textwrap.wrap(text, width)
    if len(lines) > most:
        return "\n".join([*lines[: most - 1], f"{lines[most - 1][: width - 1]}…"])
    longest = min(max(map(len, text.split()), default=width), width)  # breaks no word that fits
    narrowest = next((n for n in range(longest, width) if len(textwrap.wrap(text, n)) <= len(lines)), width)
    return "\n".join(textwrap.wrap(text, narrowest))
