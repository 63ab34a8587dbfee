"""Whether the loggers of an experiment can be used here: known before a trial runs."""

import importlib.util
from pathlib import Path

from benchmark.planning.experiment import LOGGERS, Execution, ExperimentError


def check_loggers(execution: Execution) -> None:
    """Refuse loggers whose library or file is missing.

    Args:
        execution: of an experiment whose files have absolute paths.

    Raises:
        ExperimentError: with what to install.
    """
    for name in execution.log_to:
        if name in LOGGERS and not _is_installed(name):
            raise ExperimentError(
                f"execution.log_to: {name} is not installed: pip install '.[{name}]', or leave {name} out"
            )
        if name not in LOGGERS and not Path(name).is_file():
            raise ExperimentError(f"execution.log_to: there is no file {name}: give the path of a Python file")


def _is_installed(name: str) -> bool:
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None  # a folder of that name, as wandb makes one, has no origin
