"""Figures of a results folder, each saved as PNG and SVG. Each module here draws one kind of figure.

A module has TITLES, the titles of its figures by name, and `draw(source, labelled)`. It yields the name of each figure
with its pages, or with the reason why it cannot be drawn.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path

from data.progress import follow
from reports.figures import style
from reports.figures.captioned import NOTHING_DONE, CaptionedFigure, Drawn, LeftOut
from reports.figures.measured import Measured, measured_in
from reports.results import Results

MODULES = ("distributions", "budgets", "variance", "ranks", "pairwise_map", "training_cost", "training_curves",
           "examples", "disagreement")  # fmt: skip
SELECTION = "selection"  # where checkpoints were stored
DRAWING = "drawing figures"
MANY = 200  # planned runs x test cases from which starting other processes saves time

__all__ = ["Drawn", "LeftOut", "draw_all", "draw_module"]


def draw_all(experiment: Results, folder: Path) -> tuple[list[Drawn], list[LeftOut]]:
    """Draw every figure that the finished runs allow. The same results give the same bytes.

    Args:
        experiment: the results; runs may be missing, unfinished or failed.
        folder: where the files go; it is created.

    Returns:
        The figures drawn, and those left out with the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    modules = MODULES + (SELECTION,) * (experiment.plan.evaluation.checkpoints is not None)
    save = partial(_save_module, source=measured_in(experiment), folder=folder)
    if len(experiment.cells) * experiment.plan.data.test < MANY:
        parts = list(map(save, follow(modules, DRAWING)))
    else:
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:  # a fork copies Ray's locks
            parts = list(follow(pool.map(save, modules), DRAWING, total=len(modules)))
    figures = [figure for part in parts for figure in part]
    return [f for f in figures if isinstance(f, Drawn)], [f for f in figures if isinstance(f, LeftOut)]


def draw_module(module: str, source: Measured) -> Iterator[CaptionedFigure | LeftOut]:
    """Draw the figures of one module, for each number of labelled cases that it distinguishes."""
    module = import_module(f"{__name__}.{module}")
    if not source.budgets:
        yield from (LeftOut(name, title, NOTHING_DONE) for name, title in module.TITLES.items())
    for labelled in source.budgets if module.PER_BUDGET else [None] * bool(source.budgets):
        for name, drawn in module.draw(source, labelled):
            title = module.TITLES[name]
            if module.PER_BUDGET:
                name, title = f"{name}_{labelled}", f"{title}, {labelled} labelled"
            if isinstance(drawn, str):
                yield LeftOut(name, title, drawn)
            elif len(drawn.pages) == 1:
                yield CaptionedFigure(name, title, drawn.caption, drawn.pages[0])
            else:
                for number, page in enumerate(drawn.pages, start=1):
                    numbered = f"{title} ({number} of {len(drawn.pages)})"
                    yield CaptionedFigure(f"{name}_{number}", numbered, drawn.caption, page)


def _save_module(module: str, source: Measured, folder: Path) -> list[Drawn | LeftOut]:
    with style.applied():
        return [
            figure
            if isinstance(figure, LeftOut)
            else Drawn(figure.name, figure.title, figure.caption, *style.save(figure.figure, folder, figure.name))
            for figure in draw_module(module, source)
        ]
