"""Where, when and with what a trial ran."""

import hashlib
import json
import os
import platform
import socket
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmark.cluster import plugin_files
from benchmark.records.source_code import CHECKOUT, source_hash
from benchmark.trial import allocator
from methods.shared.networks.autocast import CPU_HAS_BF16

LIBRARIES = ("torch", "ray", "numpy", "scipy", "h5py")
PACKAGES = ("methods", "data", "benchmark")  # whose code decides numbers


@cache
def revision() -> dict:
    """The checkout's git revision and whether its code differs from it; None where there is no git or no checkout."""
    if _git("ls-files", "--error-unmatch", "benchmark/trial/provenance.py") is None:
        return {"git_revision": None, "git_dirty": None}  # a copy of the code within somebody's repository
    changes = _git("status", "--porcelain", "--untracked-files=no")  # a user's own files beside it change no code
    unknown = _git("ls-files", "--others", *(f"{package}/*.py" for package in PACKAGES))  # also in subfolders
    return {
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None or unknown is None else bool(changes or unknown),
    }


@cache
def environment() -> dict:
    """Versions, host and processor of this machine."""
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in LIBRARIES},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
    }


@cache
def source_hashes(method_file: str) -> dict[str, str]:
    """Hashes of the source that ran, for information: of each package, and of the method's own file.

    Comments and formatting do not count. Whether a record is stale is decided by numerics versions, not by these.
    """
    plugin = plugin_files.location(method_file)  # a built-in method's file is part of a package
    hashes = {method_file: source_hash(plugin)} if plugin.is_absolute() else {}
    for package in PACKAGES:
        folder = Path(find_spec(package).submodule_search_locations[0])
        files = sorted(folder.rglob("*.py"))
        text = json.dumps([[file.relative_to(folder).as_posix(), source_hash(file)] for file in files])
        hashes[package] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return hashes


def describe_device(device: torch.device) -> str:
    """The GPU's name, or the processor's and what torch uses of it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew: an actor's process may have run other trials."""
    allocator.release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # where there is no such file, or no right to it, the peak is the process's
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes: the allocator's peak on a GPU, the process's peak resident set on the CPU (None where unknown)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _git(*arguments: str) -> str | None:
    """What git says in the checkout, even where a hook has named another repository."""
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True, env=environment
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """Its name and what torch uses of it, which can differ by a factor of four under one name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} ({torch.backends.cpu.get_cpu_capability()}{', bf16' * CPU_HAS_BF16})"
