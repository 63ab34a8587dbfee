"""One run at a time works on a results folder, and one process at a time on a trial."""

import json
import math
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.records.files import ResultsError, write_text
from benchmark.records.results_folder import ResultsFolder
from benchmark.records.states import SILENCE

HEARTBEAT_SECONDS = 30  # between two signs of life of a run


@contextmanager
def run_lock(results: ResultsFolder) -> Iterator[None]:
    """A lock that one run at a time holds. It ends with its process, even if that is killed.

    On some shared file systems locks do not reach other machines. There the heartbeat decides: a run on another machine
    counts as dead after SILENCE.

    Raises:
        ResultsError: another run holds it. The message names that run.
    """
    lock = FileLock(results.folder / "running" / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ResultsError(_taken(results)) from error
    except OSError as error:
        raise ResultsError(
            f"{results.folder} cannot be locked ({error.strerror}): choose a folder on a file system that has "
            "locks, with --results"
        ) from error
    try:
        holder = _holder(results)
        elsewhere = holder is not None and holder["host"] != socket.gethostname()
        if elsewhere and abs(time.time() - holder["time"]) < SILENCE:
            raise ResultsError(_taken(results))
        with _heartbeats(_heartbeat_file(results)):
            try:
                yield
            finally:
                shutil.rmtree(_trials(results), ignore_errors=True)  # nobody works on a trial any more
    finally:
        lock.release()


def trial_lock(results: ResultsFolder, trial: str) -> FileLock:
    """A context manager that waits while another process works on the trial: a worker may outlive a killed run."""
    folder = _trials(results)
    folder.mkdir(exist_ok=True)  # without parents, so that a results folder that was moved is not created again
    return FileLock(folder / f"{trial}.lock", timeout=600)


def _trials(results: ResultsFolder) -> Path:
    return results.folder / "running" / ".trials"


def _heartbeat_file(results: ResultsFolder) -> Path:
    return results.folder / "running" / ".run.json"


def _holder(results: ResultsFolder) -> dict | None:
    """Host, process, start and last sign of life of the run that works here, or did when it was killed."""
    try:
        holder = json.loads(_heartbeat_file(results).read_text(encoding="utf-8"))
        found = {"host": str(holder["host"]), "process": int(holder["process"]),
                 "start": float(holder["start"]), "time": float(holder["time"])}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return found if math.isfinite(found["start"]) and math.isfinite(found["time"]) else None


def _taken(results: ResultsFolder) -> str:
    running, holder = "another run", _holder(results)
    if holder is not None:
        age, silence = (round(time.time() - holder[key]) for key in ("start", "time"))
        running = (
            f"another run (process {holder['process']} on {holder['host']}, for {age} s, last sign of life {silence} s "
            "ago)"
        )
    return f"{running} is working on {results.folder}: wait for it or stop it, or choose another folder with --results"


@contextmanager
def _heartbeats(path: Path) -> Iterator[None]:
    """While this is entered, `path` says who works here."""
    identity = {"host": socket.gethostname(), "process": os.getpid(), "start": time.time()}
    stopped = threading.Event()

    def beat() -> None:
        while True:
            with suppress(OSError):  # a full disk is for the run itself to complain of
                write_text(path, json.dumps(identity | {"time": time.time()}))
            if stopped.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        with suppress(OSError):  # the folder may have been moved away meanwhile
            path.unlink()
