"""The code that workers run: this checkout's packages, as they were when the command began.

Workers import it from a copy. So neither the working directory, PYTHONPATH, another checkout nor an edit during the run
changes what they compute, on this machine as on a cluster.
"""

import hashlib
import socket
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from benchmark.records.source_code import CHECKOUT
from data.errors import UserError

PACKAGES = ("methods", "data", "benchmark", "reports")
SUFFIXES = {".py", ".list", ".txt", ".yaml", ".html", ".css", ".js"}  # not scans that somebody keeps in `data`


class CodeError(UserError):
    """A process has imported other code than the command that it works for."""


@dataclass(frozen=True)
class ShippedCode:
    """The content of every file of the packages, by its path relative to the checkout, and a hash of all of them."""

    files: dict[str, bytes]
    digest: str

    def write(self, folder: Path) -> list[Path]:
        """Write the packages into a folder; returns where each of them lies."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return [folder / package for package in PACKAGES]


@cache
def read() -> ShippedCode:
    """The code of this moment. Later calls in this process give the same.

    Raises:
        CodeError: this process imports one of the packages from elsewhere than the others.
    """
    for package, folder in _locations().items():
        if folder != CHECKOUT / package:
            raise CodeError(
                f"package {package!r} comes from {folder or 'nowhere'}, but the benchmark runs in {CHECKOUT}: start "
                f"{CHECKOUT / 'run_benchmark.py'}, or take the other one off PYTHONPATH"
            )
    files = {
        path.relative_to(CHECKOUT).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in _files(CHECKOUT / package)
    }
    return ShippedCode(files, _digest(files))


def check(digest: str) -> None:
    """Whether this process, a worker, has the code of the run.

    Args:
        digest: of the code that the run has shipped.

    Raises:
        CodeError: it has not. The message names the machine and where its code comes from.
    """
    files, places = {}, {}
    for package, folder in _locations().items():
        places[package] = folder
        for path in _files(folder) if folder else ():
            files[f"{package}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    if _digest(files) != digest:
        found = ", ".join(sorted({str(folder.parent) if folder else "nowhere" for folder in places.values()}))
        raise CodeError(
            f"a worker on {socket.gethostname()} imports other code than the run's own (from {found}): look for "
            "packages named data, methods, benchmark or reports there"
        )


def _locations() -> dict[str, Path | None]:
    """The folder from which this process imports each package."""
    found = {}
    for package in PACKAGES:
        spec = sys.modules[package].__spec__ if package in sys.modules else find_spec(package)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        found[package] = Path(folders[0]).resolve() if folders else None
    return found


def _files(folder: Path) -> list[Path]:
    """Without dangling links, as some editors put them beside a file that is open."""
    return [path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES and path.is_file()]


def _digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name} {len(files[name])} ".encode() + files[name])
    return total.hexdigest()[:16]
