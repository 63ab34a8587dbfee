"""The one style of all figures: sizes, fonts, how a method looks, and files that are the same bytes every time."""

import textwrap
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

WIDTH = 7.2  # inches: both columns of a journal page
HEIGHT = 9.2  # the most that leaves room for a caption
DPI = 200
SMALL = 7  # points: the smallest type anywhere

_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
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
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "svg.hashsalt": "semiseg-bench",
    "svg.fonttype": "path",
    "image.interpolation": "none",
    "image.composite_image": False,  # in an SVG every picture keeps its own pixels
}

# Okabe and Ito's colours but black, kept for floor and ceiling, and yellow, too pale on white. Six colours, eleven
# markers and four line styles: no two of the first 24 methods share all three.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p", "h")
DASHES = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))

TRUE, PREDICTED = "#E69F00", "#56B4E9"  # contours on grey images
GREY = "#8c8c8c"


@dataclass(frozen=True)
class Look:
    """How a method is drawn in every figure."""

    colour: str
    marker: str
    dashes: tuple
    size: float = 4.5  # of the marker, in points


FLOOR = Look("black", "*", (0, (3, 1.5)), 7)
CEILING = Look("black", "_", (0, ()))


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method, in the plan's order, so that it does not depend on what is done."""
    return {
        method: Look(COLOURS[n % 6], MARKERS[n % 11], DASHES[n // 6 % 4])
        for n, method in enumerate(dict.fromkeys(methods))
    }


def applied() -> AbstractContextManager:
    """While this is entered, matplotlib's settings are its own defaults and this style, whatever the user has set."""
    return matplotlib.style.context(["default", _SETTINGS])


def new_figure(height: float, width: float = WIDTH, constrained: bool = True) -> Figure:
    """An empty figure of this size in inches."""
    return Figure(figsize=(width, height), layout="constrained" if constrained else None)


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.png and NAME.svg: no date, no version, no random id in them."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, metadata={"Software": None}, pil_kwargs={"compress_level": 1})  # higher: a tenth off, slowly
    figure.set_layout_engine("none")  # the layout stands; finding it again would take as long as all the rest
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def wrapped(text: str, width: int, most: int = 2) -> str:
    """One line of at most `width` characters, or up to `most` of about the same length; what is too long ends in …"""
    lines = textwrap.wrap(text, width)
    if len(lines) > most:
        return "\n".join([*lines[: most - 1], f"{lines[most - 1][: width - 1]}…"])
    longest = min(max(map(len, text.split()), default=width), width)  # no word is broken that fits
    narrowest = next((n for n in range(longest, width) if len(textwrap.wrap(text, n)) <= len(lines)), width)
    return "\n".join(textwrap.wrap(text, narrowest))
