"""Copies of records on a second store that fsspec knows (s3://…, gs://…, sftp://…, a path).

A copy counts once its trial.yaml is there. As in the results folder, this file is written last.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec

from benchmark.records.files import ResultsError, write_atomically
from benchmark.records.results_folder import ResultsFolder
from data.progress import follow

LAST = "trial.yaml"
WHOLE = (LAST, "plan.json", "experiment.yaml")  # uploaded under another name, then renamed


def send(results: ResultsFolder, trial: str, uri: str) -> None:
    """Copy a trial's record to URI/records/TRIAL. Raises ResultsError if that fails. The record itself is safe."""
    store, root = _open(uri)
    with _store_errors(f"records cannot be copied to {uri}", "they are whole in the results folder"):
        with suppress(FileNotFoundError):  # the old copy no longer counts
            store.rm_file(f"{root}/records/{trial}/{LAST}")
        record = results.record(trial)
        files = sorted((path for path in record.rglob("*") if path.is_file()), key=lambda path: path.name == LAST)
        for path in files:
            _put(store, path, f"{root}/records/{trial}/{path.relative_to(record).as_posix()}")


def send_missing(results: ResultsFolder, trials: list[str], uri: str) -> None:
    """Copy the records that URI lacks or has in another version, then the plan, the experiment and the cases.

    Afterwards URI is a complete results folder. Raises ResultsError as `send` does.
    """
    store, root = _open(uri)
    files = [*sorted((results.folder / "cases").glob("*.npz")), results.experiment_file, results.plan_file]
    with _store_errors(f"records cannot be copied to {uri}", "they are whole in the results folder"):
        for trial in follow(trials, "copying records"):
            copied = None
            with suppress(FileNotFoundError):
                copied = store.cat_file(f"{root}/records/{trial}/{LAST}")
            if copied != (results.record(trial) / LAST).read_bytes():
                send(results, trial, uri)
        for path in files:
            _put(store, path, f"{root}/{path.relative_to(results.folder).as_posix()}")


def named(prefix: str, uri: str) -> list[str]:
    """The trials at URI whose names begin with `prefix`. Raises ResultsError."""
    store, root = _open(uri)
    with _store_errors(f"copies at {uri} cannot be read"):
        return sorted(path.split("/")[-2] for path in store.glob(f"{root}/records/{prefix}*/{LAST}"))


def fetch(results: ResultsFolder, trials: list[str], uri: str) -> list[str]:
    """Fetch the records of these trials that URI has and the folder lacks, then the pictures of cases.

    Returns the trials that were fetched. Raises ResultsError.
    """
    store, root = _open(uri)
    fetched = []
    with _store_errors(f"copies at {uri} cannot be read"):
        for trial in trials:
            source = f"{root}/records/{trial}"
            # a record that was finished but not moved to its place when its process was killed is the newer one
            if results.publish(trial) or not store.exists(f"{source}/{LAST}"):
                continue
            folder = results.unpublished(trial)
            names = [path[len(source) :].lstrip("/") for path in store.find(source)]
            if outside := [name for name in names if ".." in name.split("/")]:  # an object's key is any text
                raise ResultsError(
                    f"{uri} has records/{trial}/{outside[0]}, which leads out of the record: remove it there"
                )
            for name in sorted(names, key=lambda name: name == LAST):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{source}/{name}", str(folder / name))
            results.publish(trial)
            fetched.append(trial)
        for path in store.glob(f"{root}/cases/*.npz") if fetched else []:
            target = results.folder / "cases" / path.split("/")[-1]
            if not target.exists():
                write_atomically(target, lambda partial, path=path: store.get_file(path, str(partial)))
    return fetched


def _put(store: fsspec.AbstractFileSystem, path: Path, target: str) -> None:
    """Upload a file. Those in WHOLE say that others are complete, so they must never be there in part."""
    store.makedirs(target.rpartition("/")[0], exist_ok=True)
    if path.name in WHOLE:
        store.put_file(str(path), f"{target}.partial")
        store.mv(f"{target}.partial", target)
    else:
        store.put_file(str(path), target)


@contextmanager
def _store_errors(what: str, more: str = "") -> Iterator[None]:
    """Any error of a store in one line: each kind has exceptions of its own."""
    try:
        yield
    except ResultsError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ResultsError(f"{what} ({reason})" + (f"; {more}" if more else "")) from error


def _open(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        store, root = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise ResultsError(f"execution.copy_to: {uri} cannot be used: {error}") from error
    return store, root.rstrip("/")
