"""What goes with trials to another machine beside the packages that Ray ships: the text of plug-ins, from anywhere."""

import tempfile
from pathlib import Path

_HERE: dict[str, Path] = {}  # a plug-in's path on the machine of the run: where its text lies on this one


def texts(plugins: list[str]) -> dict[str, str]:
    """The plug-ins' text, by path."""
    return {path: Path(path).read_text(encoding="utf-8") for path in plugins}


def unpack(plugins: dict[str, str]) -> None:
    """Lay down plug-ins on this machine. A run's trials all use this text, whatever becomes of the file meanwhile."""
    for path, text in plugins.items():
        if path not in _HERE:
            _HERE[path] = Path(tempfile.mkdtemp(prefix="semiseg-plugin-")) / Path(path).name
            _HERE[path].write_text(text, encoding="utf-8")


def here(path: str) -> Path:
    """Where a plug-in lies on this machine."""
    return _HERE.get(path, Path(path))
