"""SIGTERM and SIGHUP end a command as Ctrl-C does: a run saves its checkpoints first.

`scancel`, `docker stop` and spot machines send SIGTERM, a terminal that is closed sends SIGHUP.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NUMBERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_received: list[signal.Signals] = []


def install() -> None:
    """Take the signals from now on. Ray takes SIGTERM for itself when it starts, so a run calls this again.

    A signal that is ignored, as SIGHUP under `nohup`, stays ignored.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _stop)


def received() -> signal.Signals | None:
    """The first of the signals that came."""
    return _received[0] if _received else None


def message(number: signal.Signals) -> str:
    return f"ended by {number.name}; run the same command again to go on"


def check() -> None:
    """Raises KeyboardInterrupt if one of the signals came: nobody waits for what would follow."""
    if _received:
        raise KeyboardInterrupt


def has_come(number: int) -> None:
    """For a signal that somebody else has caught. Raises KeyboardInterrupt."""
    _received.append(signal.Signals(number))
    raise KeyboardInterrupt


def _stop(number: int, frame) -> None:
    _received.append(signal.Signals(number))
    leave_terminal()
    if len(_received) > 1:  # whoever sends it twice wants to be sure; checkpoints are being saved already
        return
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):  # Tune's, which ends a run gently, or Python's
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def leave_terminal() -> None:
    """Where the terminal is gone, print nowhere: an error of printing would come before checkpoints are saved."""
    if all(number == signal.SIGTERM for number in _received):
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):  # none, or replaced
            continue
        if not _is_file_or_pipe(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_file_or_pipe(descriptor: int) -> bool:
    """Whether a log is written there, which outlives the terminal."""
    try:
        kind = os.fstat(descriptor).st_mode & 0o170000
    except OSError:
        return False
    return kind in (0o100000, 0o010000)


@contextmanager
def given_back() -> Iterator[list[bool]]:
    """Around Tune's own handling of Ctrl-C, which Tune leaves in place: a later Ctrl-C would be swallowed.

    Yields:
        A list that holds, after the block, whether a signal has ended it.
    """
    interrupted: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    numbers = [signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield interrupted
        # Tune puts the earlier handler back when the first signal comes, and only then.
        interrupted.append(signal.getsignal(signal.SIGINT) is before[signal.SIGINT])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
