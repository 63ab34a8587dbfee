"""Figures of a results folder, each as PNG and SVG; a figure is one module here."""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from reports.figures import budgets, cost, distributions, examples, losses, ranks, significance, style
from reports.figures.measured import Measured, measured_in
from reports.figures.sheet import LeftOut
from reports.results import Results

FIGURES = (distributions, budgets, ranks, significance, cost, losses, examples)
MANY = 200  # planned runs x test cases: fewer are drawn before other processes would have started

__all__ = ["Drawn", "LeftOut", "begin_drawing", "draw_all"]


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
    return begin_drawing(experiment, folder)()


def begin_drawing(experiment: Results, folder: Path) -> Callable[[], tuple[list[Drawn], list[LeftOut]]]:
    """`draw_all` in other processes where there is much to draw; call what is returned to wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = measured_in(experiment)
    if len(experiment.cells) * experiment.plan["data"]["test"] < MANY:
        return lambda: _sorted(_draw(source, module, folder) for module in FIGURES)
    context = multiprocessing.get_context("spawn")  # a fork would inherit Ray's threads
    slim = replace(source, experiment=replace(experiment, cases=experiment.cases[:0]))  # `runs` has what figures need
    pool = ProcessPoolExecutor(min(os.cpu_count() or 1, len(FIGURES)), context)
    # the last ones, which take longest, first
    futures = [pool.submit(_draw_number, slim, number, folder) for number in reversed(range(len(FIGURES)))]
    pool.shutdown(wait=False)
    return lambda: _sorted(future.result() for future in reversed(futures))


def _sorted(parts: Iterable[list[Drawn | LeftOut]]) -> tuple[list[Drawn], list[LeftOut]]:
    sheets = [sheet for part in parts for sheet in part]
    return [s for s in sheets if isinstance(s, Drawn)], [s for s in sheets if isinstance(s, LeftOut)]


def _draw(source: Measured, module: ModuleType, folder: Path) -> list[Drawn | LeftOut]:
    done: list[Drawn | LeftOut] = []
    with style.applied():
        for sheet in module.draw(source):
            if isinstance(sheet, LeftOut):
                done.append(sheet)
            else:
                png, svg = style.save(sheet.figure, folder, sheet.name)
                done.append(Drawn(sheet.name, sheet.title, sheet.caption, png, svg))
    return done


def _draw_number(source: Measured, number: int, folder: Path) -> list[Drawn | LeftOut]:
    """A module cannot be sent to a process, its number can."""
    return _draw(source, FIGURES[number], folder)
