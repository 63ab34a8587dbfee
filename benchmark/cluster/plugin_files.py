"""Plug-ins on their way to another process or machine: their text, and that of the local modules that they import."""

import sys
import tempfile
from pathlib import Path

from benchmark.records import source_code

_UNPACKED: dict[str, Path] = {}  # a plug-in's path on the machine of the run: where its text lies on this one
_FOLDERS: dict[Path, Path] = {}  # the same of their folders

Texts = dict[str, dict[str, str]]  # by plug-in: the text of each file, by its path relative to the plug-in's folder


def read(plugins: list[str]) -> Texts:
    """The text of every plug-in and of the local modules that it imports."""
    return {
        path: {name: file.read_text(encoding="utf-8") for name, file in source_code.plugin_files(Path(path)).items()}
        for path in plugins
    }


def unpack(plugins: Texts, place: str | None = None) -> None:
    """Write plug-ins into a folder of this machine: all trials of a run use this text, even if the files change.

    Plug-ins of one folder get one folder, for they may share helper modules.

    Args:
        plugins: their text, from `read`.
        place: where new folders are made; None is the machine's folder for temporary files.
    """
    for path, texts in plugins.items():
        if path not in _UNPACKED:
            origin = Path(path).parent
            if origin not in _FOLDERS:
                _FOLDERS[origin] = Path(tempfile.mkdtemp(prefix="semiseg-plugin-", dir=place)).resolve()
                # Last, as where plug-ins are loaded: no plug-in hides a module of Python or of a library. But before
                # the plug-in's own folder, which PYTHONPATH may name: that may have changed since.
                places = [number for number, entry in enumerate(sys.path) if Path(entry).resolve() == origin]
                sys.path.insert(places[0] if places else len(sys.path), str(_FOLDERS[origin]))
            for name, text in texts.items():
                (_FOLDERS[origin] / name).parent.mkdir(parents=True, exist_ok=True)
                (_FOLDERS[origin] / name).write_text(text, encoding="utf-8")
            _UNPACKED[path] = _FOLDERS[origin] / Path(path).name


def location(path: str) -> Path:
    """Where a plug-in lies on this machine."""
    return _UNPACKED.get(path, Path(path))
