"""The other side of `data/reader.py`: answers one request after another until its input ends."""

import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

os.environ["ITK_NIFTI_SFORM_PERMISSIVE"] = "1"  # axes half a degree off right angles are made orthonormal

from data import decoding  # noqa: E402
from data.case import DataError  # noqa: E402
from data.reader import receive, send  # noqa: E402
from data.reading import Reading  # noqa: E402

KEPT_FREE = 0.1  # of the memory that is free
LEAST = 2**30  # bytes that a reader may use at least
GROUPS = Path("/sys/fs/cgroup")
HELD = ("anon", "rss", "shmem", "kernel")  # counts of memory that is not free, of both versions


def serve() -> None:
    """Answer requests on the standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides what Ctrl-C does
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, even inside of a library
    while True:
        try:
            request, _ = receive(sys.stdin.buffer)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        answer, array = _answer(request)
        with suppress(BrokenPipeError):
            send(answers, answer, array)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(request: dict):
    if not request["task"]:
        return {"value": None}, None
    path, array = Path(request["path"]), None
    arguments = [Reading(**request["reading"])] if request["reading"] else []
    try:
        if request["folder"]:
            os.chdir(request["folder"])
        value = getattr(decoding, request["task"])(path, *arguments, **request["more"])
    except DataError as error:
        return {"error": str(error)}, None
    except Exception as error:
        reason = "it needs more memory than is free" if isinstance(error, MemoryError) else repr(error)
        return {"error": f"{path} cannot be read: {reason}"}, None
    if isinstance(value, tuple):
        array, value = value
    if isinstance(value, decoding.Geometry):
        return {"value": None, "geometry": asdict(value)}, array
    return {"value": value}, array


def limit_memory() -> None:
    """Let this process have most of the memory that is free, beyond what it has now."""
    free = max((1 - KEPT_FREE) * min(_free_memory(), default=2**40), LEAST)
    with suppress(OSError, ValueError):  # systems without such a limit
        resource.setrlimit(resource.RLIMIT_AS, (int(_used() + free),) * 2)


def _free_memory() -> list[int]:
    """Bytes that the machine has free, and that the process's control group has left."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    for group, limit, prefix in _control_groups():
        with suppress(OSError, ValueError):  # without a limit there is the word max
            most = int((group / limit).read_text())
            lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Not what caches hold of files: the system frees that when asked for more.
            used = sum(int(number) for name, number in lines if name in {f"{prefix}{kind}" for kind in HELD})
            found.append(max(most - used, 0))
    return found


def _control_groups() -> list[tuple[Path, str, str]]:
    """The folders of this process's control groups, their limit files, and the prefix of their counter files."""
    found = [(GROUPS, "memory.max", ""), (GROUPS / "memory", "memory.limit_in_bytes", "total_")]
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            for folder in (Path(group), *Path(group).parents)[:-1]:
                below = folder.relative_to("/")
                if not controllers:
                    found.append((GROUPS / below, "memory.max", ""))
                elif "memory" in controllers.split(","):
                    found.append((GROUPS / "memory" / below, "memory.limit_in_bytes", "total_"))
    return found


def _used() -> int:
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0
