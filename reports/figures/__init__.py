"""Figures of a results folder, each as PNG and SVG; a figure is one module here."""

from dataclasses import dataclass
from pathlib import Path

from reports.figures import budgets, cost, distributions, examples, losses, ranks, significance, style
from reports.figures.measured import measured_in
from reports.figures.sheet import LeftOut
from reports.results import Results

FIGURES = (distributions, budgets, ranks, significance, cost, losses, examples)

__all__ = ["Drawn", "LeftOut", "draw_all"]


@dataclass(frozen=True)
class Drawn:
    """A figure on disk; title and caption are plain text."""

    name: str
    title: str
    caption: str
    png: Path
    svg: Path


def draw_all(experiment: Results, folder: Path) -> tuple[list[Drawn], list[LeftOut]]:
    """Draw every figure that what is done allows into `folder`; second, what was left out and why.

    The same results give the same bytes. Nothing is asked of the results: cells may be missing, running or failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, left_out = [], []
    with style.applied():
        source = measured_in(experiment)
        for module in FIGURES:
            for sheet in module.draw(source):
                if isinstance(sheet, LeftOut):
                    left_out.append(sheet)
                else:
                    png, svg = style.save(sheet.figure, folder, sheet.name)
                    drawn.append(Drawn(sheet.name, sheet.title, sheet.caption, png, svg))
    return drawn, left_out
