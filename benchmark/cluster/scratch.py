"""A folder for what a run needs while it lasts: Ray's sockets, the code for workers, Tune's own files."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.planning.experiment import ExperimentError

LONGEST = 18  # characters of the folder that ours is made in: the paths of Ray's sockets have 103 to 107 at most
ROOM = 2**26  # bytes that must be free there
PLACES = ("/tmp", "/dev/shm", "/var/tmp")  # where the user's own folder for temporary files does not do


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder that nobody else may read, short enough for Ray's sockets. It is removed in the end.

    A job's own TMPDIR may be too long for a socket, absent, full or somebody else's: another place will do.

    Raises:
        ExperimentError: no place will do.
    """
    folder = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make() -> Path:
    why = {}
    for place in dict.fromkeys(filter(None, [os.environ.get("RAY_TMPDIR"), *_usual(), *PLACES])):
        try:
            return _folder_in(place)
        except OSError as error:
            why[place] = error.strerror or str(error)
    reasons = "; ".join(f"{place}: {reason}" for place, reason in why.items())
    raise ExperimentError(
        f"no folder will do for Ray's sockets and temporary files ({reasons}): set TMPDIR to one of at most {LONGEST} "
        f"characters, with {ROOM >> 20} MiB free"
    )


def _usual() -> list[str]:
    with suppress(OSError):
        return [tempfile.gettempdir()]
    return []


def _folder_in(place: str) -> Path:
    """Raises OSError where the place will not do."""
    place = os.path.realpath(place)
    if len(os.fsencode(place)) > LONGEST:
        raise OSError(f"longer than {LONGEST} characters")
    if (free := shutil.disk_usage(place).free) < ROOM:
        raise OSError(f"only {free >> 20} MiB free")
    folder = Path(tempfile.mkdtemp(prefix="semiseg-", dir=place))  # for this user alone
    try:
        (folder / "room").write_bytes(bytes(2**16))  # a quota shows only here
        (folder / "room").unlink()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
