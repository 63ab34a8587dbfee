"""What a process needs of its machine before it takes trials: the run's code, versions, results folder and data."""

import platform
import shutil
import socket
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from pydantic import BaseModel, TypeAdapter

from benchmark.cluster import shipped_code
from benchmark.records.results_folder import ResultsFolder
from data.errors import UserError, one_line
from data.sources import DataSettings, open_source

ROOM = 2**28  # bytes that must be free where records and scratch files go: a checkpoint or two


class UnfitNodeError(Exception):
    """A trial was started on a machine that cannot run it. Says nothing about the trial.

    Args:
        node: id of the machine.
        problem: what is wrong there.
    """

    def __init__(self, node: str, problem: str):
        super().__init__(node, problem)
        self.node, self.problem = node, problem


class Demands(BaseModel):
    """What every machine of a run must have, as it is on the machine of the command."""

    code: str  # digest of the shipped code
    python: str
    torch: str
    results: str  # the results folder
    data: dict | None = None  # the data block; None where the machine is that of the command

    @classmethod
    def of_this_machine(cls, results: ResultsFolder, data: dict | None) -> "Demands":
        return cls(
            code=shipped_code.read().digest, python=_python(), torch=_torch(), results=str(results.folder), data=data
        )


@cache
def find_problem(demands: str) -> str | None:
    """What this machine lacks, in one line that names it; None if nothing. Looked at once a process.

    Args:
        demands: `Demands` as JSON.
    """
    wanted = Demands.model_validate_json(demands)
    try:
        shipped_code.check(wanted.code)
        if wanted.data is None:
            return None
        problem = _other_versions(wanted) or _folder_problem(Path(wanted.results))
        if problem is None:
            open_source(TypeAdapter(DataSettings).validate_python(wanted.data))
    except UserError as error:
        problem = str(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {one_line(error)}"
    if problem is None or socket.gethostname() in problem:
        return problem
    return f"{problem} (on {socket.gethostname()})"


def _other_versions(wanted: Demands) -> str | None:
    for name, here, there in (("Python", _python(), wanted.python), ("torch", _torch(), wanted.torch)):
        if here != there:
            return f"it has {name} {here}, the run {there}: install the same version"
    return None


def _folder_problem(results: Path) -> str | None:
    host = socket.gethostname()
    if not ResultsFolder(results).plan_file.exists():
        return f"{host} does not see {results}: use a results folder that all nodes share (--results)"
    for folder, advice in ((results / "running", "--results"), (Path(tempfile.gettempdir()), "TMPDIR")):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            return f"{host} cannot write to {folder} ({error.strerror}): mend its rights, or choose another ({advice})"
        with suppress(OSError):
            if (free := shutil.disk_usage(folder).free) < ROOM:
                return f"{host} has only {free / 2**20:.0f} MiB free in {folder}: make room, or set {advice}"
    return None


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _torch() -> str:
    return torch.__version__.split("+")[0]  # the same version for CPUs and for a CUDA makes one cluster
