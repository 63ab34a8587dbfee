"""Which files of a folder are scans, and why others are not. Every file is accounted for."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from data.case import DataError, shorten_list
from data.formats.dispatch import MAY_BE_DETACHED, read_header, suffix_of
from data.formats.header import resolved

# Files that nobody takes for a scan. Any other that is not taken is a problem, because it may be a case's only label.
BESIDE = re.compile(
    r"(?i).*\.(json|txt|md|rst|csv|tsv|ya?ml|xml|html?|pdf|docx?|xlsx?|log|py|sh|m|ipynb|ini|cfg|toml|bvals?|bvecs?|"
    r"list|lst|sha256|md5|db|ds_store)|readme|license|desktop\.ini"
)
UNFINISHED = re.compile(r"(?i).*\.(part|partial|crdownload|download|filepart|tmp|temp|aria2|!ut)(\.\d+)?")
RENAMED = re.compile(r"(?i).*\.(nii|nrrd|nhdr|mha|mhd|mgz|mgh|h5|hdf5|hdr|img)\b.*")
HIDDEN = re.compile(r"(?i).*\.(nii|gz|nrrd|nhdr|mha|mhd|mgz|mgh|h5|hdf5)\.(txt|log)")  # an editor's or a browser's
PACKED = re.compile(r"(?i).*\.(zip|tar|tgz|rar|7z|tar\.gz|tar\.bz2|tar\.xz)")


@dataclass
class ScanFiles:
    """The files of a folder.

    Args:
        scans: those that are scans, by name without ending.
        problems: what has to be mended before the folder can be used, one line each.
        notes: files that are not taken and are surely no scans, one line each.
    """

    scans: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def stem_of(path: Path) -> str:
    """The name of a scan's file without its ending.

    Example:
        >>> stem_of(Path("scans/p12.nii.gz"))
        'p12'
    """
    return path.name[: len(path.name) - len(suffix_of(path))]


def scan_files(folder: Path, ignore: Path | None = None) -> ScanFiles:
    """Find the scans of a folder. Voxels are not read.

    Args:
        folder: may be missing; then it holds nothing.
        ignore: a folder below it that is of no interest.

    Raises:
        DataError: the folder is a dangling link, or cannot be listed.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> for name in ("a.nii.gz", "b.nii.gz.part"):
        ...     _ = Path(folder.name, name).write_bytes(b"")
        >>> found = scan_files(Path(folder.name))
        >>> list(found.scans), [problem.split(": ", 1)[1] for problem in found.problems]
        (['a'], ['b.nii.gz.part is not taken, a download that did not finish: finish it, or remove the file'])
        >>> folder.cleanup()
    """
    found = ScanFiles()
    entries = _entries(folder)
    left: dict[str, list[str]] = {}
    notes: dict[str, list[str]] = {}
    for path in entries:
        if not suffix_of(path) or path.name.startswith("."):
            continue
        reason = _no_file(path) if shown(path.name) == path.name else "its name is not in UTF-8: rename it"
        if reason:
            left.setdefault(reason, []).append(shown(path.name))
        elif (other := found.scans.setdefault(stem_of(path), path)) != path:
            found.problems.append(f"{other} and {path.name} are both called {stem_of(path)}: remove one of them")
    parts = _parts(entries)
    ignored = ignore and resolved(ignore)
    for path in entries:
        if (suffix_of(path) and not path.name.startswith(".")) or path in parts or resolved(path) == ignored:
            continue
        serious, reason = _reason(path)
        (left if serious else notes).setdefault(reason, []).append(shown(path.name))
    found.problems += [f"{folder}: {_are(names)} not taken, {reason}" for reason, names in left.items()]
    found.notes += [f"{folder}: {_are(names)} not taken, {reason}" for reason, names in notes.items()]
    return found


def _entries(folder: Path) -> list[Path]:
    if folder.is_symlink() and not folder.exists():
        raise DataError(f"{folder} is a link to {folder.readlink()}, which does not exist: correct the link")
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}): make it readable") from error


def _no_file(path: Path) -> str:
    """Why a path named like a scan is no file; "" if it is one."""
    try:
        if path.is_file():
            return ""
        if path.is_symlink() and not path.exists():
            return "a link to a file that does not exist: bring the file, or remove the link"
        kind = "a folder with the name of a scan" if path.is_dir() else "no regular file"
    except OSError as error:
        return f"unreadable ({error.strerror}): correct or remove it"
    return f"{kind}: put the scan itself there"


def _parts(entries: list[Path]) -> set[Path]:
    """The files with the voxels of other files' headers."""
    parts = set()
    for path in entries:
        if suffix_of(path) in MAY_BE_DETACHED and path.is_file():
            try:
                parts.update(read_header(path).data_files)
            except (DataError, OSError, EOFError, ValueError):  # is named when it is read
                parts.update(other for other in entries if other.stem == path.stem)
    return parts


def _reason(path: Path) -> tuple[bool, str]:
    """Whether a file that is not taken may be a scan, and why it is not taken."""
    name = path.name
    if path.is_symlink() and not path.exists():
        return True, "a link to a file that does not exist: bring the file, or remove the link"
    if path.is_dir():
        if any(not inside.name.startswith(".") for inside in path.rglob("*")):
            return True, "a folder inside: move its scans up, or move it away"
        return False, "an empty folder"
    if UNFINISHED.fullmatch(name) or (name.startswith(".") and not name.startswith("._") and RENAMED.fullmatch(name)):
        return True, "a download that did not finish: finish it, or remove the file"
    if name.startswith("."):
        return False, "hidden"
    if BESIDE.fullmatch(name) and not HIDDEN.fullmatch(name):
        return False, "no scan"
    if name.lower().endswith(".img"):
        return True, "without a header .hdr beside it: add the header, or convert the scan to .nii.gz"
    if PACKED.fullmatch(name):
        return True, "an archive: unpack it, or move it away"
    if RENAMED.fullmatch(name):
        return True, "its ending is not that of a scan: rename it, for instance to end in .nii.gz, or remove it"
    return True, "a format that is not read: convert it, for instance to .nii.gz, or move it away"


def shown(name: str) -> str:
    """A file's name for a message, with bytes spelled out that are no UTF-8."""
    return ascii(name) if any(0xD800 <= ord(letter) < 0xE000 for letter in name) else name


def _are(names: list[str]) -> str:
    return f"{shorten_list(names)} {'is' if len(names) == 1 else f'({len(names)} files) are'}"
