"""What the modules of figures return, and what becomes of it."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

NOTHING_DONE = "No floor and no method is done yet."


@dataclass(frozen=True)
class Pages:
    """A figure of one page or several, before it is named and saved. The caption is plain text."""

    caption: str
    pages: list[Figure]


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure of one page. `name` is the file name without suffix; title and caption are plain text."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Drawn:
    """A figure on disk."""

    name: str
    title: str
    caption: str
    png: Path
    svg: Path


@dataclass(frozen=True)
class LeftOut:
    """A figure that cannot be drawn from these results. `reason` is one sentence."""

    name: str
    title: str
    reason: str
