"""Decodes scans in a separate process, so that a damaged file can crash or hang only that process.

One such process reads many files. It has limits of memory and time. If it dies, the error names the file, and the
next file gets a new process.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.case import DataError
from data.geometry import Geometry
from data.reading import Reading

ROOT = Path(__file__).resolve().parents[1]
START = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from data.reader_process import serve; serve()"
# Threads of libraries reserve memory by the core, which counts against the limit on machines with many.
SINGLE_THREADED = {
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2",
}  # fmt: skip
SECONDS = 120  # for a file, and one more for each of its megabytes
SECONDS_TO_START = 300
REASONS = {
    signal.SIGALRM: "it took too long to read, {seconds:.0f} s",
    signal.SIGKILL: "the system stopped its reader, most likely for lack of memory",
}


class _Process:
    """A process that decodes, and its two pipes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=os.environ | SINGLE_THREADED,
        )  # fmt: skip
        self.started_by = os.getpid()

    def ask(self, request: dict) -> tuple[dict, np.ndarray | None]:
        """The answer of the process. Raises EOFError if it died."""
        try:
            send(self._process.stdin, request)
            return receive(self._process.stdout)
        except (BrokenPipeError, ConnectionError) as error:
            raise EOFError from error

    def stop(self) -> int:
        """End the process. Returns its exit status, also if it had died before."""
        with suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process.stdout.close()
        return status


_lock = threading.RLock()
_process: _Process | None = None


def decode(task: str, path: Path, reading: Reading | None = None, **more: Any) -> Any:
    """What a function of `data.decoding` returns, called in the other process.

    Args:
        task: the function's name.
        path: its first argument.
        reading: its second one, if it has one.
        more: others, as JSON can hold them.

    Raises:
        DataError: what the function raises; or the process died, took too long or needed too much memory.
    """
    sys.audit("open", os.fspath(path), "rb", os.O_RDONLY)  # that process opens it on behalf of this one
    seconds = SECONDS + _megabytes(path)
    request = {
        "task": task, "path": os.fspath(path), "reading": reading and reading.model_dump(mode="json"),
        "seconds": seconds, "more": more, "folder": "" if path.is_absolute() else os.getcwd(),
    }  # fmt: skip
    with _lock:
        try:
            answer, array = _ready().ask(request)
        except EOFError:
            status = stop()
            reason = REASONS.get(-status, f"it crashes its reader ({_name(status)})").format(seconds=seconds)
            raise DataError(f"{path} cannot be read: {reason}") from None
        except BaseException:  # an answer may be left half read
            stop()
            raise
    if "error" in answer:
        raise DataError(answer["error"])
    value = answer["value"]
    geometry = Geometry(**{k: tuple(v) if isinstance(v, list) else v for k, v in answer["geometry"].items()}) \
        if "geometry" in answer else None  # fmt: skip
    return (array, geometry) if array is not None else geometry or value


@contextmanager
def reading_scans() -> Iterator[None]:
    """End the process at the end of the block, so that none is left while a trial trains."""
    try:
        yield
    finally:
        stop()


def stop() -> int:
    """End the process if there is one. Returns its exit status."""
    global _process
    with _lock:
        process, _process = _process, None
        return process.stop() if process and process.started_by == os.getpid() else 0


def _ready() -> _Process:
    global _process
    if _process is None or _process.started_by != os.getpid():  # a fork has the pipes of its parent
        _process = _Process()
        try:
            _process.ask({"task": "", "seconds": SECONDS_TO_START, "folder": ""})
        except EOFError:
            status = stop()
            raise DataError(
                f"the process that reads scans cannot start ({_name(status)}): {sys.executable} -c 'import h5py, "
                "nibabel, SimpleITK' shows why"
            ) from None
    return _process


def _megabytes(path: Path) -> float:
    try:
        return path.stat().st_size / 1e6
    except OSError:
        return 0


def _name(status: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"exit status {status}"


def send(pipe: BinaryIO, message: dict, array: np.ndarray | None = None) -> None:
    """Write a message and an array: a line of JSON, then the bytes of the array."""
    if array is not None:
        turned = array.flags.f_contiguous and not array.flags.c_contiguous  # files have x first: kept as it is
        array = array.T if turned else np.ascontiguousarray(array)
        message = message | {"array": {"dtype": array.dtype.str, "shape": array.shape, "turned": bool(turned)}}
    pipe.write(json.dumps(message).encode() + b"\n")
    if array is not None:
        pipe.write(memoryview(array).cast("B"))
    pipe.flush()


def receive(pipe: BinaryIO) -> tuple[dict, np.ndarray | None]:
    """Read what `send` wrote. Raises EOFError if the other side is gone."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    if "array" not in message:
        return message, None
    said = message["array"]
    array = np.empty(said["shape"], said["dtype"])
    if pipe.readinto(memoryview(array).cast("B")) < array.nbytes:
        raise EOFError
    return message, array.T if said["turned"] else array


atexit.register(stop)
