"""Records every opening of a label that a trial may not use, until its predictions are final.

Python tells an audit hook of each file that it opens. Such a hook cannot be removed, so a process has one, which asks
the watches of the trials that run. It sees data workers, too: forked ones have the hook of their parent, others start
it themselves. docs/guides/labels.md says what it does not see.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial, wraps
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import SimpleITK as sitk

from benchmark.records.files import write_text
from data.cache import Dataset
from data.case import READ_CASE, shorten_list

CACHED = "label.npy"  # a label in any cache
DESCRIBED = "entry.json"  # lies beside it
PICTURES = "cases"  # folder of any results folder that holds test images with their truth
PICTURE = ".npz"
UNKNOWN = "an unknown case"
COMPUTED = "computed, not read"


class LabelWatch:
    """Watches one trial. It can be sent to data workers.

    Args:
        log: a file that several processes and sessions of the trial write to; None keeps openings in memory alone.
        place: says where in the code a frame stands.

    Attributes:
        openings: once the watch has ended, {"case", "file", "at"} of each label file that was opened, without repeats.
    """

    def __init__(self, log: Path | None, place: Callable[[FrameType], str]):
        self.openings: list[dict[str, str]] = []
        self._log, self._place = log, place
        self._found: dict[str, dict[str, str]] = {}  # by file, in this process
        self._free: int | None = None  # a thread that may open every label

    @contextmanager
    def watching(self, dataset: Dataset, labelled: Collection[str]) -> Iterator[None]:
        """Watch the whole process meanwhile.

        Args:
            dataset: of the trial.
            labelled: the cases whose labels it may open.
        """
        source = dataset.source
        self._others = {*source.train_ids, *source.test_ids}.difference(labelled)
        own = [str(path) for case_id in labelled for path in dataset.label_files(case_id)]
        self._own = {*own, *map(os.path.realpath, own)}
        self._files: dict[tuple[int, int], str] = {}  # device and inode: links have other names
        self._names = {CACHED}
        for case_id in sorted(self._others):
            for path in dataset.label_files(case_id):
                self._names.add(path.name)
                with suppress(OSError):
                    self._files[_identity(os.stat(path))] = case_id
        install()
        _watches.append(self)
        try:
            yield
        finally:
            _watches.remove(self)
            self.openings = list((self._logged() | self._found).values())

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """This thread may open every label meanwhile."""
        self._free = threading.get_ident()
        try:
            yield
        finally:
            self._free = None

    def forget_earlier_sessions(self) -> None:
        """What they opened says nothing of a training that begins anew."""
        if self._log is not None and self._log.exists():
            write_text(self._log, "".join(map(_line, self._found.values())))

    def see(self, event: str, subject: Any) -> None:
        """Called for each event that may open a label. Raises OSError, ValueError or TypeError for unusual paths."""
        if event == READ_CASE:
            case_id, file = subject if subject in self._others else None, f"{subject} ({COMPUTED})"
        else:
            file = os.fsdecode(subject)
            case_id = self._case_of(file)
        if case_id is None or file in self._found or self._free == threading.get_ident():
            return
        at = self._place(sys._getframe(2))  # behind this method and the hook
        self._found[file] = opening = {"case": case_id, "file": file, "at": at}
        if self._log is not None:
            with suppress(OSError), self._log.open("a", encoding="utf-8") as log:
                log.write(_line(opening))

    def _case_of(self, path: str) -> str | None:
        """Whose label a file holds, if the trial may not open it."""
        if path in self._own:
            return None
        name = os.path.basename(path)
        try:
            found = os.stat(path)
        except OSError:  # perhaps relative to the descriptor of a folder, which the event does not tell
            return UNKNOWN if name in self._names and not os.path.isabs(path) else None
        if (case_id := self._files.get(_identity(found))) is not None:
            return case_id
        if name != CACHED and not name.endswith(PICTURE):
            return None
        real = Path(os.path.realpath(path))
        if str(real) in self._own:
            return None
        if real.name == CACHED and (real.parent / DESCRIBED).exists():  # of another grid, or another data set
            return _described(real.parent)
        return real.stem if real.parent.name == PICTURES and real.stem in self._others else None

    def _logged(self) -> dict[str, dict[str, str]]:
        """What all processes and sessions found, by file. A line that a full disk cut off is left out."""
        found = {}
        with suppress(OSError, TypeError):
            for line in self._log.read_text(encoding="utf-8").splitlines() if self._log else ():
                with suppress(ValueError, KeyError):
                    opening = json.loads(line)
                    found[opening["file"]] = opening
        return found


def peeked(openings: list[dict[str, str]]) -> str:
    """What is said of a trial with such openings; "" if there are none.

    Example:
        >>> peeked([{"case": "p12", "file": "labelsTr/p12.nii.gz", "at": "mine.py:12 (predict)"}])
        'it opened labels that are not its own before its predictions were final (p12; mine.py:12 (predict))'
    """
    if not openings:
        return ""
    cases = shorten_list(sorted({opening["case"] for opening in openings}))
    return f"it opened labels that are not its own before its predictions were final ({cases}; {openings[0]['at']})"


_watches: list[LabelWatch] = []


@cache
def install() -> None:
    """Start the hook of this process. Libraries in C open files by themselves: two of them are made to tell."""
    sys.addaudithook(_hook)
    _announce(h5py.h5f, "open", 0)
    _announce(sitk.ImageFileReader, "SetFileName", 1)
    _announce(sitk.ImageSeriesReader, "SetFileNames", 1)


def for_data_workers() -> Callable[[int], None]:
    """What a new data worker has to call first, so that it is watched as this process is."""
    return partial(_go_on, list(_watches))


def _go_on(watches: list[LabelWatch], worker: int) -> None:
    if watches and not _watches:  # it was not forked
        install()
        _watches.extend(watches)


def _hook(event: str, arguments: tuple) -> None:
    if _watches and (event == "open" or event == READ_CASE):
        for watch in _watches:
            # A file that Python is about to refuse, or that is open already and has a number for a name.
            with suppress(OSError, ValueError, TypeError):
                watch.see(event, arguments[0])


def _announce(owner: Any, name: str, position: int) -> None:
    """Make a function raise the event that Python raises before it opens a file.

    Args:
        owner: has the function as an attribute.
        name: of the function.
        position: of the argument that is a path, or a list of paths.
    """
    function = getattr(owner, name)

    @wraps(function)
    def announced(*arguments, **named):
        for given in [*arguments, *named.values()][position : position + 1]:
            for path in given if isinstance(given, list | tuple) else [given]:
                sys.audit("open", path, "rb", os.O_RDONLY)
        return function(*arguments, **named)

    setattr(owner, name, announced)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _described(entry: Path) -> str:
    """The case of an entry in a cache."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((entry / DESCRIBED).read_text(encoding="utf-8"))["case"])
    return UNKNOWN


def _line(opening: dict[str, str]) -> str:
    return json.dumps(opening) + "\n"
