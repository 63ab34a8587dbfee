"""Ray's start on this machine, or the way into a cluster that runs."""

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.trial import allocator

# Ray reads these when it is imported, and workers need some of them, too. No result files of its own, no change of
# directory, no experiment snapshots.
ENVIRONMENT = allocator.SETTINGS | {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_AIR_NEW_OUTPUT": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it `deterministic: true` is not, in cuBLAS
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asks for no GPU sees none
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

from benchmark.cluster import shipped_code  # noqa: E402
from benchmark.planning.experiment import ExperimentError  # noqa: E402

LOCAL = "local"
_NO_CLUSTER = (
    "no Ray cluster answers there; start one with `ray start --head`, or leave --address out to use this machine alone"
)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Ray, on this machine alone or on a cluster that runs; it ends with the block.

    Args:
        address: LOCAL, auto or HOST:PORT.

    Raises:
        ExperimentError: there is no cluster at the address.
        CodeError: the packages come from several places.
    """
    with tempfile.TemporaryDirectory(prefix="semiseg-code-") as scratch:
        shipped = _shipped(Path(scratch))
        _start(shipped) if address == LOCAL else _join(address, shipped)
    try:
        yield
    finally:
        ray.shutdown()


def _shipped(scratch: Path) -> dict:
    """What workers get instead of the driver's paths: the packages, and a working directory without any code.

    Without a working directory of its own, Ray would put that of the run first on the path of its workers.
    """
    packages, nothing = scratch / "code", scratch / "nothing"
    nothing.mkdir()
    passed_on = {name: os.environ[name] for name in ("SEMISEG_CACHE",) if name in os.environ}
    return {
        "py_modules": [str(package) for package in shipped_code.read().write(packages)],
        "working_dir": str(nothing),
        "env_vars": ENVIRONMENT | passed_on,
    }


def _start(shipped: dict) -> None:
    ray.init(
        address=LOCAL, runtime_env=shipped, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )


def _join(address: str, shipped: dict) -> None:
    _check_reachable(address)
    try:
        ray.init(address=address, runtime_env=shipped, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ExperimentError(f"--address {address}: {_NO_CLUSTER} ({reason})") from error


def _check_reachable(address: str) -> None:
    """Raises ExperimentError where nothing answers at HOST:PORT: Ray itself would try for many minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ExperimentError(f"--address {address}: write auto, or HOST:PORT of a Ray cluster's head")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ExperimentError(f"--address {address}: {_NO_CLUSTER} ({error})") from error
