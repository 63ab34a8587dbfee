"""One line on why a trial failed, and what to do about it."""

import inspect
import traceback
from contextlib import suppress
from pathlib import Path

import torch

from benchmark.trial.probabilities import PredictionError
from benchmark.trial.specification import Trial
from data.errors import one_line
from methods.shared import registry
from methods.shared.method import Method

SINGLE_VALUE = "Expected more than 1 "  # how torch's normalisation layers begin what they say of it


def is_killed_worker(error: Exception) -> bool:
    """Whether a process that prepares batches was killed, for lack of memory perhaps; not an exception in one."""
    return "DataLoader worker (pid" in str(error)


def failure_reason(error: Exception, trial: Trial) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return f"the GPU's memory is too small: {less_memory('execution.gpus_per_trial', trial)}"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return f"the machine's memory is too small: {less_memory('execution.memory_gib', trial)}"
    if str(error).startswith(SINGLE_VALUE):
        return f"{_error_line(error)}: {more_values(trial)}"
    with suppress(Exception):  # a plug-in that could not be loaded, or any method's file on a damaged machine
        method = registry.get(trial.method)
        file = Path(inspect.getsourcefile(method))
        if isinstance(error, PredictionError):  # noticed after predict() had returned
            where, line = place_of_predict(method)
        else:
            where, line = file, last_line_in(file, error)
        if line:  # a plug-in's text may have been sent to another machine, so that its file here is a copy
            place = trial.cell.method_file if where.resolve() == file.resolve() else where
            return f"{_error_line(error)} ({place}:{line})"
    return _error_line(error)


def place_of_predict(method: type[Method]) -> tuple[Path, int]:
    """The file and the first line of a method's `predict`, which it may have from another class."""
    code = inspect.unwrap(method.predict).__code__
    return Path(code.co_filename), code.co_firstlineno


def last_line_in(file: Path, error: Exception) -> int | None:
    """The line of a file that an error came through last; None if it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if Path(f.filename).resolve() == file.resolve()), None)


def less_memory(share: str, trial: Trial) -> str:
    """What to do about too little memory: `share`, the setting that packs fewer trials, then those of the trial."""
    training = trial.training
    return (
        f"raise {share}, so that fewer trials run at a time, or lower execution.window_batch, training.patch "
        f"(now {list(training.patch)}), training.batch_size (now {training.batch_size}) or training.width "
        f"(now {training.width}); those of training change the protocol"
    )


def more_values(trial: Trial) -> str:
    """What to do about a normalisation layer that gets a single value a channel."""
    training = trial.training
    return (
        "a network's deepest level has a single voxel for a single patch; raise training.batch_size (now "
        f"{training.batch_size}) or a side of training.patch (now {list(training.patch)})"
    )


def _error_line(error: Exception) -> str:
    """The error in one line; of one that a data worker passes on with its whole traceback, the last line."""
    text = str(error)
    if "Original Traceback" in text:
        return text.strip().splitlines()[-1]
    return f"{type(error).__name__}: {one_line(text)}"
