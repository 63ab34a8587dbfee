"""The state of the process that a trial's numbers may depend on: set at its start, compared at its end.

Processes run trial after trial. A method that turns off mkldnn or replaces a function of torch would change the numbers
of the trials after it. So what can be set is set when a trial starts. Whatever is another at its end is named, and its
process runs no further trial.
"""

import gc
import locale
import multiprocessing
import os
import random
import sys
import warnings
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmark.records.protocol import Training
from benchmark.trial.process_code import CodeInUse
from data.errors import one_line
from data.randomness import integer_seed

# Environment variables that libraries set themselves as they go.
OF_LIBRARIES = ("RAY_", "TUNE_", "TORCHINDUCTOR_", "TRITON_", "KINETO_", "CUDA_MODULE_LOADING", "TEARDOWN_CUPTI",
                "PYTEST_")  # fmt: skip
NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
MOST_CHANGES = 3  # changes that a note names
UNREADABLE = "cannot be read"
OPERATIONS = ("conv", "matmul", "rnn")  # for which a backend has a precision of its own
MATMUL_FLAGS = (
    "allow_tf32", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)  # fmt: skip
VARIABLE = "environment variable"


def configure_torch(training: Training) -> None:
    """Threads, kernels and modes as the protocol says, whatever ran before; "fp32" means fp32 on every GPU."""
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, False)
    torch.set_autocast_cache_enabled(True)
    torch.set_flush_denormal(False)
    torch.set_num_threads(training.threads)
    torch.use_deterministic_algorithms(training.deterministic, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.enabled = True
    torch.backends.cudnn.enabled = True
    torch.backends.cudnn.benchmark = not training.deterministic
    torch.backends.cudnn.deterministic = training.deterministic
    torch.backends.cudnn.allow_tf32 = False
    np.seterr(**NUMPY_ERRORS)


class ProcessState:
    """What a trial found, to compare with what it leaves.

    Args:
        training: its protocol, which is set here.
        seed: of the trial. Generators outside the training loop start from it.
        plugin_folders: where plug-ins lie. They come to stand in sys.path.
    """

    def __init__(self, training: Training, seed: int, plugin_folders: Collection[str] = ()):
        configure_torch(training)
        number = integer_seed(seed, "process")
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number % 2**32)
        if training.compile != "none":  # torch replaces functions of its own when it compiles for the first time
            torch.compile(torch.nn.Identity(), backend="eager")(torch.zeros(1))
        self._plugin_folders = plugin_folders
        self._found = read(plugin_folders)
        self._code = CodeInUse()

    def changes(self) -> list[str]:
        """What is another than it was, a phrase each."""
        return differences(self._found, read(self._plugin_folders)) + self._code.changes()


def changed_process(method: str, changes: list[str]) -> str:
    """What is said of a process that a trial has changed.

    Example:
        >>> changed_process("mine", ["torch.get_num_threads() was 2, is 1"])
        'mine changed its process: torch.get_num_threads() was 2, is 1; the process runs no further trial'
    """
    more = f" and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
    return f"{method} changed its process: {'; '.join(changes[:MOST_CHANGES])}{more}; the process runs no further trial"


