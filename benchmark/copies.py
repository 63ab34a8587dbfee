"""Copies of records on a second store, any that fsspec knows (s3://…, gs://…, sftp://…, a path).

A copy counts once its trial.yaml is there, which is written last, as in the results folder.
"""

from contextlib import suppress
from pathlib import Path

import fsspec

from benchmark.records import Results, ResultsError

LAST = "trial.yaml"


def send(results: Results, trial: str, uri: str) -> None:
    """Copy a trial's record to URI/records/TRIAL. Raises ResultsError where that fails; the record itself is safe."""
    store, root = _open(uri)
    with suppress(FileNotFoundError):  # what is replaced counts no more from here on
        store.rm_file(f"{root}/records/{trial}/{LAST}")
    record = results.record(trial)
    files = sorted((path for path in record.rglob("*") if path.is_file()), key=lambda path: path.name == LAST)
    _put(uri, {path: f"records/{trial}/{path.relative_to(record).as_posix()}" for path in files})


def send_missing(results: Results, trials: list[str], uri: str) -> None:
    """Copy the records of these trials that URI lacks, then the plan, the experiment and the cases: then URI is a whole
    results folder."""
    store, root = _open(uri)
    for trial in trials:
        if not store.exists(f"{root}/records/{trial}/{LAST}"):
            send(results, trial, uri)
    files = [*sorted((results.folder / "cases").glob("*.npz")), results.experiment_file, results.plan_file]
    _put(uri, {path: path.relative_to(results.folder).as_posix() for path in files})


def named(prefix: str, uri: str) -> list[str]:
    """The trials at URI whose names begin so, for which no plan asks."""
    store, root = _open(uri)
    try:
        found = store.glob(f"{root}/records/{prefix}*/{LAST}")
    except OSError as error:
        raise ResultsError(f"copies at {uri} cannot be read: {error}") from error
    return sorted(path.split("/")[-2] for path in found)


def fetch(results: Results, trials: list[str], uri: str) -> list[str]:
    """Bring the records of these trials that URI has and the folder lacks; returns which."""
    store, root = _open(uri)
    fetched = []
    try:
        for trial in trials:
            there = f"{root}/records/{trial}"
            if not store.exists(f"{there}/{LAST}"):
                continue
            folder = results.unpublished(trial)
            names = [path[len(there) :].lstrip("/") for path in store.find(there)]
            if odd := [name for name in names if ".." in name.split("/")]:  # an object's key is any text
                raise ResultsError(
                    f"{uri} has records/{trial}/{odd[0]}, which leads out of the record: remove it there"
                )
            for name in sorted(names, key=lambda name: name == LAST):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{there}/{name}", str(folder / name))
            results.publish(trial)
            fetched.append(trial)
    except OSError as error:
        raise ResultsError(f"copies at {uri} cannot be read: {error}") from error
    return fetched


def _put(uri: str, files: dict[Path, str]) -> None:
    """In this order, each file whole or not at all: stores rename, or show an object once it is complete."""
    store, root = _open(uri)
    try:
        for path, name in files.items():
            store.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            store.put_file(str(path), f"{root}/{name}")
    except OSError as error:
        raise ResultsError(
            f"records cannot be copied to {uri}: {error}; they are whole in the results folder"
        ) from error


def _open(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        store, root = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise ResultsError(f"execution.copy_to: {uri} cannot be used: {error}") from error
    return store, root.rstrip("/")
