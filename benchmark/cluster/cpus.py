"""How many CPUs this process may use: fewer than the machine has, in a container, a SLURM job or under taskset."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """The CPUs that this process may run on, and no more than its control groups let it have time for.

    A quota of 2.5 CPUs counts as 2, and a smaller one than 1 as 1.

    Example:
        >>> 1 <= usable_cpus() <= (os.cpu_count() or 1)
        True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.floor(quota) for quota in _quotas())]))


def _quotas() -> list[float]:
    """The CPU time that each control group of this process, and each group above it, grants: in CPUs."""
    quotas = []
    for folder in _groups():
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 2: "max 100000" or "250000 100000"
            limit, period = (folder / "cpu.max").read_text().split()
            if limit != "max":
                quotas.append(int(limit) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):  # version 1, where -1 is no limit
            limit, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
            if limit > 0:
                quotas.append(limit / period)
    return [quota for quota in quotas if quota > 0]


def _groups() -> list[Path]:
    """The folders of this process's control groups and of all that hold them, of both versions."""
    found = []
    try:
        lines = OWN.read_text().splitlines()
    except OSError:  # not Linux
        return []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            roots = [CGROUPS, CGROUPS / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [CGROUPS / controllers, CGROUPS / "cpu"]
        else:
            continue
        for root in roots:
            group = root / path.strip("/")
            inside = [group, *group.parents]
            # In a container the path may be that of the host: then the root itself holds the container's limits.
            found += [folder for folder in inside if folder == root or root in folder.parents]
    return list(dict.fromkeys(found))
