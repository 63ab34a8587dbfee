"""Atomic writing of files, and the messages for a disk that refuses them."""

import csv
import errno
import io
import os
import shutil
from pathlib import Path

from benchmark.records.spreadsheets import neutral
from data.errors import UserError


class ResultsError(UserError):
    """A results folder cannot be used. The message is one line for the user."""


class StorageError(ResultsError):
    """The disk cannot be written to. No trial counts as failed for it."""


FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}  # of the disk
# Errors within a results folder that somebody moved, deleted, closed or damaged during a run.
MISPLACED = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTEMPTY,
}  # fmt: skip
NO_PARENT = "Parent directory "  # how torch.save says ENOENT


def storage_error(folder: Path, error: Exception) -> StorageError | None:
    """The message for an error of the disk or of a damaged results folder; None for any other error.

    torch.save reports such errors as RuntimeError, with its own text.

    Args:
        folder: the results folder.
        error: what was raised.
    """
    if _misplaced(folder, error):
        return StorageError(_what_is_misplaced(folder, error))
    if isinstance(error, OSError) and error.errno in FAULTS:
        what, why = error.filename or folder, error.strerror or str(error)
    elif isinstance(error, RuntimeError) and ("inline_container" in str(error) or "PytorchStream" in str(error)):
        what, why = folder, str(error).partition("strerror: ")[2].split("\n")[0] or os.strerror(errno.ENOSPC)
    else:
        return None
    return StorageError(
        f"{what} cannot be written ({why}): make room or make it writable, then run the same command again. It goes on "
        f"from the checkpoints and records in {folder}"
    )


def _misplaced(folder: Path, error: Exception) -> bool:
    if isinstance(error, RuntimeError):
        return NO_PARENT in str(error)
    within = isinstance(error, OSError) and isinstance(error.filename, str) and folder in Path(error.filename).parents
    return within and error.errno in MISPLACED


def _what_is_misplaced(folder: Path, error: Exception) -> str:
    if not os.path.isdir(folder):
        return (
            f"results folder {folder} was moved or deleted while a run worked on it: put it back and run the same "
            "command again, or give another folder with --results. Nothing was written elsewhere"
        )
    why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error).split("\n")[0]
    return (
        f"results folder {folder} is damaged ({why}): repair it, or remove what is in the way, then run the "
        "same command again. It goes on from the checkpoints and records that are left"
    )


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: it is complete or absent."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_atomically(path: Path, write) -> None:
    """Call `write(partial)` for a temporary path beside `path`, flush it to disk and rename it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)  # a write that fails does not say where
        raise
    finally:
        partial.unlink(missing_ok=True)


def csv_text(rows: list[dict]) -> str:
    """CSV with the columns of all rows in order of appearance; NaN, None and what a row lacks are empty fields.

    Texts are `neutral` to spreadsheets.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({key: neutral(key) for key in columns})
    for row in rows:
        writer.writerow({key: "" if value is None or value != value else neutral(value) for key, value in row.items()})
    return text.getvalue()


def remove(path: Path) -> None:
    """Remove a folder with its content, or a file in its place, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush_to_disk(folder: Path, recursive: bool = True) -> None:
    for path in [folder, *(folder.rglob("*") if recursive else ())]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
