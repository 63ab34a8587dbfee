"""What Ray and its C++ parts print goes to a file: on the terminal it would bury the one line that matters."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.cluster import stop_signals


class Terminal:
    """Where the command's own errors are printed meanwhile."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def print(self, line: str) -> None:
        """Print a line, and show the cursor that a live display has hidden."""
        shown = "\x1b[?25h" if os.isatty(self._descriptor) else ""
        with suppress(OSError):  # there may be no terminal any more
            os.write(self._descriptor, f"{shown}{line}\n".encode())


@contextmanager
def stderr_to(log: Path) -> Iterator[Terminal]:
    """Send everything that this process writes to its standard error, C++ included, to a file while this is entered.

    Args:
        log: is written anew. Where it cannot be, nothing is kept.

    Yields:
        The standard error as it was.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError:
        target = os.open(os.devnull, os.O_WRONLY)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield Terminal(saved)
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        stop_signals.leave_terminal()  # it may have gone meanwhile
