"""One case: an image, its label where there is one, and the size of a voxel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from data.errors import UserError

READ_CASE = "semiseg.read_case"  # audit event of a case, with its label, that is computed rather than read from a file


class DataError(UserError):
    """Something is wrong with the data or its settings. The message is one line for the user."""


class DataProblems(DataError):
    """Several things are wrong.

    Args:
        problems: all of them, one line each. The message shows the first ones.
        listed_by: the command that lists all; "" if there is none.
    """

    def __init__(self, problems: list[str], listed_by: str):
        self.problems = problems
        most = 3 if listed_by else 10
        shown = "; ".join(problems[:most]) + ("; …" if len(problems) > most else "")
        super().__init__(f"{len(problems)} problems: {shown}" + (f" (`{listed_by}` lists all)" if listed_by else ""))


def raise_problems(problems: list[str], listed_by: str = "") -> None:
    """Raise DataError for one problem and DataProblems for several; do nothing if there is none."""
    if problems:
        raise DataProblems(problems, listed_by) if len(problems) > 1 else DataError(problems[0])


@contextmanager
def collect_problems(problems: list[str]) -> Iterator[None]:
    """Add a DataError to `problems` instead of raising it, so that one run finds all problems."""
    try:
        yield
    except DataProblems as error:
        problems += error.problems
    except DataError as error:
        problems.append(str(error))


@dataclass(frozen=True)
class Case:
    """One 3D image and its label, on one grid.

    Args:
        id: names the case in lists, tables and files.
        image: (H, W, D), float32; (H, W, D, M) with several channels.
        label: (H, W, D), uint8; 0 is background and 1..C are the classes. None for a case without a label.
        spacing: mm of a voxel along each axis.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the three axes, without the channels."""
        return self.image.shape[:3]

    @property
    def shown(self) -> np.ndarray:
        """What pictures show, (H, W, D): the image, or the first of its channels."""
        return self.image if self.image.ndim == 3 else self.image[..., 0]


def shorten_list(items: list[str], most: int = 6) -> str:
    """The first items of a list, for a message.

    Example:
        >>> shorten_list(["a", "b", "c"], most=2)
        'a, b, …'
    """
    return ", ".join(map(shorten, items[:most])) + (", …" if len(items) > most else "")


def shorten(text: str) -> str:
    """The beginning of a text of over 100 characters, for a message.

    Example:
        >>> shorten("p12"), len(shorten("a" * 101))
        ('p12', 61)
    """
    return text if len(text) <= 100 else f"{text[:60]}…"
