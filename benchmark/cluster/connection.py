"""Ray's start on this machine, or the way into a cluster that runs."""

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

from benchmark.cluster import shipped_code, stop_signals, token_file  # noqa: E402
from benchmark.cluster.cpus import usable_cpus  # noqa: E402
from benchmark.cluster.quiet import Terminal, stderr_to  # noqa: E402
from benchmark.cluster.scratch import scratch_folder  # noqa: E402
from benchmark.planning.experiment import ExperimentError  # noqa: E402
from data.errors import one_line  # noqa: E402

LOCAL = "local"
_print_logs = ray._private.worker.print_worker_logs
# What Ray has to say of its processes and nodes would come to the standard output, in the midst of a table.
ray._private.worker.print_worker_logs = lambda data, file, *more, **options: _print_logs(
    data, sys.stderr, *more, **options
)
_NO_CLUSTER = (
    "no Ray cluster answers there; start one with `ray start --head`, or leave --address out to use this machine alone"
)


@contextmanager
def connected(address: str, log: Path) -> Iterator[Path]:
    """Ray, on this machine alone or on a cluster that runs; it ends with the block.

    Args:
        address: LOCAL, auto or HOST:PORT.
        log: gets what Ray prints.

    Yields:
        A folder for temporary files.

    Raises:
        ExperimentError: there is no cluster at the address, or Ray cannot start here.
        CodeError: the packages come from several places.
    """
    with scratch_folder() as scratch, stderr_to(log) as terminal:
        shipped, stopped = _shipped(scratch), threading.Event()
        try:
            try:
                _start(shipped, scratch / "ray", log) if address == LOCAL else _join(address, shipped)
            except SystemExit:  # Ray takes SIGTERM for itself as it starts, and this is what it does then
                stop_signals.has_come(signal.SIGTERM)
            stop_signals.install()
            if address == LOCAL:
                _watch(stopped, terminal, scratch, log)
            yield scratch
        finally:
            stopped.set()
            ray.shutdown()
            stop_signals.install()


def _shipped(scratch: Path) -> dict:
    """What workers get instead of the driver's paths: the packages, and a working directory without any code.

    Without a working directory of its own, Ray would put that of the run first on the path of its workers.
    """
    nothing = scratch / "nothing"
    nothing.mkdir()
    passed_on = {name: os.environ[name] for name in ("SEMISEG_CACHE",) if name in os.environ}
    return {
        "py_modules": [str(package) for package in shipped_code.read().write(scratch / "code")],
        "working_dir": str(nothing),
        "env_vars": ENVIRONMENT | passed_on,
    }


def _start(shipped: dict, folder: Path, log: Path) -> None:
    """Ray on this machine: for this user, its ports on the loopback interface, with the CPUs that may be used."""
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # In memory rather than in ~/.ray, which there need not be.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    constants = ray._private.ray_constants
    clusters, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False  # as on systems without clusters
    try:
        ray.init(
            address=LOCAL, runtime_env=shipped, num_cpus=usable_cpus(), _temp_dir=str(folder), include_dashboard=False,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    except Exception as error:  # of nearly any kind, and mostly with a text of many lines
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        _keep_logs(folder)
        reason = one_line(error)[:200]
        raise ExperimentError(
            f"Ray cannot start ({type(error).__name__}: {reason}); its messages are in {log}: free memory, room in "
            f"{folder.parent.parent} or processors, then run the same command again"
        ) from error
    finally:
        constants.ENABLE_RAY_CLUSTER = clusters


def _keep_logs(folder: Path) -> None:
    """Add the last words of Ray's processes to its log, before their folder is removed."""
    for path in sorted(folder.glob("session_2*/logs/*")):
        with suppress(OSError):
            if path.is_file() and (text := path.read_text(errors="replace").strip()):
                print(f"--- {path.name}\n" + "\n".join(text.splitlines()[-20:]), file=sys.stderr)


def _watch(stopped: threading.Event, terminal: Terminal, scratch: Path, log: Path) -> None:
    """End this process as soon as a process of Ray has died: Ray itself would take a while and print pages."""
    node = ray._private.worker._global_node

    def watch() -> None:
        while not stopped.wait(0.5):
            dead = [name for name, _ in node.dead_processes() if name in ("raylet", "gcs_server")]
            if dead and not stopped.is_set():
                _keep_logs(scratch / "ray")
                shutil.rmtree(scratch, ignore_errors=True)
                if (number := stop_signals.received()) is not None:  # it came to all processes, Ray's too
                    terminal.print(f"error: {stop_signals.message(number)}")
                    os._exit(128 + number)
                terminal.print(
                    f"error: Ray has died (its {dead[0]} has ended); its messages are in {log}: run the same command "
                    "again, which goes on from the checkpoints"
                )
                os._exit(2)

    threading.Thread(target=watch, daemon=True).start()


def _join(address: str, shipped: dict) -> None:
    token_file.make_private()
    _check_reachable(address)
    try:
        ray.init(address=address, runtime_env=shipped, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise ExperimentError(f"--address {address}: {_NO_CLUSTER} ({one_line(error)[:200]})") from error


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
