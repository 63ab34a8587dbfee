"""Figures of a results folder, each saved as PNG and SVG. Each module here draws one kind of figure."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reports.figures import (
    budgets,
    distributions,
    examples,
    pairwise_map,
    ranks,
    style,
    training_cost,
    training_curves,
)
from reports.figures.captioned import CaptionedFigure, LeftOut
from reports.figures.measured import Measured, measured_in
from reports.results import Results

DRAWING = (distributions.draw, budgets.draw, ranks.draw, pairwise_map.draw, training_cost.draw, training_curves.draw,
           examples.draw)  # fmt: skip
MANY = 200  # planned runs x test cases from which starting other processes saves time

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
    """Draw every figure that the finished runs allow. The same results give the same bytes.

    Args:
        experiment: the results; runs may be missing, unfinished or failed.
        folder: where the files go; it is created.

    Returns:
        The figures drawn, and those left out with the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = partial(_draw, source=measured_in(experiment), folder=folder)
    if len(experiment.cells) * experiment.plan.data.test < MANY:
        parts = list(map(draw, DRAWING))
    else:
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:  # a fork copies Ray's locks
            parts = list(pool.map(draw, DRAWING))
    figures = [figure for part in parts for figure in part]
    return [f for f in figures if isinstance(f, Drawn)], [f for f in figures if isinstance(f, LeftOut)]


def _draw(
    module: Callable[[Measured], Iterator[CaptionedFigure | LeftOut]], source: Measured, folder: Path
) -> list[Drawn | LeftOut]:
    done: list[Drawn | LeftOut] = []
    with style.applied():
        for figure in module(source):
            if isinstance(figure, LeftOut):
                done.append(figure)
            else:
                png, svg = style.save(figure.figure, folder, figure.name)
                done.append(Drawn(figure.name, figure.title, figure.caption, png, svg))
    return done
