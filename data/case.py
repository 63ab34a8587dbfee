"""One case: an image, its label where there is one, and the size of a voxel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from data.errors import UserError


class DataError(UserError):
    """Something is wrong with the data or its settings; the message is one line for the user."""


class DataProblems(DataError):
    """Several things are wrong, with several cases perhaps: `problems` has all, one line each; the message some, and
    which command lists the others."""

    def __init__(self, problems: list[str], listed_by: str):
        self.problems = problems
        most = 3 if listed_by else 10
        shown = "; ".join(problems[:most]) + ("; …" if len(problems) > most else "")
        super().__init__(f"{len(problems)} problems: {shown}" + (f" (`{listed_by}` lists all)" if listed_by else ""))


def raise_problems(problems: list[str], listed_by: str = "") -> None:
    """Raises DataError if something is wrong; DataProblems if several things are."""
    if problems:
        raise DataProblems(problems, listed_by) if len(problems) > 1 else DataError(problems[0])


@contextmanager
def collect_problems(problems: list[str]) -> Iterator[None]:
    """Adds what is wrong to `problems` instead of raising it, so that one look finds all."""
    try:
        yield
    except DataProblems as error:
        problems += error.problems
    except DataError as error:
        problems.append(str(error))


@dataclass(frozen=True)
class Case:
    """One 3D image and its label, on one grid.

    `image` is float32 (H, W, D); `label` is uint8 (H, W, D) with 0 for background and 1..C for the classes,
    or None for a case without a label; `spacing` is the size of a voxel in mm along each axis.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]


def shorten_list(items: list[str], most: int = 6) -> str:
    """The first of a list, for a message."""
    return ", ".join(items[:most]) + (", …" if len(items) > most else "")
