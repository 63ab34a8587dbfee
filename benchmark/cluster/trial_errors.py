"""What Ray and Tune report of a trial that ended with an error."""

import re
from contextlib import suppress
from pathlib import Path

from benchmark.cluster.connection import ray
from benchmark.trial.failures import is_killed_worker, less_memory
from benchmark.trial.specification import Trial
from data.errors import one_line


def error_of(trial) -> Exception:
    """What Tune has noted of a trial's error. Its own getters look where the file is copied to later."""
    for path, read in ((trial.pickled_error_file, ray.cloudpickle.loads), (trial.error_file, _as_error)):
        with suppress(Exception):  # no such file, or an exception that cannot be rebuilt here
            return cause(read(Path(path).read_bytes()))
    return RuntimeError("it ended, and Ray kept no error message")


def _as_error(text: bytes) -> Exception:
    return RuntimeError(text.decode())


def is_death(error: Exception) -> bool:
    """Whether a process died, of the trial itself or of one that prepares its batches."""
    return is_killed_worker(error) or isinstance(error, ray.exceptions.RayActorError) and not in_creation(error)


def cause(error: Exception) -> Exception:
    """The exception that a worker raised, where Ray has wrapped it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def in_creation(error: Exception) -> bool:
    return "creation task" in str(error)


def last_line(error: Exception) -> str:
    """What an error says, without the traceback that Ray puts before it and what Python puts after one it has lost."""
    lines = [line for line in str(error).splitlines() if line.strip() not in ("", "NoneType: None")]
    return f"{type(error).__name__}: {one_line(lines[-1])}" if lines else type(error).__name__


def death_reason(error: Exception, deaths: int, log: Path, trial: Trial) -> str:
    """One line on a trial whose process died again and again: what is known, likely reasons, advice.

    Args:
        error: of the last death.
        deaths: how many there were at one step.
        log: what Ray printed.
        trial: for advice on memory.
    """
    kind = re.search(r"Worker exit type: (\w+)", str(error))
    known = f"Ray reports {kind[1]} and no exit code" if kind else last_line(error)
    return (
        f"its process died {deaths} times at one step without a Python error ({known}; log: {log}). Likely reasons: "
        "the method's code ended it (os._exit, a crash in compiled code), or the system did for lack of memory. If "
        f"memory is short, {less_memory('execution.memory_gib', trial)}"
    )
