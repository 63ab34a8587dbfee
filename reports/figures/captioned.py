"""What the modules of figures return: a figure with its caption, or the reason why there is none."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure before it is saved. `name` is the file name without suffix; title and caption are plain text."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class LeftOut:
    """A figure that cannot be drawn from these results. `reason` is one sentence."""

    name: str
    title: str
    reason: str
