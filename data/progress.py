"""Progress bars of long loops on a terminal, and a line for other work that takes long."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
PATIENCE = 2  # seconds without a word
_shown: list[Progress] = []  # at most one: a terminal has room for one live display


def follow(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar, if the output is a terminal. The bar goes away at the end.

    Elsewhere, as in worker processes, nothing is printed.

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


@contextmanager
def announced(what: str, console: Console) -> Iterator[None]:
    """Print what is being done, on a terminal or not, as soon as it has taken two seconds.

    While a bar of `follow` is shown, nothing is printed.

    Args:
        what: says what is done, as in "planning the trials".
        console: where it is printed.
    """

    def say() -> None:
        if not _shown:
            console.print(f"{what} ...", soft_wrap=True)

    timer = threading.Timer(PATIENCE, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def bar(console: Console | None = None, transient: bool = False) -> Progress:
    """The progress bar of this project: what is done, how many of how many, and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient)