def read(plugin_folders: Collection[str] = ()) -> dict[str, Any]:
    """Everything that is compared, by a name that says what it is."""
    with warnings.catch_warnings(record=True):  # flags of torch that are about to be renamed
        states = {name: _value(reader) for name, reader in _READERS.items()} | _backend_flags()
    states["sys.path"] = [entry for entry in sys.path if entry not in plugin_folders]
    # Filters come and go with imports of libraries. One that makes a warning an error ends a trial.
    states["warnings that are errors"] = sum(action == "error" for action, *_ in warnings.filters)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OF_LIBRARIES)}
    return states | {f"{VARIABLE} {name}": value for name, value in variables.items()}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two readings, a phrase each.

    Example:
        >>> differences({"torch.get_num_threads()": 2}, {"torch.get_num_threads()": 1})
        ['torch.get_num_threads() was 2, is 1']
    """
    found = []
    for name in before | after:
        old, new = before.get(name), after.get(name)
        if old != new:  # the value of a variable may be a secret
            found.append(
                f"{name} was changed" if name.startswith(VARIABLE) else f"{name} was {_short(old)}, is {_short(new)}"
            )
    return found


def _short(value: Any) -> str:
    text = one_line(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _value(reader: Callable[[], Any]) -> Any:
    try:
        return reader()
    except Exception:  # flags of torch contradict each other, the working directory was removed: no trial fails for it
        return UNREADABLE


def _flushes_denormals() -> bool:
    return bool((torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1 == 0).item())


def _start_method() -> str:
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def _cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _gpu() -> int:
    return torch.cuda.current_device() if torch.cuda.is_initialized() else 0


_READERS: dict[str, Callable[[], Any]] = {
    "torch.get_default_dtype()": torch.get_default_dtype,
    "torch.get_default_device()": torch.get_default_device,
    "torch.get_num_threads()": torch.get_num_threads,
    "torch.get_num_interop_threads()": torch.get_num_interop_threads,
    "torch.get_deterministic_debug_mode()": torch.get_deterministic_debug_mode,
    "torch.is_grad_enabled()": torch.is_grad_enabled,
    "torch.is_inference_mode_enabled()": torch.is_inference_mode_enabled,
    "torch.is_anomaly_enabled()": torch.is_anomaly_enabled,
    "torch.is_autocast_enabled('cpu')": lambda: torch.is_autocast_enabled("cpu"),
    "torch.is_autocast_enabled('cuda')": lambda: torch.is_autocast_enabled("cuda"),
    "torch.get_autocast_dtype('cpu')": lambda: torch.get_autocast_dtype("cpu"),
    "torch.get_autocast_dtype('cuda')": lambda: torch.get_autocast_dtype("cuda"),
    "torch.is_autocast_cache_enabled()": torch.is_autocast_cache_enabled,
    "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision,
    "torch's flushing of denormal numbers to 0": _flushes_denormals,
    "torch's modes for functions": torch._C._len_torch_function_stack,
    "torch's modes for operators": torch._C._len_torch_dispatch_stack,
    "torch's default GPU": _gpu,
    "torch.multiprocessing.get_sharing_strategy()": torch.multiprocessing.get_sharing_strategy,
    "torch.backends.cuda.flash_sdp_enabled()": torch.backends.cuda.flash_sdp_enabled,
    "torch.backends.cuda.mem_efficient_sdp_enabled()": torch.backends.cuda.mem_efficient_sdp_enabled,
    "torch.backends.cuda.math_sdp_enabled()": torch.backends.cuda.math_sdp_enabled,
    "torch.backends.mha.get_fastpath_enabled()": torch.backends.mha.get_fastpath_enabled,
    "numpy.geterr()": np.geterr,
    "numpy.get_printoptions()": np.get_printoptions,
    "the working directory": os.getcwd,
    "the locale": lambda: locale.setlocale(locale.LC_ALL),
    "the CPUs that the process may use": _cpus,
    "how processes are started": _start_method,
    "garbage collection": gc.isenabled,
}


def _backend_flags() -> dict[str, Any]:
    """Every flag in torch.backends, whichever this version of torch has."""
    flags = {}
    for name in sorted(name for name in sys.modules if f"{name}.".startswith("torch.backends.")):
        module = sys.modules[name]
        for attribute in {
            *dir(module),
            *dir(type(module)),
            *dir(getattr(module, "m", None)),
        }:  # flags are properties of the module's own type
            if attribute.startswith("_") or attribute.isupper():
                continue
            value = _value(partial(getattr, module, attribute, None))
            if isinstance(value, bool | int | float | str):
                flags[f"{name}.{attribute}"] = value
            elif attribute in OPERATIONS and hasattr(value, "fp32_precision"):
                flags[f"{name}.{attribute}.fp32_precision"] = value.fp32_precision
    for flag in MATMUL_FLAGS:
        flags[f"torch.backends.cuda.matmul.{flag}"] = _value(partial(getattr, torch.backends.cuda.matmul, flag, None))
    return flags
