"""What the modules of figures give: a figure with its words, or why there is none."""

from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sheet:
    """A figure before it is written; title and caption are plain text."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class LeftOut:
    """A figure that cannot be drawn from what is there, and why: one sentence."""

    name: str
    title: str
    reason: str
