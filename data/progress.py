"""Progress bars of long loops on a terminal. Elsewhere, as in worker processes, nothing is printed."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_shown: list[Progress] = []  # at most one: a terminal has room for one live display


def follow(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar, if the output is a terminal. The bar goes away at the end.

    A loop inside another shows no bar of its own.

    Args:
        items: what to iterate over.
        what: says what is done, as in "preparing cases".
        total: how many items there are, if `items` has no length.

    Example:
        >>> [2 * number for number in follow([1, 2], "doubling")]
        [2, 4]
    """
    if _shown or not sys.stdout.isatty():
        yield from items
        return
    with bar(transient=True) as progress:
        _shown.append(progress)
        try:
            yield from progress.track(items, total, description=what)
        finally:
            _shown.clear()


def bar(console: Console | None = None, transient: bool = False) -> Progress:
    """The progress bar of this project: what is done, how many of how many, and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient)
